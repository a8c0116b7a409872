"""Candidates are built in parallel, as many as this machine has cores, before the first of them is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import autotvm
from tvm.autotvm.measure import MeasureInput


def make_builder(timeout: int, build_func: str) -> autotvm.LocalBuilder:
    """Make AutoTVM's builder with a process for each core."""
    return autotvm.LocalBuilder(timeout=timeout, build_func=build_func, do_fork=True)


class BuildAhead:
    """Candidates of one task, built when one of them is first asked for, with those that are asked for next.

    Nothing is built while something is measured: on this machine it would disturb the measurement.

    Parameters
    ----------
    builder : autotvm.LocalBuilder
        It deletes what it built before when it builds again.
    inputs : sequence of MeasureInput
    """

    def __init__(self, builder: autotvm.LocalBuilder, inputs: Sequence[MeasureInput]):
        self._builder, self._inputs = builder, inputs
        self._built: dict[int, Any] = {}

    def take(self, numbers: Sequence[int], later: Sequence[int]) -> list[Any]:
        """Return the results of building some candidates.

        Parameters
        ----------
        numbers : sequence of int
            Of the candidates that are measured now.
        later : sequence of int
            Of those that are measured after them.
        """
        if any(i not in self._built for i in numbers):
            count = max(len(numbers), self._builder.n_parallel)
            some = [*numbers, *later][:count]
            self._built = dict(zip(some, self._builder.build([self._inputs[i] for i in some]), strict=True))
        return [self._built[i] for i in numbers]
