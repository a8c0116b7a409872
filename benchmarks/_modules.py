"""Build the variants that benchmarks compare, and time them in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CPU, GPU = "llvm", "opencl"
LONGEST_S = 40.0  # of all turns


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
    module: object
    inputs: dict[str, np.ndarray]

    def once(self) -> tuple[float, list[np.ndarray]]:
        """Wall-clock seconds from inputs to results in the CPU's memory, and the results."""
        start = time.perf_counter()
        self.module.set_input(**self.inputs)
        self.module.run()
        outputs = [self.module.get_output(i).numpy() for i in range(self.module.get_num_outputs())]
        return time.perf_counter() - start, outputs


def single(network: Network, name: str, target, device) -> tuple[Runner, object]:
    """A one-target build: the fair baseline, with every optimisation that TVM makes for one device."""
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(network.mod, target=target, params=network.params)
    return Runner(name, graph_executor.GraphModule(lib["default"](device)), network.inputs), lib


def build_coexecuted(network: Network, name: str, cpu: str = CPU, gpu: str = GPU, **options) -> tuple[Runner, object]:
    """A co-executed build and its plan."""
    import tvm_coexec

    lib = tvm_coexec.build(network.mod, network.params, cpu=cpu, gpu=gpu, **options)
    return Runner(name, tvm_coexec.create(lib), network.inputs), tvm_coexec.plan_of(lib.ir_mod)


def plan_alone(network: Network, cpu: str = CPU, gpu: str = GPU, **options) -> object:
    """The plan for the better single device, by the same costs."""
    import tvm_coexec

    mod = tvm_coexec.partition_for_coexec(network.mod, network.params, cpu=cpu, gpu=gpu, strategy="single", **options)
    return tvm_coexec.plan_of(mod)


def time_in_turns(runners: list[Runner], repeats: int, warm: Callable[[], None]) -> dict[str, list[float]]:
    """Time the runners in turns, one run each, so that a disturbance affects all equally.

    Every runner runs once before (which compiles the GPU's kernels), and then `warm` is called.
    """
    for r in runners:
        r.once()
    warm()
    seconds: dict[str, list[float]] = {r.name: [] for r in runners}
    for _ in range(repeats):
        for r in runners:
            seconds[r.name].append(r.once()[0])
    return seconds


def time_steady_state(
    runners: list[Runner], turns: int, warm: Callable[[], None], ready: Callable[[], object], each: int = 3
) -> dict[str, list[list[float]]]:
    """Time the runners in steady state: in each turn a runner runs once untimed and then `each` times.

    Runners alternate, so that a disturbance affects all equally; a turn starts when `ready` returns. Slow models have
    fewer turns.
    """
    for r in runners:
        r.once()
    warm()
    once_s = sum(r.once()[0] for r in runners)
    turns = max(3, min(turns, int(LONGEST_S / (once_s * (each + 1)))))
    seconds: dict[str, list[list[float]]] = {r.name: [] for r in runners}
    for _ in range(turns):
        ready()
        for r in runners:
            r.once()
            seconds[r.name].append([r.once()[0] for _ in range(each)])
    return seconds


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest absolute error over the largest absolute value."""
    return float(np.abs(got - want).max() / np.abs(want).max())


def on_two_threads(lib, inputs: dict[str, np.ndarray], repeats: int) -> float:
    """Best seconds of a CPU library on two threads, in a separate process (TVM starts its threads only once)."""
    with tempfile.TemporaryDirectory() as folder:
        lib.export_library(f"{folder}/lib.so")
        np.savez(f"{folder}/inputs.npz", **inputs)
        command = [sys.executable, "-m", "benchmarks._modules", folder, str(repeats)]
        environment = dict(os.environ, TVM_NUM_THREADS="2")
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _time_folder(folder: str, repeats: int) -> None:
    import tvm
    from tvm.contrib import graph_executor

    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the parent may be pinned to one core
    lib = tvm.runtime.load_module(f"{folder}/lib.so")
    runner = Runner("cpu", graph_executor.GraphModule(lib["default"](tvm.cpu())), dict(np.load(f"{folder}/inputs.npz")))
    runner.once()
    print(json.dumps(min(runner.once()[0] for _ in range(repeats))))


if __name__ == "__main__":
    _time_folder(sys.argv[1], int(sys.argv[2]))
