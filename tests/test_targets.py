"""Targets: textures, which only TVM's own OpenCL runtime can run."""

from __future__ import annotations

import logging

import pytest
import tvm
from tvm.contrib.graph_executor import GraphModule

import tvm_coexec
from tests import models
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime

ADRENO = "opencl -device=adreno"
pytestmark = pytest.mark.opencl


TEXTURES = ADRENO + " -keys=texture"
BOARD = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon"


def gpu_of(cpu: str, gpu: str) -> tvm.target.Target:
    return tvm_coexec.targets(cpu, gpu)[1]


def test_textures_are_refused_where_the_runtime_is_ours():
    with pytest.raises(CoExecError, match="omit -keys=texture, or use a TVM built with USE_OPENCL=ON"):
        tvm_coexec.CoExecPartition(gpu=TEXTURES)
    with pytest.raises(CoExecError, match="this package's is in use here"):
        tvm_coexec.build(models.conv_chain(1), cpu="llvm -mtriple=x86_64-unknown-linux-gnu", gpu=TEXTURES, ratio=1.0)


@pytest.mark.parametrize("cpu", ["llvm", BOARD, "llvm -mtriple=aarch64-linux-android21"])
def test_an_adreno_gets_buffers(cpu, caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        partition = tvm_coexec.CoExecPartition(cpu=cpu, gpu=ADRENO + " -max_num_threads=128")
    assert "compiling with buffers" in caplog.text and "-keys=texture" in caplog.text
    assert list(partition.gpu.keys) == ["opencl", "gpu"] and partition.gpu.attrs["model"] == "adreno"
    assert int(partition.gpu.attrs["max_num_threads"]) == 128 and "device" not in partition.gpu.attrs
    assert str(gpu_of(cpu, partition.gpu)) == str(partition.gpu)
    named = gpu_of(cpu, ADRENO + " -model=adreno640")
    assert named.attrs["model"] == "adreno640" and "adreno" not in named.keys


@pytest.mark.parametrize("triple", ["aarch64-linux-android21", "arm64-apple-ios", "x86_64-pc-windows-msvc"])
def test_another_machine_may_have_tvms_own_runtime(triple, caplog):
    cpu = f"llvm -mtriple={triple}"
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        partition = tvm_coexec.CoExecPartition(cpu=cpu, gpu=TEXTURES)
    assert "only TVM's own OpenCL runtime can run" in caplog.text
    assert [k for k in partition.gpu.keys if k != "texture"] == list(tvm.target.Target(ADRENO).keys)
    assert str(gpu_of(cpu, partition.gpu)) == str(partition.gpu)  # passed on, they stay


@pytest.mark.parametrize("gpu", ["opencl -device=mali", "opencl", "vulkan"])
def test_other_gpus_have_no_textures(gpu, caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        tvm_coexec.CoExecPartition(gpu=gpu)
    assert not caplog.records


@pytest.mark.llvm
def test_a_module_with_textures_says_so_when_it_is_run_here(monkeypatch):
    """It was compiled where OpenCL is TVM's own: allowed, and without a warning."""
    mod = models.conv_chain(1, 32, 8)
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "is_ours", lambda: False)
        lib = tvm_coexec.build(mod, gpu=ADRENO, ratio=1.0)
    with pytest.raises(CoExecError, match="compiled for textures"):
        tvm_coexec.create(lib)
    with pytest.raises(tvm.TVMError, match="for textures use a TVM built with USE_OPENCL=ON"):
        GraphModule(lib["default"](tvm.cpu(), tvm.opencl()))
