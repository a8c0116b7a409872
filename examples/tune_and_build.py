"""Tune a network for this machine's CPU and GPU, build it with the results, and compare it with the untuned module.

    python examples/tune_and_build.py squeezenet tuned --trials 200

The network is an ONNX file or one of the zoo. Run it again to continue after an interruption, or with more trials.
"""

from __future__ import annotations

import argparse

import numpy as np
import tvm
from tvm.contrib import graph_executor

import tvm_coexec
from tvm_coexec.measuring.read_model import load_model


def make_module(lib, inputs: dict[str, np.ndarray]) -> graph_executor.GraphModule:
    """Load a module on both devices and set its inputs."""
    module = graph_executor.GraphModule(lib["default"](tvm.cpu(), tvm.opencl()))
    module.set_input(**inputs)
    module.run()
    return module


def milliseconds(module: graph_executor.GraphModule) -> float:
    """Time a module's run; the shortest of five counts."""
    timer = module.module.time_evaluator("run", tvm.cpu(), number=1, repeat=5, min_repeat_ms=20)
    return min(timer().results) * 1e3


def main() -> None:
    """Tune, build twice, compare results and times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="an ONNX file, or the name of a network of the zoo")
    parser.add_argument("folder", help="for the results of tuning")
    parser.add_argument("--cpu", default="llvm", help="CPU target, such as 'llvm -mcpu=core-avx2'")
    parser.add_argument("--gpu", default="opencl", help="GPU target")
    parser.add_argument("--profile", help="costs to start with; by default those of these devices, or measured")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8, help="trials that a task gets at a time")
    parser.add_argument("--tuner", default="xgb", help="AutoTVM's tuner: xgb, random or gridsearch")
    args = parser.parse_args()
    model = load_model(args.model)
    given = (model.mod, model.params, args.cpu, args.gpu)

    tuned = tvm_coexec.tune(
        *given,
        args.folder,
        trials=args.trials,
        batch=args.batch,
        tuner=args.tuner,
        profile=args.profile,
    )
    rng = np.random.default_rng(0)
    inputs = {
        p.name_hint: rng.standard_normal([int(d) for d in p.type_annotation.shape]).astype(p.type_annotation.dtype)
        for p in model.mod["main"].params
        if p.name_hint not in model.params
    }
    before = make_module(tvm_coexec.build(*given, profile=args.profile), inputs)
    after = make_module(tvm_coexec.build(*given, tuned=tuned), inputs)
    want, got = (m.get_output(0).numpy().astype("float64") for m in (before, after))
    print(f"largest difference: {np.abs(got - want).max() / np.abs(want).max():.1e} of the largest value")
    print(f"untuned {milliseconds(before):.3f} ms, tuned {milliseconds(after):.3f} ms")


if __name__ == "__main__":
    main()
