"""Logs of TVM's tuners, checked line by line before anything uses them.

TVM reads them late, mistakes a damaged log of its auto-scheduler for one of AutoTVM, and names neither file nor line.
"""

from __future__ import annotations

import json
import logging
import operator
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import auto_scheduler, autotvm
from tvm.autotvm.measure import MeasureInput, MeasureResult
from tvm.autotvm.task.space import SplitEntity

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.logs import log_levels
from tvm_coexec.core.progress import progress
from tvm_coexec.core.texts import shorten

logger = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class Log:
    """A checked log.

    Attributes
    ----------
    tuner : str
        ``autotvm`` or ``auto_scheduler``; empty if there are no records.
    pairs : tuple of (MeasureInput, MeasureResult)
        Records of AutoTVM.
    """

    tuner: str
    pairs: tuple[tuple[MeasureInput, MeasureResult], ...] = ()


def read_log(path: str, label: str = "") -> Log:
    """Read a log and check every line.

    Parameters
    ----------
    path : str
    label : str
        What the user gave the file for, such as an option; messages begin with it.

    Returns
    -------
    Log

    Raises
    ------
    CoExecError
        If the file can't be read, or for the first line that is not a record; the text names the line.
    """
    prefix = f"{label}: " if label else ""
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.readlines()
    except OSError as err:
        raise CoExecError(f"{prefix}can't read {path}: {err.strerror}; give another file") from None
    except UnicodeDecodeError:
        raise CoExecError(f"{prefix}{path} is not a text file; give a log of TVM's tuner") from None
    tuner, pairs = "", []
    notes = {"autotvm": logging.ERROR}  # on old records; they appear again when TVM reads the log
    with log_levels(notes), progress(lines, "reading tuning records", "line") as bar:
        for number, line in enumerate(bar, 1):
            if line.startswith("#"):
                continue
            try:
                tuner = tuner or _tuner_of(line)
                pair = _READERS[tuner](line)
            except Exception as err:
                raise CoExecError(
                    f"{prefix}line {number} of {path} is not a tuning record: {_fault(line, err)}; remove the line or "
                    "tune again"
                ) from None
            pairs += [] if pair is None else [pair]
    if not tuner:
        logger.warning("%s%s has no records: kernels are not tuned", prefix, path)
    return Log(tuner, tuple(pairs))


def _fault(line: str, err: Exception) -> str:
    """Describe what is wrong with a line."""
    if not line.strip():
        return "it is empty"
    if isinstance(err, json.JSONDecodeError):
        return f"it is not JSON, or truncated ({shorten(line.strip(), 40)})"
    if isinstance(err, KeyError):
        return f"it has no {err}"
    if isinstance(err, (TypeError, IndexError)):
        return f"it has an unknown structure ({shorten(line.strip(), 40)})"
    return shorten(one_line(err), 120)


def _tuner_of(line: str) -> str:
    """Determine the tuner of a log by its first record."""
    row = json.loads(line)
    return "auto_scheduler" if isinstance(row, dict) and {"i", "r"} <= row.keys() else "autotvm"


def _read_autotvm(line: str) -> tuple[MeasureInput, MeasureResult] | None:
    decoded = autotvm.record.decode(line)
    if decoded is None:  # of an old version, which TVM skips
        return None
    measured, result = decoded
    hash(measured.task.workload)
    for knob in measured.config._entity_map.values():
        if isinstance(knob, SplitEntity):
            prod(operator.index(factor) for factor in knob.size)
    if result.error_no == 0:
        sum(result.costs)
    return measured, result


def _read_auto_scheduler(line: str) -> None:
    json.loads(line)  # TVM's own error text for a truncated line holds uninitialised memory
    auto_scheduler.measure_record.load_record_from_string(line)


_READERS: dict[str, Callable[[str], Any]] = {"autotvm": _read_autotvm, "auto_scheduler": _read_auto_scheduler}
