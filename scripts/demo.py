"""Demo: co-execute a real network on CPU and GPU, check its result, and time it against each device alone.

make demo                                  ResNet-50
make demo ARGS="--model squeezenet"        something smaller
make demo ARGS="--ratio 0.5 --axis oc"     a given split instead of the planned one
make demo ARGS="--gpu vulkan"              a Vulkan device; installs what that needs
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TOLERANCE = 1e-4
SLOWED = 1.15  # from here on the demo says that the devices slow each other


def ratio(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be auto or a number from 0 to 1") from None


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer >= 1")
    return int(text)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description="Co-execute a network on CPU and GPU.")
    parser.add_argument("--model", default="resnet50", help="a network of the zoo (default: resnet50)")
    parser.add_argument(
        "--cpu", help="the CPU target (default: plain llvm if the GPU is pocl or lavapipe, else this CPU's own)"
    )
    parser.add_argument("--gpu", default="opencl", help="the GPU target (default: opencl)")
    parser.add_argument("--ratio", type=ratio, default="auto", help="the GPU's fraction, 0 to 1, or auto (default)")
    parser.add_argument("--axis", default="auto", help="the axis to split: oc, h, or auto (default)")
    parser.add_argument("--repeats", type=positive, default=7, help="timed runs of each variant (default: 7)")
    parser.add_argument("--report", action="store_true", help="print the whole report, kernel by kernel")
    # Used internally to time two threads in a separate process.
    parser.add_argument("--time-library", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def cpu_target(bed) -> str:
    """Return this machine's CPU target; with pocl it is plain llvm, which is about as fast on one core."""
    import tvm

    if bed.pocl:
        return "llvm"
    system_cpu = getattr(tvm.target.codegen, "llvm_get_system_cpu", lambda: "")()
    return f"llvm -mcpu={system_cpu}" if system_cpu else "llvm"


