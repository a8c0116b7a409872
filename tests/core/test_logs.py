"""Loggers have their own levels again after a program has ended in this process."""

from __future__ import annotations

import logging

import pytest

from tvm_coexec.core.logs import PACKAGE, PROGRESS, log_levels, log_to_stderr


def levels() -> list[int]:
    return [logging.getLogger(name).level for name in (PACKAGE, PROGRESS, "autotvm")]


def test_levels_come_back_also_after_an_error():
    before = levels()
    names = {PACKAGE: logging.CRITICAL, PROGRESS: logging.CRITICAL, "autotvm": logging.CRITICAL}
    with pytest.raises(ZeroDivisionError), log_levels(names):
        print(1 / (len(set(levels())) - 1))  # all have the level that was given
    assert levels() == before


def test_a_program_logs_its_lines_and_leaves_nothing(capsys):
    before, logger = levels(), logging.getLogger(PACKAGE)
    handlers, propagate = list(logger.handlers), logger.propagate
    with log_to_stderr("name: %(message)s", {PACKAGE: logging.WARNING}):
        logger.warning("careful")
        logger.info("not shown")
        logging.getLogger(PROGRESS).info("1/2")
        logger.setLevel(logging.DEBUG)  # as tvmc's -vv does
    assert capsys.readouterr() == ("", "name: careful\nname: 1/2\n")
    assert (levels(), logger.handlers, logger.propagate) == (before, handlers, propagate)
