"""What the sections share: their settings, the devices, the networks, and the record of what they have found."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from benchmarks._common import TestBed
    from benchmarks._modules import Network
    from tvm_coexec.gpu_runtimes import GpuRuntime

TOLERANCE = 1e-4  # largest absolute error over the largest absolute value, float32
NETWORKS = ("squeezenet", "mobilenet", "shufflenet")
SMALL = "small"  # a few layers, for --quick
KINDS = {"opencl": "OpenCL", "vulkan": "Vulkan"}  # of GPUs; this file imports nothing before its section runs


class Absent(Exception):
    """The device lacks what a section is about; the text says what."""


class Job:
    """The context of one section.

    Parameters
    ----------
    name : str
        The section.
    folder : Path
        Of the whole check; it has ``settings.json``.

    Attributes
    ----------
    folder, work : Path
        For results that are kept, and for files that later sections need.
    quick : bool
    gpu : str
        One of `KINDS`.
    budget_s : float
        Time that the section should take at most; it is killed later.
    numbers : dict
        What was found so far.
    wrong : list of str
        What is not as it should be; the section fails if there is something.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder, self.work = name, folder, folder / "work"
        self._file = folder / "sections" / f"{name}.json"
        self._stage = ""
        settings = json.loads((self.work / "settings.json").read_text(encoding="utf-8"))
        self.quick: bool = settings["quick"]
        self.gpu: str = settings["gpu"]
        self.budget_s = float(os.environ.get("DEVICE_CHECK_DUMP_S", "60")) * 0.8
        self.numbers: dict[str, Any] = {}
        self.wrong: list[str] = []

    def stage(self, text: str) -> None:
        """Report what is done next; after a crash the report says during what it happened."""
        self._stage = text
        print(f"--- {text}", flush=True)
        self._write({})

    def finish(self, state: str, reason: str) -> None:
        """Write the final result."""
        self._write({"state": state, "reason": reason})

    def _write(self, more: dict[str, Any]) -> None:
        content = {"stage": self._stage, "numbers": self.numbers, **more}
        temporary = self._file.with_suffix(".part")
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        temporary.replace(self._file)

    @property
    def devices_file(self) -> Path:
        """What the section ``devices`` leaves for the others."""
        return self.work / "test_bed.json"

    @cached_property
    def bed(self) -> TestBed:
        """The machine as the benchmarks use it."""
        from benchmarks._common import TestBed
        from tvm_coexec import testbed

        found = json.loads(self.devices_file.read_text(encoding="utf-8")) if self.devices_file.exists() else {}
        cores = tuple(sorted(os.sched_getaffinity(0)))
        return TestBed(testbed.TestBed(found.get("device"), found.get("pocl", False), cores))

    @property
    def runtime(self) -> GpuRuntime:
        """The runtime of this package for the GPU."""
        from tvm_coexec.gpu_runtimes import runtime_of

        found = runtime_of(self.gpu)
        assert found is not None
        return found

    @cached_property
    def cpu_target(self) -> str:
        """The CPU's target: this CPU's own, or on pocl plain llvm, which is about as fast as pocl on one core."""
        from scripts.demo import cpu_target

        return cpu_target(self.bed.bed)

    @property
    def networks(self) -> tuple[str, ...]:
        """Networks whose results are checked."""
        return (SMALL,) if self.quick else NETWORKS

    def network(self, name: str) -> Network:
        """Build a network with its random weights; nothing is downloaded."""
        from benchmarks._modules import Network

        return small_network() if name == SMALL else Network.load(name, reference=False)

    def library(self, name: str) -> Path:
        """The file of a compiled network."""
        return self.work / f"{name}.so"

    def answer(self, name: str) -> Path:
        """The file of a network's input, and of its results without a split."""
        return self.work / f"{name}.npz"

    def compare(self, name: str, got: list[np.ndarray], want: list[np.ndarray]) -> float:
        """Note whether results are right, and return the largest relative error."""
        from benchmarks._modules import relative_error

        pairs = list(zip(got, want, strict=True))
        # Also false if something is not a number.
        error = max(relative_error(a, b) for a, b in pairs)
        if not error <= TOLERANCE:
            self.wrong.append(f"{name} has a relative error of {error:.1e}, above {TOLERANCE:g}")
        return error


def small_network() -> Network:
    """Two convolutions, a pooling and a dense layer, which compile in a second."""
    import numpy as np
    import tvm
    from tvm import relay

    from benchmarks._modules import Network

    rng = np.random.default_rng(0)

    def weight(*shape: int) -> relay.Constant:
        return relay.const((rng.standard_normal(shape) * 0.2).astype("float32"))

    x = y = relay.var("x", shape=(1, 8, 21, 21))
    for channels in (24, 20):
        taken = 8 if y is x else 24
        y = relay.nn.conv2d(y, weight(channels, taken, 3, 3), channels=channels, kernel_size=(3, 3), padding=(1, 1))
        y = relay.nn.relu(relay.nn.bias_add(y, weight(channels)))
    y = relay.nn.dense(relay.nn.batch_flatten(relay.nn.global_avg_pool2d(y)), weight(512, 20))
    inputs = {"x": rng.standard_normal((1, 8, 21, 21)).astype("float32")}
    return Network(SMALL, tvm.IRModule.from_expr(relay.Function([x], y)), None, inputs)


def versions() -> dict[str, str]:
    """Versions of everything that takes part."""
    import platform
    from importlib import metadata

    import numpy
    import tvm

    import tvm_coexec

    found = {
        "tvm_coexec": tvm_coexec.__version__,
        "tvm": tvm.__version__,
        "llvm": _llvm_version(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
    }
    for name in ("scipy", "onnx"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _llvm_version() -> str:
    import tvm

    major = tvm.get_global_func("target.llvm_version_major", allow_missing=True)
    return str(major()) if major is not None else "unknown"
