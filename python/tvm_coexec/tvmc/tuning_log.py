"""Logs of TVM's tuners (``--tuning-records``), checked line by line before the model is read.

TVM reads them late, mistakes a damaged log of its auto-scheduler for one of AutoTVM, and names neither file nor line.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable

from tvm import auto_scheduler, autotvm

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.progress import progress
from tvm_coexec.core.texts import shorten

logger = logging.getLogger("tvm_coexec")

_OPTION = "--tuning-records"


def check_tuning_log(path: str) -> bool:
    """Check every record of a log.

    Returns
    -------
    bool
        Whether there are any records. With an empty log TVM would build for its auto-scheduler.

    Raises
    ------
    CoExecError
        If the file can't be read, or for the first line that is not a record; the text names the line.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.readlines()
    except OSError as err:
        raise CoExecError(f"{_OPTION}: can't read {path}: {err.strerror}; give another file") from None
    except UnicodeDecodeError:
        raise CoExecError(f"{_OPTION}: {path} is not a text file; give a log of TVM's tuner") from None
    read: Callable[[str], None] | None = None
    with _without_old_version_notes(), progress(lines, "reading tuning records", "line") as bar:
        for number, line in enumerate(bar, 1):
            if line.startswith("#"):
                continue
            try:
                read = read or _reader(line)
                read(line)
            except Exception as err:
                raise CoExecError(
                    f"{_OPTION}: line {number} of {path} is not a tuning record: {_fault(line, err)}; remove the line "
                    "or tune again"
                ) from None
    if read is None:
        logger.warning("%s: %s has no records: kernels are not tuned", _OPTION, path)
    return read is not None


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


def _reader(line: str) -> Callable[[str], None]:
    """Choose the reader for a log by its first record."""
    row = json.loads(line)
    return _read_auto_scheduler if isinstance(row, dict) and {"i", "r"} <= row.keys() else _read_autotvm


def _read_autotvm(line: str) -> None:
    decoded = autotvm.record.decode(line)
    if decoded is not None:  # not of an old version, which TVM skips
        measured, result = decoded
        hash(measured.task.workload)
        if result.error_no == 0:
            sum(result.costs)


def _read_auto_scheduler(line: str) -> None:
    json.loads(line)  # TVM's own error text for a truncated line holds uninitialised memory
    auto_scheduler.measure_record.load_record_from_string(line)


@contextlib.contextmanager
def _without_old_version_notes():
    """Silence TVM's notes about old records: they appear again when TVM reads the log."""
    log = logging.getLogger("autotvm")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
