"""Bars are for terminals, lines of the log for other places, both for work that takes long."""

from __future__ import annotations

import io
import logging
import re
import sys
import time

import pytest

from tvm_coexec.core import progress as module
from tvm_coexec.core.progress import progress


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    """What is written while some steps are made on a terminal or elsewhere, and the items that came out."""

    def run(stream: io.StringIO, delay_s: float) -> tuple[str, list[int]]:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(module, "DELAY_S", delay_s)
        found = []
        for item in progress(range(8), "counting", "number"):
            time.sleep(0.06)
            found.append(item)
        return stream.getvalue(), found

    return run


def test_long_work_on_a_terminal_has_a_bar_that_vanishes(shown):
    text, found = shown(Terminal(), 0.2)
    assert found == list(range(8)) and "counting" in text and "number" in text and "/8" in text
    assert " 0/8" not in text  # the first steps were not shown
    assert text.split("\r")[-1].strip() == ""


@pytest.mark.parametrize(("stream", "delay_s"), [(Terminal(), 60.0), (io.StringIO(), 0.2)])
def test_short_work_and_files_have_none(shown, stream, delay_s):
    assert shown(stream, delay_s) == ("", list(range(8)))


def test_elsewhere_programs_log_lines(shown, monkeypatch, caplog):
    monkeypatch.setattr(module, "LINE_S", 0.1)
    with caplog.at_level(logging.INFO, "tvm_coexec.progress"):
        text, found = shown(io.StringIO(), 0.0)
    assert text == "" and found == list(range(8))
    lines = [record.getMessage() for record in caplog.records]
    assert 2 <= len(lines) <= 6 and all(line.startswith("counting: ") for line in lines)
    assert re.fullmatch(r"counting: [2-5]/8 numbers, 00:00", lines[0])


def test_work_that_was_done_before_counts(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(module, "DELAY_S", 0.0)
    with progress(what="going on", unit="kernel", total=10, done=4) as bar:
        bar.update(1)
        assert bar.n == 5
    assert "5/10" in sys.stderr.getvalue() or "4/10" in sys.stderr.getvalue()


def test_steps_without_items(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(module, "DELAY_S", 0.0)
    with progress(what="passing", unit="pass") as bar:
        bar.update(3)
        assert bar.n == 3
    assert "passing" in sys.stderr.getvalue()
