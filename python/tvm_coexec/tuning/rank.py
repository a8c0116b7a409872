"""Rank configurations of a share: what one costs in relation to another, by the template's own tile cost.

A record measured a configuration of the whole operator. What it knows beyond any model stays in the estimate: the
share's seconds are the record's, times the ratio of the modelled costs of both configurations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

from tvm.autotvm.task.space import SplitEntity
from tvm.target import Target
from tvm.target.x86 import get_simd_32bit_lanes

from tvm_coexec.opencl.schedules.device import DeviceTraits, device_traits, is_gpu_target
from tvm_coexec.opencl.schedules.tiles import ceil_div
from tvm_coexec.opencl.schedules.window import Window
from tvm_coexec.opencl.schedules.windows import tile_cost
from tvm_coexec.opencl.schedules.workloads import Workload, integers, window_of

from .other_tiles import is_other_tile, other_tile_cost

Knobs = OrderedDict[str, Any]

_WINDOWS: dict[str, Callable[[Workload], Window]] = {
    "conv2d_nchw.cuda": window_of,
    "group_conv2d_nchw.cuda": lambda w: window_of(w, groups=integers(w[6])[0]),
    "conv3d_ncdhw.cuda": lambda w: window_of(w, groups=integers(w[6])[0]),
}
_SPATIAL = ("tile_d", "tile_y", "tile_x")
_PER_POWER = 0.1  # what a factor of two away from the record's tile costs where no model knows the template
_DEPTHWISE = "depthwise_conv2d_NCHWc.x86"
_PACKED = ("conv2d_NCHWc.x86", _DEPTHWISE)
# Of blocks of packed convolutions, measured with AVX2: cycles of a vector's multiply-add, of the latency that several
# of them hide, of loading a vector of weights and an input for all lanes; factors, see `_packed_cost`.
_PER_VECTOR, _LATENCY, _PER_WEIGHT, _PER_INPUT = 0.5, 3.3, 0.7, 0.5
# What registers hold without spilling, see `_spilling`.
_AVX512_LANES, _ACCUMULATORS = 16, 28
_HELD, _HELD_UNROLLED = 16, 15
_SPILLED, _SPILLED_LOOP, _SPILLED_INPUTS = 1.6, 2.2, 4
_RAGGED, _RAGGED_LOOP, _RAGGED_SPILLED, _RAGGED_ROLLED, _RAGGED_INPUTS = 2.4, 2.2, 1.7, 2.2, 8
_PART_OF_VECTOR = 1.65
_DEPTHWISE_BLOCK, _DEPTHWISE_SPILLED = 28, 2.5
_GATHER, _GATHER_ROLLED = 3.0, 2.0  # blocks of outputs that are no part of a block of inputs
# Input channels in blocks of one: each is in another row of memory, and in another loop.
_FAR, _FAR_1X1, _FAR_RAGGED, _FAR_PART = 0.1, 0.6, 0.3, 0.9


def window_for(workload: Workload) -> Window | None:
    """Return the window of a GPU template whose tiles have a cost model."""
    return _WINDOWS[workload[0]](workload) if workload[0] in _WINDOWS else None


def local_bytes(window: Window, knobs: Knobs) -> int:
    """Return the local memory of a work-group: inputs and weights of one step of the reduction."""
    inner = {name: prod(e.size[1:]) for name, e in knobs.items() if isinstance(e, SplitEntity)}
    spatial = tuple(inner[name] for name in _SPATIAL[-len(window.out) :])
    return inner["tile_rc"] * (window.region(spatial) + inner["tile_f"] * window.taps) * window.element_bytes


def has_model(workload: Workload, target: Target) -> bool:
    """Return whether a tile cost is known for a template, rather than FLOPs and distances only."""
    return workload[0] in _PACKED or (workload[0] in _WINDOWS and is_gpu_target(target))


def coupled_knobs(template: str) -> tuple[str, ...]:
    """Return the knobs of a template whose best values depend on the block of channels, and that its model knows."""
    return ("tile_ic", "tile_ow", "tile_oh", "unroll_kw") if template in _PACKED else ()


def modelled_cost(
    workload: Workload, target: Target, knobs: Knobs, flops: float, waste: float, distance: float
) -> float:
    """Return what a configuration costs, in a unit that is the same for all configurations of a template.

    Parameters
    ----------
    workload : tuple
        In plain layout.
    target : Target
    knobs : OrderedDict
        Knobs by name.
    flops : float
        FLOPs of the workload.
    waste, distance : float
        See `Change`; for templates that no model knows.
    """
    if workload[0] == _DEPTHWISE:
        return _depthwise_cost(workload, target, knobs)
    if workload[0] in _PACKED:
        return _packed_cost(workload, target, knobs)
    window = window_for(workload)
    if window is None or not is_gpu_target(target):
        return max(flops, 1.0) * waste * (1.0 + _PER_POWER * distance)
    traits = device_traits(target)
    return _window_cost(window, traits, knobs)


def _window_cost(window: Window, traits: DeviceTraits, knobs: Knobs) -> float:
    def three(name: str) -> tuple[int, int, int]:
        virtual, thread, inner = knobs[name].size[1:]
        return virtual, thread, inner

    spatial = tuple(three(name) for name in _SPATIAL[-len(window.out) :])
    channels, reduce = three("tile_f"), prod(knobs["tile_rc"].size[1:])
    if traits.is_cpu and is_other_tile(channels, spatial):
        return other_tile_cost(window, channels, spatial, reduce)
    return tile_cost(window, traits, channels, spatial, reduce)


def _packed_cost(workload: Workload, target: Target, knobs: Knobs) -> float:
    """Cycles of a convolution packed in blocks of channels, by how well a block fits the vector registers.

    The innermost loops compute a block of output channels at neighbouring columns (and rows of a 1x1 kernel), all
    accumulated in registers: too few leave the units idle, too many are spilled. A block of channels that is wider than
    a vector, but no power of two (24 and 40 as well as 28), is compiled to loads and stores of parts of vectors; with a
    long loop over input channels around them even its accumulators are in memory.
    """
    window = window_of(workload)
    with target:
        lanes = get_simd_32bit_lanes()
    channels, columns = knobs["tile_oc"].size[-1], knobs["tile_ow"].size[-1]
    inputs = knobs["tile_ic"].size[-1] if "tile_ic" in knobs else 1
    rows = int(knobs["tile_oh"].val) if "tile_oh" in knobs else 1
    height, width = window.out
    blocks = ceil_div(window.channels, channels) * ceil_div(height, rows) * ceil_div(width, columns)
    vectors = channels // lanes + (channels % lanes).bit_count() if channels > lanes else 1
    block = vectors * rows * columns
    cycles = max(_PER_VECTOR * block, _LATENCY, _PER_WEIGHT * vectors + _PER_INPUT * rows * columns)
    far = _FAR_1X1 if window.taps == 1 else _FAR
    unrolled = "unroll_kw" not in knobs or bool(knobs["unroll_kw"].val)
    cycles *= _spilling(lanes, block, rows * columns, window.taps, inputs, unrolled)
    if channels > lanes and channels.bit_count() > 1:
        far = max(far, _FAR_RAGGED)
        cycles *= _RAGGED * (_RAGGED_LOOP if inputs > _RAGGED_INPUTS else 1.0)
        cycles *= _RAGGED_SPILLED if block > 2 * lanes else 1.0
        cycles *= 1.0 if unrolled or inputs == 1 else _RAGGED_ROLLED
    elif channels < lanes and channels.bit_count() > 1:
        far = max(far, _FAR_PART)
        cycles *= _PART_OF_VECTOR
    return window.batch * blocks * window.reduce * window.taps * cycles * (1.0 + far / inputs)


def _spilling(lanes: int, accumulators: int, outputs: int, taps: int, inputs: int, unrolled: bool) -> float:
    """What a block costs more if registers do not hold it.

    With 16 registers they hold the accumulators and an input for each output of the block at neighbouring positions;
    instructions of AVX-512 read that input from memory. Where a kernel row is a loop, spilling costs most.
    """
    if lanes == _AVX512_LANES:
        return _SPILLED if accumulators > _ACCUMULATORS else 1.0
    if taps > 1 and unrolled:
        return _SPILLED if accumulators + outputs > _HELD_UNROLLED else 1.0
    if accumulators + outputs <= _HELD:
        return 1.0
    return _SPILLED_LOOP if taps > 1 and inputs > _SPILLED_INPUTS else _SPILLED


def _depthwise_cost(workload: Workload, target: Target, knobs: Knobs) -> float:
    """The same for a depthwise one, which is bound by loads: those of a block of outputs must lie side by side."""
    window = window_of(workload)
    with target:
        lanes = get_simd_32bit_lanes()
    channels, columns, inputs = (knobs[n].size[-1] for n in ("tile_oc", "tile_ow", "tile_ic"))
    blocks = ceil_div(window.channels, channels) * window.out[0] * ceil_div(window.out[1], columns)
    block = (ceil_div(channels, lanes) if channels >= lanes else 0.5) * columns
    cycles = block * (_DEPTHWISE_SPILLED if block > _DEPTHWISE_BLOCK else 1.0)
    if inputs % channels:
        cycles *= _GATHER * (1.0 if knobs["unroll_kw"].val else _GATHER_ROLLED)
    return window.batch * blocks * window.taps * cycles
