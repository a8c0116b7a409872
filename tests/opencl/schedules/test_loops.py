"""Injective kernels, pooling and LRN on devices made of CPU cores: numbers, loops, no change for GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relay

from tests import models
from tvm_coexec.opencl import schedules

CPU_CORES = tvm.target.Target("opencl -model=pocl", host="llvm")
GPU = tvm.target.Target("opencl -device=mali", host="llvm")


def var(*shape: int, dtype: str = "float32", name: str = "x") -> relay.Var:
    return relay.var(name, shape=shape, dtype=dtype)


def const(*shape: int) -> relay.Constant:
    return relay.const(np.random.default_rng(3).uniform(0.5, 1.5, shape).astype("float32"))


def shuffle(channels: int, size: int, groups: int) -> relay.Expr:
    parts = relay.reshape(var(2, channels, size, size), (2, groups, channels // groups, size, size))
    return relay.reshape(relay.transpose(parts, (0, 2, 1, 3, 4)), (2, channels, size, size))


def heads(tokens: int, number: int, width: int) -> relay.Expr:
    """Merge the heads of an attention block."""
    x = relay.transpose(var(1, number, tokens, width), (0, 2, 1, 3))
    return relay.reshape(x, (1, tokens, number * width))


def pool(kind: str, shape: tuple[int, ...], size: int, stride: int, padding: int, **options) -> relay.Expr:
    build = getattr(relay.nn, kind)
    rank = len(shape) - 2
    return build(var(*shape), (size,) * rank, (stride,) * rank, padding=(padding,) * rank, **options)


# Kernels whose loops have no division left, at prime, odd and even extents.
WITHOUT_DIVISIONS: dict[str, Callable[[], relay.Expr]] = {
    "shuffle of 2 groups": lambda: shuffle(22, 7, 2),
    "shuffle of 4 groups": lambda: shuffle(136, 14, 4),
    "batch normalisation": lambda: relay.nn.relu(var(1, 33, 13, 11) * const(33, 1, 1) + const(33, 1, 1)),
    "merged heads": lambda: heads(13, 5, 24),
    "split heads": lambda: relay.transpose(relay.reshape(var(1, 13, 120), (1, 13, 5, 24)), (0, 2, 1, 3)),
    "concatenation": lambda: relay.concatenate([var(1, 3, 9, 9), var(1, 5, 9, 9, name="y")], 1),
    "concatenation, last axis": lambda: relay.concatenate([var(7, 9, 3), var(7, 9, 5, name="y")], 2),
    "transpose": lambda: relay.transpose(var(3, 17, 19, 5), (0, 2, 3, 1)),
    "padding": lambda: relay.nn.pad(var(1, 5, 9, 7), ((0, 0), (0, 0), (1, 2), (3, 0))),
    "depth to space": lambda: relay.nn.depth_to_space(var(1, 12, 5, 7), 2),
    "space to depth": lambda: relay.nn.space_to_depth(var(1, 3, 8, 6), 2),
    "upsampling": lambda: relay.nn.upsampling(var(1, 7, 6, 5), 2, 2),
    "strided slice": lambda: relay.strided_slice(var(1, 9, 11, 13), [0, 1, 0, 1], [1, 9, 11, 12], [1, 2, 1, 3]),
    "axes of one element between others": lambda: relay.nn.relu(var(3, 1, 35, 1, 41) * const(3, 1, 1, 1, 41)),
    "flat, over many groups": lambda: relay.nn.relu(var(3, 5000)),
    "prime extent, over many groups": lambda: relay.nn.relu(var(10007)),
}
OTHERS: dict[str, Callable[[], relay.Expr]] = {
    "one element": lambda: relay.nn.relu(var(1, 1)),
    "scalar": lambda: relay.nn.relu(var()),
    "no elements": lambda: relay.nn.relu(var(0, 3)),
    "bool": lambda: relay.logical_or(
        var(1, 5, 7, 7, dtype="bool"), relay.logical_not(var(5, 7, 1, dtype="bool", name="y"))
    ),
    "int8": lambda: relay.cast(relay.clip(var(1, 65, 7, 7, dtype="int32") + relay.const(3), 0, 100), "int8"),
    "where": lambda: relay.where(var(1, 1, 9, 5, dtype="bool", name="m"), var(1, 3, 9, 5), var(1, 3, 1, 5, name="y")),
    "take": lambda: relay.take(const(30, 12), var(7, dtype="int32"), axis=0, mode="clip"),
    "two outputs": lambda: relay.split(relay.exp(var(1, 8, 5, 5)), 2, 1).astuple(),
    "resize": lambda: relay.image.resize2d(var(1, 3, 9, 7), (13, 21), method="linear"),
    "erf": lambda: relay.erf(var(3, 77)),
    "power": lambda: relay.power(relay.abs(var(3, 64)) + relay.const(0.1), relay.const(0.75)),
    "power of rows": lambda: relay.power(relay.abs(var(3, 12)) + relay.const(0.1), const(12)),
    "log2, log10 and cos": lambda: relay.cos(relay.log2(relay.log10(relay.abs(var(2, 32)) + relay.const(11.0)))),
    "log and sin, odd": lambda: relay.log(relay.sin(var(3, 15)) + relay.const(1.5)),
    "log in a padding": lambda: relay.nn.pad(
        relay.log(relay.abs(var(1, 2, 8, 16)) + relay.const(1.0)), ((0, 0),) * 3 + ((8, 8),)
    ),
    "LRN": lambda: relay.nn.relu(relay.nn.lrn(var(1, 19, 7, 5), 5, 1, 2.0, 0.1, 0.75)),
    "LRN, one row": lambda: relay.nn.lrn(var(3, 7, 1, 300), 5, 1, 2.0, 0.1, 0.75),
    "max pool, one row": lambda: pool("max_pool2d", (2, 3, 1, 3000), 1, 1, 0),
    "LRN, last axis": lambda: relay.nn.lrn(var(2, 5, 7, 32), 3, 3, 2.0, 0.1, 0.75),
    "max pool": lambda: pool("max_pool2d", (1, 19, 23, 21), 3, 2, 1),
    "max pool, channels last": lambda: pool("max_pool2d", (1, 9, 11, 24), 3, 2, 1, layout="NHWC"),
    "average pool": lambda: relay.nn.relu(pool("avg_pool2d", (2, 7, 13, 14), 3, 1, 1)),
    "average pool, padding counted": lambda: pool(
        "avg_pool2d", (1, 5, 14, 13), 3, 2, 1, count_include_pad=True, ceil_mode=True
    ),
    "pool of a large window": lambda: pool("avg_pool2d", (1, 3, 30, 29), 13, 5, 0),
    "pool of one dimension": lambda: pool("max_pool1d", (1, 7, 333), 3, 2, 1),
    "pool of three dimensions": lambda: pool("avg_pool3d", (1, 3, 7, 9, 9), 3, 2, 1),
    "pool to one element": lambda: pool("max_pool2d", (1, 1, 3, 3), 3, 1, 0),
}


def module_of(build: Callable[[], relay.Expr]) -> tvm.IRModule:
    body = build()
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body)))


def assert_equals_llvm(mod: tvm.IRModule) -> None:
    """Run a module compiled for CPU cores, and compare its results with those of LLVM's."""
    inputs = models.input_of(mod)
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, target=CPU_CORES)
    models.assert_same(models.run(lib, inputs, (tvm.opencl(0),)), models.reference(mod, inputs))