def time_once(module, image: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """Run once and return the wall-clock seconds and the first output; inputs and result are in the CPU's memory."""
    start = time.perf_counter()
    module.set_input(**image)
    module.run()
    answer = module.get_output(0).numpy()
    return time.perf_counter() - start, answer


def time_while_gpu_runs(cpu, gpu, image: dict[str, np.ndarray]) -> float:
    """Run once on the CPU while the GPU runs, and return the CPU's seconds."""
    gpu.run()  # on the inputs that it has; returns while the GPU computes
    seconds = time_once(cpu, image)[0]
    gpu.get_output(0).numpy()
    return seconds


def describe_slowdown(alone: list[float], together: list[float]) -> str:
    """Return a line that says how much slower the CPU's best run is while the GPU runs; empty up to `SLOWED`."""
    slowed = min(together) / min(alone)
    if slowed <= SLOWED:
        return ""
    return (
        f"While the GPU computes, too, the CPU takes {slowed:.2f} times as long here: the devices share a core, "
        "memory or power, or other programs run. No split can make up for that; try again on an idle machine.\n"
    )


def time_library(file: str, image_file: str, repeats: int) -> int:
    """Time an exported one-device library and print the best seconds; runs in a process with its own thread count."""
    import tvm
    from tvm.contrib import graph_executor

    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the parent, and so this process, is pinned to one core
    module = graph_executor.GraphModule(tvm.runtime.load_module(file)["default"](tvm.cpu()))
    image = dict(np.load(image_file))
    time_once(module, image)
    print(json.dumps(min(time_once(module, image)[0] for _ in range(repeats))))
    return 0


def two_threads(library, image: dict[str, np.ndarray], repeats: int) -> float:
    """Return the best seconds of the CPU-only build on two threads."""
    with tempfile.TemporaryDirectory() as folder:
        library.export_library(f"{folder}/cpu.so")
        np.savez(f"{folder}/image.npz", **image)
        files = [f"{folder}/cpu.so", f"{folder}/image.npz"]
        command = [sys.executable, __file__, "--repeats", str(repeats), "--time-library", *files]
        environment = dict(os.environ, TVM_NUM_THREADS="2")
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def demo(options: argparse.Namespace) -> int:
    if options.gpu.split()[:1] in (["vulkan"], ["webgpu"]):
        command = [sys.executable, "-m", "scripts.setup_env.vulkan"]
        subprocess.run(command, cwd=Path(__file__).parents[1])  # what is missing then is said below
    start = time.perf_counter()
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    import tvm_coexec
    from tvm_coexec import gpu_runtimes, testbed
    from tvm_coexec.models import zoo
    from tvm_coexec.targets import kind_of_gpu

    logging.basicConfig(format="%(message)s")
    logging.getLogger("tvm_coexec.progress").setLevel(logging.INFO)
    logging.getLogger("te_compiler").setLevel(logging.ERROR)
    logging.getLogger("autotvm").setLevel(logging.ERROR)
    bed = testbed.prepare(kind_of_gpu(options.gpu))
    cpu = options.cpu or cpu_target(bed)
    choices = {"ratio": options.ratio, "axis": options.axis}
    coexec = relay.transform.CoExecPartition(cpu, options.gpu, **choices)  # checks the options before anything runs
    gpu_target = tvm_coexec.targets(cpu, options.gpu)[1]
    gpu_device = tvm.device(gpu_target.kind.name)
    if not gpu_device.exist:
        reason = gpu_runtimes.why_unavailable(gpu_target.kind.name)
        raise tvm_coexec.CoExecError(f"no {gpu_target.kind.name} device: {reason or 'TVM finds none'}")
    print(f"{bed.description}\nCPU target: {cpu}; GPU target: {options.gpu}")

    model = zoo.load(options.model)
    image = zoo.inputs(model)
    reference = zoo.reference(model, image)[0]
    shapes = {name: value.shape for name, value in image.items()}
    mod, params = relay.frontend.from_onnx(model, shapes)
    print(f"[{time.perf_counter() - start:5.1f} s] {options.model}: loaded, and run by onnxruntime for reference")

    coexec = relay.transform.CoExecPartition(cpu, options.gpu, params=params, **choices)
    with tvm.transform.PassContext(opt_level=3):
        split = coexec(mod)
    print(f"[{time.perf_counter() - start:5.1f} s] planned: {coexec.report.summary()}")

    libraries, modules = {}, {}
    for name in ("CPU", "GPU", "both"):
        with tvm.transform.PassContext(opt_level=3):
            if name == "both":
                libraries[name] = relay.build(split, target=tvm_coexec.targets(cpu, options.gpu))
            else:
                libraries[name] = relay.build(mod, target=cpu if name == "CPU" else gpu_target, params=params)
        if name == "both":
            modules[name] = tvm_coexec.create(libraries[name])
        else:
            device = tvm.cpu() if name == "CPU" else gpu_device
            modules[name] = graph_executor.GraphModule(libraries[name]["default"](device))
        print(f"[{time.perf_counter() - start:5.1f} s] compiled for {name}")

    errors, seconds, together = {}, {name: [] for name in modules}, []
    for name, module in modules.items():  # the first run compiles the GPU's kernels
        answer = time_once(module, image)[1]
        errors[name] = float(np.abs(answer - reference).max() / np.abs(reference).max())
    print(f"[{time.perf_counter() - start:5.1f} s] ran once each")
    testbed.pin_main_thread(bed)
    for _ in range(options.repeats):  # in turns, so that disturbances affect all variants equally
        for name, module in modules.items():
            seconds[name].append(time_once(module, image)[0])
        together.append(time_while_gpu_runs(modules["CPU"], modules["GPU"], image))
    both_cores = two_threads(libraries["CPU"], image, options.repeats) if bed.pocl else None

    print(f"\n{coexec.report.to_text() if options.report else coexec.report.summary()}\n")
    print_table(options.model, errors, seconds, both_cores)
    print(end=describe_slowdown(seconds["CPU"], together))
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE]
    if wrong:
        print(f"demo: wrong result on {', '.join(wrong)}: the error is above {TOLERANCE:g}", file=sys.stderr)
    return int(bool(wrong))


def print_table(model: str, errors: dict, seconds: dict, both_cores: float | None) -> None:
    alone = min(min(seconds["CPU"]), min(seconds["GPU"]))
    titles = {"CPU": "CPU alone", "GPU": "GPU alone", "both": "CPU + GPU (tvm-coexec)"}
    print(f"{model:26} {'best ms':>9} {'median ms':>10} {'speed-up':>9} {'max rel. error':>15}")
    for name, title in titles.items():
        best, median = min(seconds[name]), statistics.median(seconds[name])
        print(f"{title:26} {best * 1e3:9.1f} {median * 1e3:10.1f} {alone / best:8.2f}x {errors[name]:15.1e}")
    if both_cores is not None:
        print(f"{'CPU alone, two threads':26} {both_cores * 1e3:9.1f} {'':10} {alone / both_cores:8.2f}x")
    print("Speed-up: over the better single device. Error: against onnxruntime.")
    if both_cores is not None:
        print("This GPU computes on a CPU core, so two CPU threads use the same hardware: the fair comparison here.")


def main() -> int:
    options = parse()
    if options.time_library:
        return time_library(*options.time_library, options.repeats)
    try:
        return demo(options)
    except ValueError as error:  # a wrong option; CoExecError is one
        print(f"demo: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
