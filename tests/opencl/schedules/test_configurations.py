"""Configurations: tiles fit shapes and limits, whatever the extents; the device's class decides; nothing is random."""

from __future__ import annotations

from math import prod

import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm.autotvm.task.space import ConfigEntity, SplitEntity

from tvm_coexec.opencl import schedules
from tvm_coexec.opencl.schedules.device import DeviceTraits

CPU = tvm.target.Target("opencl -model=pocl", host="llvm")
GPU = tvm.target.Target("opencl -model=some_gpu -max_num_threads=128 -max_shared_memory_per_block=8192", host="llvm")
TYPE = "float32"

extents = st.one_of(st.integers(1, 60), st.sampled_from([7, 13, 27, 55, 111, 112, 113, 149, 224]))
channels = st.one_of(st.integers(1, 70), st.sampled_from([128, 256, 509, 512]))
kernels = st.integers(1, 7)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tensor(*shape: int) -> tuple:
    return ("TENSOR", shape, TYPE)


def conv2d(batch, inputs, height, width, outputs, kernel, stride=1, dilation=1) -> tuple:
    """A workload of `conv2d_nchw.cuda` with as much padding as the window needs."""
    pad = (kernel - 1) * dilation
    data, weight = tensor(batch, inputs, height, width), tensor(outputs, inputs, kernel, kernel)
    window = ((stride, stride), (pad, pad, pad, pad), (dilation, dilation), TYPE)
    return ("conv2d_nchw.cuda", data, weight, *window)


def sizes(entity: ConfigEntity, name: str) -> list[int]:
    """Inner extents of a split."""
    return entity[name].size[1:]


def work_items(entity: ConfigEntity) -> int:
    splits = [e.size for e in entity._entity_map.values() if isinstance(e, SplitEntity) and len(e.size) == 4]
    return prod(size[2] for size in splits)


