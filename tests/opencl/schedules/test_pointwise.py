"""Grouped 1x1 convolutions on devices made of CPU cores: numbers, tiles, and what keeps TVM's template."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import autotvm, relay

from tests.opencl.schedules.test_loops import CPU_CORES, assert_equals_llvm, module_of, source_of, var
from tvm_coexec.opencl import schedules
from tvm_coexec.opencl.schedules.pointwise import choose_pointwise_tile
from tvm_coexec.opencl.schedules.window import Window


def grouped(
    channels: int, size: tuple[int, int], outputs: int, groups: int, *, fused: bool = True, residual: bool = False,
    batch: int = 1, kernel: int = 1, stride: int = 1, padding: int = 0, dtype: str = "float32",
) -> tvm.IRModule:  # fmt: skip
    def build() -> relay.Expr:
        weight = np.random.default_rng(1).standard_normal((outputs, channels // groups, kernel, kernel)).astype(dtype)
        conv = relay.nn.conv2d(
            var(batch, channels, *size, dtype=dtype), relay.const(weight), strides=stride, padding=padding,
            groups=groups, channels=outputs, kernel_size=(kernel, kernel),
        )  # fmt: skip
        if not fused:
            return conv
        scale, bias = np.random.default_rng(2).standard_normal((2, outputs, 1, 1)).astype(dtype)
        result = conv * relay.const(scale) + relay.const(bias)
        return relay.nn.relu(result + var(batch, outputs, *size, dtype=dtype, name="y") if residual else result)

    return module_of(build)


# By the map: vectors of 8, of 4, a whole map of odd extents, one too large for that; channels prime, odd, even.
TAKEN = {
    "vectors of 8": grouped(136, (28, 28), 136, 4),
    "vectors of 8, not fused": grouped(68, (16, 17), 124, 2, fused=False),
    "vectors of 4": grouped(96, (18, 34), 34, 2),
    "whole map, 7 x 7": grouped(272, (7, 7), 544, 4),
    "whole map, 14 x 14, batch of 2": grouped(96, (14, 14), 74, 2, batch=2),
    "whole map, 13 x 11": grouped(51, (13, 11), 303, 3),
    "prime number of rows, residual": grouped(96, (13, 28), 98, 2, residual=True),
    "odd number of rows, not fused": grouped(96, (15, 20), 98, 2, fused=False),
    "prime number of channels": grouped(114, (20, 20), 62, 2),
}
KEPT = {
    "few channels": grouped(24, (28, 28), 272, 4),
    "few operations": grouped(64, (5, 5), 64, 2),
    "3 x 3": grouped(64, (14, 14), 64, 2, kernel=3, padding=1),
    "stride": grouped(128, (28, 28), 128, 2, stride=2),
    "padded": grouped(128, (14, 14), 128, 2, padding=1),
    "odd and large map": grouped(96, (17, 27), 96, 3),
}


def uses_template(mod: tvm.IRModule, target: tvm.target.Target) -> bool:
    """Return whether the kernel copies to local memory, as TVM's template does."""
    return "__local" in source_of(mod, target)


@pytest.mark.opencl
@pytest.mark.parametrize("case", [*TAKEN, *KEPT])
def test_equals_llvm(case: str) -> None:
    assert_equals_llvm({**TAKEN, **KEPT}[case])


@pytest.mark.slow
@pytest.mark.llvm
def test_what_takes_the_schedule() -> None:
    assert {case for case, mod in {**TAKEN, **KEPT}.items() if uses_template(mod, CPU_CORES)} == set(KEPT)
    assert uses_template(TAKEN["vectors of 8"], tvm.target.Target("opencl -model=adreno", host="llvm"))
    schedules.uninstall()
    try:
        assert uses_template(TAKEN["vectors of 8"], CPU_CORES)
    finally:
        schedules.install()


@pytest.mark.slow
@pytest.mark.llvm
def test_records_keep_the_template() -> None:
    mod = TAKEN["vectors of 8"]
    (task,) = autotvm.task.extract_from_program(mod["main"], target=CPU_CORES, params={})
    entity = schedules.configuration(CPU_CORES, task.workload)
    record = autotvm.ConfigEntity.from_json_dict({**entity.to_json_dict(), "code_hash": None})
    measured = autotvm.MeasureResult([1e-3], 0, 0.1, 0.0)
    entry = (autotvm.MeasureInput(CPU_CORES, task, record), measured)
    with autotvm.apply_history_best([entry]):
        assert uses_template(mod, CPU_CORES)


@pytest.mark.parametrize("size", [(7, 7), (28, 28), (18, 34), (56, 56), (1, 8), (1, 4), (13, 28), (27, 44)])
@pytest.mark.parametrize("channels", [1, 31, 34, 240])
def test_tiles_divide_the_output(channels: int, size: tuple[int, int]) -> None:
    window = Window(
        batch=1, groups=3, channels=channels, reduce=512, out=size, kernel=(1, 1), stride=(1, 1), dilation=(1, 1),
        padded=False, element_bytes=4,
    )  # fmt: skip
    tile = choose_pointwise_tile(window)
    if tile is not None:
        positions = size[0] * size[1]
        assert channels % tile.channels == 0 and positions % tile.positions == 0
        assert tile.positions % size[1] == 0 or size[1] % tile.positions == 0
        assert not tile.lanes or tile.positions % tile.lanes == 0
    else:
        assert 2 * 3 * channels * 512 * size[0] * size[1] < 1e6
