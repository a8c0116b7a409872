"""Executors in the timing process: with random inputs, and the reference kernel's drift."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tvm
from tvm.contrib import graph_executor

from tvm_coexec.core.random_inputs import random_tensor
from tvm_coexec.executor.graph_json import Graph


def create_module(
    graph: str,
    lib: tvm.runtime.Module,
    device: tvm.runtime.Device | list[tvm.runtime.Device],
    copies: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> graph_executor.GraphModule:
    """Create an executor with random inputs and weights: uninitialised memory may hold denormals, which are slow.

    Parameters
    ----------
    graph, lib, device
        See `graph_executor.create`.
    copies : mapping of str to sequence of str
        Names of inputs that have the same value, the first of which is the key; the device copies it.
    """
    module = graph_executor.create(graph, lib, device)
    rng = np.random.default_rng(0)
    parsed = Graph(graph)
    copied = {name for first, names in copies.items() for name in names if name != first}
    for entry in map(parsed.entries.__getitem__, parsed.inputs):
        if (name := parsed.nodes[entry.node].name) not in copied:
            module.set_input(name, random_tensor(entry.shape, entry.dtype, rng))
    for first, names in copies.items():
        for name in names[1:]:
            module.get_input(first).copyto(module.get_input(name))
    return module


class ReferenceDrift:
    """Measures the reference drift of a device."""

    def __init__(self, module: graph_executor.GraphModule, device: tvm.runtime.Device, settle_s: float):
        self.timer = module.module.time_evaluator("run", device, number=1, repeat=3, min_repeat_ms=1)
        self.best_s, self.settle_s = float("inf"), settle_s
        self.find_best()

    def find_best(self) -> None:
        """Time the reference kernel for a while, and at least once, to find its shortest time."""
        end = time.perf_counter() + self.settle_s
        self.measure()
        while time.perf_counter() < end:
            self.measure()

    def measure(self) -> float:
        """Return the present time of the reference kernel over its shortest so far."""
        seconds = statistics.median(float(s) for s in self.timer().results)
        self.best_s = min(self.best_s, seconds)
        return seconds / self.best_s
