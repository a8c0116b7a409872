"""All trials of a run: each configuration is measured once, and a run that is continued takes results of its log."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from tvm import autotvm
from tvm.autotvm.measure import MeasureInput, MeasureResult
from tvm.autotvm.task.space import ConfigEntity

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.tuning.log import read_log
from tvm_coexec.tuning.records import Pair


class Measures(Protocol):
    """What measures candidates; see `boards.Boards`."""

    def measure(
        self,
        task: autotvm.task.Task,
        configs: Sequence[ConfigEntity],
        save: Callable[[int, MeasureResult], None],
        go_on: Callable[[], bool],
    ) -> None:
        """See `boards.Boards.measure`."""


def key_of(measured: MeasureInput) -> str:
    """Return a text that is equal for the same configuration of the same task, before and after it was written."""
    row = json.loads(autotvm.record.encode(measured, MeasureResult((0.0,), 0, 0.0, 0.0)))
    return json.dumps([row["input"], row["config"]])


class Trials:
    """Measures candidates and writes each result to a log at once.

    Parameters
    ----------
    path : Path
        AutoTVM's log; one that exists is continued.
    devices : Measures

    Attributes
    ----------
    pairs : list of (MeasureInput, MeasureResult)
        All results that were asked for, in order.
    measured : int
        How many of them were measured by this run.
    spent_s : float
        Seconds that results of the log took.

    Raises
    ------
    CoExecError
        If the log has a damaged line; the text names it.
    """

    def __init__(self, path: Path, devices: Measures):
        self.path, self.devices = path, devices
        self.pairs: list[Pair] = []
        self.measured, self.spent_s = 0, 0.0
        self._file: IO[str] | None = None
        self._known: dict[str, deque[MeasureResult]] = {}
        if path.exists() and path.stat().st_size:
            for measured, result in read_log(str(path)).pairs:
                self._known.setdefault(key_of(measured), deque()).append(result)

    @property
    def count(self) -> int:
        """Number of trials so far."""
        return len(self.pairs)

    @property
    def pending(self) -> bool:
        """Whether the log has results that were not asked for yet."""
        return any(self._known.values())

    def measure(
        self, task: autotvm.task.Task, configs: Sequence[ConfigEntity], go_on: Callable[[], bool] = lambda: True
    ) -> list[Pair]:
        """Return the results of configurations, in order; fewer if `go_on` says no before all are measured."""
        inputs = [MeasureInput(task.target, task, c) for c in configs]
        keys = [key_of(m) for m in inputs]
        results: list[MeasureResult | None] = [None] * len(inputs)
        for i, key in enumerate(keys):
            if self._known.get(key):
                results[i] = found = self._known[key].popleft()
                self.spent_s += float(found.all_cost)
        missing = [i for i, r in enumerate(results) if r is None]

        def save(number: int, result: MeasureResult) -> None:
            at = missing[number]
            results[at] = result
            self._write(autotvm.record.encode(inputs[at], result))
            self.measured += 1

        if missing:
            self.devices.measure(task, [configs[i] for i in missing], save, go_on)
        pairs = [(m, r) for m, r in zip(inputs, results, strict=True) if r is not None]
        self.pairs += pairs
        return pairs

    def _write(self, line: str) -> None:
        try:
            if self._file is None:
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (held until close)
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as err:
            raise CoExecError(f"can't write {self.path}: {err.strerror}; what was measured so far is kept") from None

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            self._file.close()
            self._file = None