@pytest.mark.slow
@quick
@given(st.integers(1, 3), channels, extents, extents, channels, kernels, st.integers(1, 3), st.integers(1, 2))
def test_conv2d_tiles_fit(batch, inputs, height, width, outputs, kernel, stride, dilation) -> None:
    """No tile is larger than its axis, blocks of input channels divide, and limits of the target hold."""
    workload = conv2d(batch, inputs, height, width, outputs, kernel, stride, dilation)
    pad = (kernel - 1) * dilation
    out = [(e + pad) // stride + 1 for e in (height, width)]
    for target in (CPU, GPU):
        entity = schedules.configuration(target, workload)
        assert not entity.is_fallback
        tile = {name: prod(sizes(entity, f"tile_{name}")) for name in "fyx"}
        assert all(tile[name] <= extent for name, extent in zip("fyx", (outputs, *out), strict=True))
        block = sizes(entity, "tile_rc")[0]
        assert inputs % block == 0
        assert (sizes(entity, "tile_ry"), sizes(entity, "tile_rx")) == ([kernel], [kernel])
        traits = schedules.device_traits(target)
        assert work_items(entity) <= traits.max_threads
        region = prod((tile[n] - 1) * stride + (kernel - 1) * dilation + 1 for n in "yx")
        local_bytes = 4 * block * (region + tile["f"] * kernel * kernel)
        assert local_bytes <= traits.local_bytes or block == 1


@quick
@given(st.sampled_from([CPU, GPU]), st.integers(1, 200), st.integers(1, 1200), st.integers(1, 600))
def test_dense_and_batch_matmul_tiles_fit(target, rows, outputs, reduce) -> None:
    """Tiles are within their axes and work-groups within the target's limit."""
    dense = (tensor(rows, reduce), tensor(outputs, reduce), None, TYPE)
    large = schedules.configuration(target, ("dense_large_batch.gpu", *dense))
    assert (large is None) == (reduce == 1)
    large = large or schedules.configuration(
        target, ("dense_large_batch.gpu", tensor(rows, 2), tensor(outputs, 2), None, TYPE)
    )
    reduce = max(reduce, 2)
    if target is CPU:
        assert prod(sizes(large, "tile_x")) <= rows and prod(sizes(large, "tile_y")) <= outputs
    else:
        assert sizes(large, "tile_x")[1] == sizes(large, "tile_y")[1], "the template needs a square of work-items"
    block = prod(sizes(large, "tile_k"))
    assert reduce > block and (reduce % block == 0 or block == 2), "blocks of one only where two are all"
    assert block > 1 or reduce == 2
    assert work_items(large) <= schedules.device_traits(target).max_threads
    product = (tensor(3, rows, reduce), tensor(3, outputs, reduce), None, TYPE, False, True)
    entity = schedules.configuration(target, ("batch_matmul.cuda", *product))
    assert reduce % sizes(entity, "tile_k")[0] == 0
    assert sizes(entity, "tile_y")[0] * sizes(entity, "tile_x")[0] <= schedules.device_traits(target).max_threads


@quick
@given(st.sampled_from([1, 2, 3, 4, 8, 32]), st.integers(1, 40), st.integers(1, 40), extents, extents)
def test_group_tiles_divide_a_groups_channels(groups, inputs, outputs, height, width) -> None:
    """The grouped template cannot guard channels."""
    data, weight = tensor(1, groups * inputs, height, width), tensor(groups * outputs, inputs, 3, 3)
    workload = ("group_conv2d_nchw.cuda", data, weight, (1, 1), (1, 1, 1, 1), (1, 1), groups, TYPE)
    for target in (CPU, GPU):
        entity = schedules.configuration(target, workload)
        if groups > 1:
            assert outputs % prod(sizes(entity, "tile_f")) == 0


def test_a_grouped_kernel_that_is_not_square() -> None:
    """The grouped template takes tile_rx for rows of the kernel and tile_ry for its columns."""
    data, weight = tensor(1, 8, 9, 9), tensor(8, 4, 5, 3)
    workload = ("group_conv2d_nchw.cuda", data, weight, (1, 1), (2, 1, 2, 1), (1, 1), 2, TYPE)
    entity = schedules.configuration(CPU, workload)
    assert (sizes(entity, "tile_rx"), sizes(entity, "tile_ry")) == ([5], [3])


def test_a_cpu_takes_one_work_item_and_small_code() -> None:
    """On a CPU a work-group is one work-item, and what is unrolled stays small: kernels must compile within seconds."""
    for outputs, size in [(64, 56), (13, 56), (24, 27), (40, 13), (512, 7)]:
        entity = schedules.configuration(CPU, conv2d(1, 64, size, size, outputs, 3))
        assert work_items(entity) == 1
        splits = {name: sizes(entity, f"tile_{name}") for name in "fyx"}
        unrolled = prod(s[0] for s in splits.values())  # virtual threads
        if entity["auto_unroll_max_step"].val:
            unrolled *= prod(s[2] for s in splits.values())
        assert unrolled <= 256


def test_a_gpu_takes_full_warps_where_there_is_work() -> None:
    """A real GPU gets at least 64 work-items per work-group on maps that have them."""
    target = tvm.target.Target("opencl -model=some_gpu", host="llvm")
    for outputs, size in [(64, 56), (24, 56), (256, 14), (40, 27)]:
        entity = schedules.configuration(target, conv2d(1, 64, size, size, outputs, 3))
        assert 64 <= work_items(entity) <= 256


def test_the_same_question_has_the_same_answer() -> None:
    """Twice the same, also when asked in another order."""
    workloads = [conv2d(1, 64, e, e, 24, 3) for e in (56, 27, 13)]
    first = [str(schedules.configuration(CPU, w)) for w in workloads]
    schedules.windows.choose_tile.cache_clear()
    again = [str(schedules.configuration(CPU, w)) for w in reversed(workloads)]
    assert first == again[::-1]


@pytest.mark.parametrize(
    ("text", "host", "is_cpu"),
    [
        ("opencl -model=pocl", "llvm", True),
        ("opencl -model=cpu", "llvm", True),
        ("opencl -model=adreno640", "llvm", False),
        ("opencl -device=mali", "llvm", False),
        ("opencl -thread_warp_size=32", "llvm", False),
        ("opencl", "llvm -mtriple=riscv64-linux-gnu", False),
        ("vulkan", "llvm", False),
        ("cuda -arch=sm_80", "llvm", False),
    ],
)
def test_the_target_determines_the_device(text: str, host: str, is_cpu: bool) -> None:
    """Without asking the local machine."""
    assert schedules.device_traits(tvm.target.Target(text, host=host)).is_cpu is is_cpu


def test_limits_come_from_the_target() -> None:
    """Limits that the target names hold; OpenCL's guaranteed local memory replaces TVM's default only on a CPU."""
    assert schedules.device_traits(GPU) == DeviceTraits(False, 128, 8192, 32)
    assert schedules.device_traits(CPU).local_bytes == 32768
    named = tvm.target.Target("opencl -model=pocl -max_shared_memory_per_block=4096", host="llvm")
    assert schedules.device_traits(named).local_bytes == 4096


@pytest.mark.opencl
def test_the_local_device_is_asked_where_the_target_is_silent() -> None:
    """A plain ``opencl`` means the device that is there."""
    from tvm_coexec.opencl import runtime

    is_cpu = schedules.device_traits(tvm.target.Target("opencl", host="llvm")).is_cpu
    assert is_cpu == (runtime.devices()[0].type == "cpu")
