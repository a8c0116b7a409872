"""Models compiled for a board: the CPU's object, the GPU's kernels, the plan, and what links them."""

from __future__ import annotations

import re
import tarfile

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from scripts.build_runtime import AARCH64, elf_machine
from tests import models
from tvm_coexec.core.errors import CoExecError

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

BOARD = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon"
GPUS = ["opencl -device=mali", "opencl -device=adreno"]


def net() -> tvm.IRModule:
    """What has schedules of its own for these GPUs, at odd sizes: 3x3, 1x1, strided, depthwise convolutions, dense."""
    rng = np.random.default_rng(5)
    x = relay.var("x", shape=(1, 3, 17, 15))
    y = models.conv(rng, x, 3, 12)
    y = models.conv(rng, y, 12, 12, groups=12)
    y = models.conv(rng, y, 12, 20, kernel=1)
    y = relay.add(models.conv(rng, y, 20, 20), y)
    y = models.conv(rng, y, 20, 9, strides=(2, 2))
    y = relay.nn.batch_flatten(relay.nn.avg_pool2d(y, (2, 2), (2, 2)))
    y = relay.nn.dense(y, models.weights(rng, 11, 9 * 4 * 4), units=11)
    return tvm.IRModule.from_expr(relay.Function([x], relay.nn.softmax(y)))


def kernels(lib: object) -> list[str]:
    """The OpenCL kernels of a module, without names and in order: TVM numbers and orders them by hashes."""

    def sources(module: tvm.runtime.Module) -> list[str]:
        own = [module.get_source()] if module.type_key == "opencl" else []
        return own + [text for part in module.imported_modules for text in sources(part)]

    functions = [f for text in sources(lib.get_lib()) for f in re.split(r"(?=__kernel )", text)[1:] if "{" in f]
    return sorted(re.sub(r"tvmgen_\w+_kernel(_\d+)?", "", f.split("\n}\n")[0]) for f in functions)


@pytest.mark.parametrize("gpu", GPUS)
def test_the_boards_module_has_its_objects_and_the_kernels_that_were_run(gpu, tmp_path):
    """The same kernels are run here, where the CPU's share is compiled for this machine."""
    mod = net()
    inputs = models.input_of(mod)
    here = tvm_coexec.build(mod, gpu=gpu, ratio=0.5, axis="oc")
    models.assert_same(models.run(here, inputs, [tvm.cpu(), tvm.opencl()]), models.reference(mod, inputs))

    board = tvm_coexec.build(mod, cpu=BOARD, gpu=gpu, ratio=0.5, axis="oc")
    mine = kernels(here)
    assert kernels(board) == mine and len(mine) > 10
    assert not re.search(r"image2d_t|read_image|sampler_t", "".join(mine)), "the runtime has no textures"
    board.export_library(str(tmp_path / "net.tar"))
    with tarfile.open(tmp_path / "net.tar") as archive:
        archive.extract("lib0.o", tmp_path, filter="data")
    assert elf_machine(tmp_path / "lib0.o") == AARCH64
    with pytest.raises(CoExecError, match=r"aarch64-linux-gnu, this machine is .*cc=COMPILER.*aarch64-linux-gnu-gcc"):
        board.export_library(str(tmp_path / "net.so"))
    assert not (tmp_path / "net.so").exists()
