"""Tuning records: which of a log are of a build's targets, the best of an operator, and writing them.

The format is AutoTVM's log, one record a line, of both devices in one file; stock TVM reads it (`autotvm.record`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from tvm import autotvm
from tvm.autotvm.measure import MeasureInput, MeasureResult
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically
from tvm_coexec.targets import target_text

from .log import read_log
from .operators import describe_operator

Pair: TypeAlias = "tuple[MeasureInput, MeasureResult]"

# Attributes that name a device. Records without one, such as those of plain llvm, are of any device of their kind.
_DEVICE = ("device", "model", "mcpu")
_NAMES = (*_DEVICE, "mtriple")


@dataclass(frozen=True)
class Records:
    """Records of AutoTVM, of one target or several.

    Attributes
    ----------
    pairs : tuple of (MeasureInput, MeasureResult)
        In the order of the log; with failed measurements, which serve nothing.
    source : str
        Name of the file, for messages.
    """

    pairs: tuple[Pair, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.pairs)

    def of(self, target: Target) -> Records:
        """Return the records of a target (see `is_of`)."""
        return Records(tuple(p for p in self.pairs if is_of(p[0].target, target)), self.source)

    def of_device(self, target: Target) -> Records:
        """Return the records whose target names the same device as a build's, or none as that does."""
        named = [_name(target, n) for n in _DEVICE]
        own = (p for p in self.pairs if [_name(p[0].target, n) for n in _DEVICE] == named)
        return Records(tuple(own), self.source).of(target)

    def of_family(self, family: tuple[Any, ...], target: Target) -> Sequence[Pair]:
        """Return the records, without failed ones, of operators that differ in extents only, and of a target."""
        return [p for p in self._by_family.get(family, ()) if is_of(p[0].target, target)]

    @cached_property
    def _by_family(self) -> dict[tuple[Any, ...], list[Pair]]:
        found: dict[tuple[Any, ...], list[Pair]] = {}
        for pair in self.pairs:
            operator = describe_operator(pair[0].task.workload) if pair[1].error_no == 0 else None
            if operator is not None:
                found.setdefault(operator.family, []).append(pair)
        return found

    def save(self, path: str) -> None:
        """Write the records; the file is replaced atomically."""
        write_atomically(path, "".join(autotvm.record.encode(*pair) + "\n" for pair in self.pairs))

    def best(self) -> Records:
        """Return the fastest record of each workload and target, in the order of their first records."""
        found: dict[tuple[Any, ...], Pair] = {}
        for pair in self.pairs:
            key = (target_text(pair[0].target), pair[0].task.workload)
            if pair[1].error_no == 0 and (key not in found or seconds_of(pair) < seconds_of(found[key])):
                found[key] = pair
        return Records(tuple(found.values()), self.source)


def seconds_of(pair: Pair) -> float:
    """Return the mean of a record's measured seconds."""
    return float(np.mean([float(c) for c in pair[1].costs]))


def is_of(recorded: Target, target: Target) -> bool:
    """Return whether a record's target is the same device as a build's target.

    The kinds must be equal, and so must what both name of ``-device``, ``-model``, ``-mcpu`` and ``-mtriple``.
    """
    if recorded.kind.name != target.kind.name:
        return False
    pairs = [(_name(recorded, n), _name(target, n)) for n in _NAMES]
    return all(a == b for a, b in pairs if a and b)


def _name(target: Target, attribute: str) -> str:
    text = str(target.attrs.get(attribute, ""))
    return "" if text == "unknown" else text


def load_records(path: str, targets: Sequence[Target] = (), label: str = "") -> Records:
    """Read a log of AutoTVM and check every line of it.

    Parameters
    ----------
    path : str
    targets : sequence of Target
        Refuse a log that has records, but none of these.
    label : str
        What the user gave the file for, such as an option, for messages.

    Raises
    ------
    CoExecError
        If the file can't be read, is a log of another tuner, or has a damaged line (the text names it), or if all of
        its records are of other targets.
    """
    log = read_log(path, label)
    if log.tuner not in ("", "autotvm"):
        raise CoExecError(
            f"{_prefix(label)}{path} is a log of TVM's {log.tuner}, whose schedules are of one operator only; give a "
            "log of AutoTVM"
        )
    records = Records(log.pairs, path)
    check_targets(records, targets, label)
    return records


def check_targets(records: Records, targets: Sequence[Target], label: str = "") -> None:
    """Raise `CoExecError` if there are records, but none of any of the targets."""
    if not targets or not records.pairs or any(is_of(p[0].target, t) for p in records.pairs for t in targets):
        return
    others = sorted({target_text(p[0].target) for p in records.pairs})
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    name, wanted = records.source or "the log", " or ".join(map(target_text, targets))
    raise CoExecError(
        f"{_prefix(label)}{name} has no records of {wanted}, only of {', '.join(others[:2])}{more}; tune for these "
        "targets, or give another file"
    )


def merge_records(several: Iterable[Records]) -> Records:
    """Return all records in order, without those that occur twice."""
    found: dict[str, Pair] = {}
    for records in several:
        for pair in records.pairs:
            found.setdefault(autotvm.record.encode(*pair), pair)
    return Records(tuple(found.values()))


def _prefix(label: str) -> str:
    return f"{label}: " if label else ""
