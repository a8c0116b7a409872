"""Tiles of dense layers on CPUs that read each weight once.

In a network the weights of a kernel are in no near cache: those of all other kernels were read since its last run.
Without a record TVM divides a dense layer into four parts of its outputs, and reads all weights of a part, often
megabytes, again for every eight rows. A kernel that is timed alone finds them in the cache; in a network, a dense layer
of 32 rows and 768 x 3072 weights takes twice as long.

The configuration here computes all rows of one block of packed weights before the next. A block of all summands and two
vectors of outputs fits the first or second cache. Where the rows themselves are larger than that, they are what is
read once for a group of blocks.
"""

from __future__ import annotations

from tvm.autotvm.task.space import ConfigEntity
from tvm.target import Target
from tvm.target.x86 import get_simd_32bit_lanes

from tvm_coexec.opencl.schedules.dispatch import CPU_TEMPLATES, forget
from tvm_coexec.opencl.schedules.tiles import config, largest_divisor
from tvm_coexec.opencl.schedules.workloads import Workload, shape

TEMPLATE = "dense_pack.x86"
# Bytes that are read many times: about half of the second cache of today's cores.
_NEAR_BYTES = 1 << 20
_FLOAT_BYTES = 4
# Blocks or groups of them that several threads can share.
_PARALLEL = 16


def dense_pack(workload: Workload, target: Target) -> ConfigEntity | None:
    """Configuration for ``(data, weight, bias, out_dtype)``.

    Parameters
    ----------
    workload : tuple
        The weight has two dimensions, or three once it is packed in blocks of outputs.
    target : Target
        Its vectors determine the tile.

    Returns
    -------
    ConfigEntity or None
        `None` for types other than float32, and for numbers of outputs that no whole vectors divide.

    Raises
    ------
    NotStatic
        If the number of rows is not a constant.
    """
    (rows, reduce), weight = shape(workload, 1), shape(workload, 2)
    if workload[1][2] != "float32" or workload[4] != "float32" or not rows * reduce:
        return None
    with target:
        lanes = get_simd_32bit_lanes()
    block = weight[2] if len(weight) == 3 else next((n for n in (2 * lanes, lanes) if weight[0] % n == 0), 0)
    outputs = weight[0] * block if len(weight) == 3 else weight[0]
    if not block or not outputs:
        return None
    registers = 32 if lanes == 16 or "aarch64" in str(target.attrs.get("mtriple", "")) else 16
    tile_rows = largest_divisor(rows, registers // 4)  # with two vectors each, half of the registers are sums
    blocks, tiles = outputs // block, rows // tile_rows
    group = 1
    if rows * reduce * _FLOAT_BYTES > _NEAR_BYTES:
        group = largest_divisor(blocks, max(1, _NEAR_BYTES // (block * reduce * _FLOAT_BYTES)))
    parts = next((n for n in range(1, tiles + 1) if tiles % n == 0 and n * (blocks // group) >= _PARALLEL), tiles)
    return config(
        tile_y=(tiles // parts, tile_rows),
        tile_x=(group, block),
        tile_k=(1,),
        tile_inner=(tile_rows,),
    )


def install() -> None:
    """Let the root context of AutoTVM configure dense layers. Idempotent; no effect without that context."""
    if TEMPLATE not in CPU_TEMPLATES:
        CPU_TEMPLATES[TEMPLATE] = dense_pack
        forget(TEMPLATE)


def uninstall() -> None:
    """Leave dense layers to TVM's fallback."""
    CPU_TEMPLATES.pop(TEMPLATE, None)
    forget(TEMPLATE)
