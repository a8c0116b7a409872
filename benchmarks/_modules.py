"""Build the variants that benchmarks compare, and time them in turns."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import _quiet

if TYPE_CHECKING:
    from benchmarks import _common

CPU, GPU = "llvm", "opencl"
LONGEST_S = 40.0  # of all turns
SHORT_S = 0.1  # of a run


@dataclass
class Network:
    """A model, its weights, an input, and the output of an independent runtime, if available."""

    name: str
    mod: object
    params: dict | None
    inputs: dict[str, np.ndarray]
    reference: np.ndarray | None = None

    @staticmethod
    def load(name: str, reference: bool = True) -> Network:
        """A network of the zoo, with onnxruntime's answer if `reference`."""
        from tvm import relay

        from tvm_coexec.models import zoo

        model = zoo.load(name)
        inputs = zoo.inputs(model)
        mod, params = relay.frontend.from_onnx(model, {k: v.shape for k, v in inputs.items()})
        return Network(name, mod, params, inputs, zoo.reference(model, inputs)[0] if reference else None)


@dataclass
class Runner:
    """A module and its inputs."""

    name: str
    module: Any
    inputs: dict[str, np.ndarray]
    library: Any = None

    def once(self) -> tuple[float, list[np.ndarray]]:
        """Wall-clock seconds from inputs to results in the CPU's memory, and the results."""
        start = time.perf_counter()
        for name, value in self.inputs.items():  # a name may be that of an argument of `set_input`
            self.module.set_input(name, value)
        self.module.run()
        outputs = [self.module.get_output(i).numpy() for i in range(self.module.get_num_outputs())]
        return time.perf_counter() - start, outputs


def single(network: Network, name: str, target: Any, device: Any) -> tuple[Runner, Any]:
    """A one-target build: the fair baseline, with every optimisation that TVM makes for one device."""
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(network.mod, target=target, params=network.params)
    return Runner(name, graph_executor.GraphModule(lib["default"](device)), network.inputs), lib


def build_coexecuted(
    network: Network, name: str, cpu: str = CPU, gpu: str = GPU, **options: object
) -> tuple[Runner, Any]:
    """A co-executed build and its plan."""
    import tvm_coexec

    lib = tvm_coexec.build(network.mod, network.params, cpu=cpu, gpu=gpu, **options)
    return Runner(name, tvm_coexec.create(lib), network.inputs, lib), tvm_coexec.plan_of(lib.ir_mod)


def planned_sync_points(lib: Any) -> int:
    """Number of sync points that the plan of a co-executed library has; 0 without a plan."""
    from tvm_coexec.executor.annotations import read_metadata
    from tvm_coexec.executor.graph_json import Graph

    expected = (read_metadata(Graph(lib.get_graph_json())) or {}).get("expected")
    return expected["sync_points"] if expected else 0


def plan_alone(network: Network, cpu: str = CPU, gpu: str = GPU, **options: object) -> Any:
    """The plan for the better single device, by the same costs."""
    import tvm_coexec

    mod = tvm_coexec.partition_for_coexec(network.mod, network.params, cpu=cpu, gpu=gpu, strategy="single", **options)
    return tvm_coexec.plan_of(mod)


def time_steady_state(
    runners: Sequence[Runner | TwoThreads],
    turns: int,
    bed: _common.TestBed,
    quiet: _quiet.Quiet,
    each: int = 3,
) -> dict[str, list[list[float]]]:
    """Time the runners in steady state: in each turn a runner runs `each` times, each after an untimed run.

    Between the runs a loop shows how fast the cores are; a run just after it would find the other core asleep, which it
    is not in an application that runs a model again and again. Runs of a tenth of a second and more have one untimed
    run in a turn. Runners alternate, so that a disturbance affects all equally. A run is repeated until it was at a
    quiet moment, as long as `quiet` has patience; runs that were not are left out, unless there are no others. Slow
    models have fewer turns.
    """
    for r in runners:
        r.once()
    bed.pin()
    bed.settle(quiet)
    once_s = {r.name: r.once()[0] for r in runners}
    turns = max(3, min(turns, int(LONGEST_S / (sum(once_s.values()) * (each + 1)))))
    runs: dict[str, list[list[_quiet.Run]]] = {r.name: [] for r in runners}
    left = turns * len(runners) * each
    for _ in range(turns):
        for r in runners:
            is_short = once_s[r.name] < SHORT_S
            if not is_short:
                r.once()
            runs[r.name].append([])
            for _ in range(each):
                once = functools.partial(_time, r, is_short)
                runs[r.name][-1].append(bed.time(quiet, once, quiet.left_s / left))
                left -= 1
    return quiet.select(runs)


def _time(runner: Runner | TwoThreads, after_another: bool) -> float:
    if after_another:
        runner.once()
    return runner.once()[0]


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest absolute error over the largest absolute value."""
    return float(np.abs(got - want).max() / np.abs(want).max())


def largest_error(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """Largest error of several outputs of any type: absolute error over the output's largest finite magnitude.

    Equal infinities and NaNs on both sides are no error; on one side they are an infinite one, as is another shape. An
    output whose magnitudes are all 0 counts by its absolute error.
    """
    if [np.shape(g) for g in got] != [np.shape(w) for w in want]:
        return float("inf")
    errors = [0.0]
    for g, w in zip(got, want, strict=True):
        a, b = np.asarray(g, "float64"), np.asarray(w, "float64")
        differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if differs.any():
            scale = np.abs(b[np.isfinite(b)]).max(initial=0.0) or 1.0
            error = np.abs(a[differs] - b[differs]).max() / scale
            errors.append(float("inf") if np.isnan(error) else float(error))
    return max(errors)


class TwoThreads:
    """A CPU library on two threads, in a separate process (TVM starts its threads only once); it runs as a `Runner`.

    Close it after use.
    """

    def __init__(self, name: str, lib: Any, inputs: dict[str, np.ndarray]) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory()
        folder = self._folder.name
        lib.export_library(f"{folder}/lib.so")
        np.savez(f"{folder}/inputs.npz", **inputs)
        environment = dict(os.environ, TVM_NUM_THREADS="2")
        command = [sys.executable, "-m", "benchmarks._modules", folder]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def once(self) -> tuple[float, list[np.ndarray]]:
        """Wall-clock seconds of a run, by the other process; without the results."""
        assert self._child.stdin is not None and self._child.stdout is not None
        print(file=self._child.stdin, flush=True)
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the process with two threads ended; what it wrote to standard error says why")
        return float(json.loads(line)), []

    def close(self) -> None:
        """End the process."""
        self._child.communicate()
        self._folder.cleanup()


def on_two_threads(lib: Any, inputs: dict[str, np.ndarray], repeats: int) -> float:
    """Best seconds of a CPU library on two threads."""
    threads = TwoThreads("two_threads", lib, inputs)
    try:
        threads.once()
        return min(threads.once()[0] for _ in range(repeats))
    finally:
        threads.close()


def _serve(folder: str) -> None:
    """Run once for each line of standard input, and print the seconds."""
    import tvm
    from tvm.contrib import graph_executor

    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the parent may be pinned to one core
    lib = tvm.runtime.load_module(f"{folder}/lib.so")
    runner = Runner("cpu", graph_executor.GraphModule(lib["default"](tvm.cpu())), dict(np.load(f"{folder}/inputs.npz")))
    for _ in sys.stdin:
        print(json.dumps(runner.once()[0]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