def source_of(mod: tvm.IRModule, target: tvm.target.Target) -> str:
    """Return the sorted lines of the kernels' source: the order of kernels changes from build to build."""
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, target=target).get_lib()
    return "\n".join(sorted(lib.imported_modules[0].get_source().splitlines()))


@pytest.mark.opencl
@pytest.mark.parametrize("case", [*WITHOUT_DIVISIONS, *OTHERS])
def test_equals_llvm(case: str) -> None:
    assert_equals_llvm(module_of({**WITHOUT_DIVISIONS, **OTHERS}[case]))


@pytest.mark.llvm
@pytest.mark.parametrize("case", WITHOUT_DIVISIONS)
def test_loops_have_no_divisions(case: str) -> None:
    """A number of a work-group may be divided, once per group; a loop's variable may not."""
    source = source_of(module_of(WITHOUT_DIVISIONS[case]), CPU_CORES)
    assert "get_local_id" not in source
    groups_only = re.sub(r"\(*convert_long\(get_group_id\(0\)\)\)*(?: [*+] \d+\)*)* (?:[/%]|>>|&) ", "", source)
    assert not re.search(r"[/%] |>> ", re.sub(r"//.*", "", groups_only)), source


@pytest.mark.llvm
@pytest.mark.parametrize("case", [*WITHOUT_DIVISIONS, "max pool", "average pool", "LRN"])
def test_a_gpu_keeps_the_stock_schedule(case: str) -> None:
    mod = module_of({**WITHOUT_DIVISIONS, **OTHERS}[case])
    ours, cpu_cores = source_of(mod, GPU), source_of(mod, CPU_CORES)
    schedules.uninstall()
    try:
        assert source_of(mod, GPU) == ours
        assert source_of(mod, CPU_CORES) != cpu_cores
    finally:
        schedules.install()
