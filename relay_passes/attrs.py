"""Attributes that passes write on the functions of a divided module, and that later passes read.

`outline` makes one global function of every segment, `split` two of every chain, and `schedule_devices` inlines them
all. In between, the attributes of each function state the decision, and main holds only calls of these functions and
the slices, concatenations of parts and additions of partial sums that `split` puts between them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import tvm
from tvm import relay

from tvm_coexec.core.kernel_graph import REDUCED

_KEY = "coexec."
# Roles of functions: a segment on one device, a chain to be split, one device's share of a chain, or the operators
# after a chain split along its reduction, which read the sum of its parts.
WHOLE, CHAIN, SHARE, JOIN = "whole", "chain", "share", "join"


@dataclass(frozen=True)
class SegmentAttrs:
    """Attributes of one function, in the IR ``coexec.<name>``.

    Attributes
    ----------
    segment : int
        Number of the plan's segment, in execution order.
    role : str
        ``whole``, ``chain``, ``share`` or ``join``.
    device : str
        ``cpu`` or ``gpu``; ``split`` for a chain.
    kernels : tuple of int
        Kernels inside, as in the plan.
    axis, dim, cut, extent : str, int, int, int
        Of a chain and its shares: the axis of the last kernel, its output dimension (or `REDUCED`), the end of the
        GPU's range, and the size of the axis.
    result_dims, result_cuts : tuple of int
        Of a chain: for each result, in order of kernels, the split dimension and the cut.
    """

    segment: int
    role: str
    device: str
    kernels: tuple[int, ...]
    axis: str = ""
    dim: int = 0
    cut: int = 0
    extent: int = 0
    result_dims: tuple[int, ...] = ()
    result_cuts: tuple[int, ...] = ()

    @property
    def reduces(self) -> bool:
        """Whether the shares are partial sums."""
        return self.role in (CHAIN, SHARE) and self.dim == REDUCED

    def of_share(self, device: str) -> SegmentAttrs:
        """Return the attributes of one device's share of this chain."""
        return replace(self, role=SHARE, device=device, result_dims=(), result_cuts=())

    def of_join(self, kernel: int) -> SegmentAttrs:
        """Return the attributes of the function after this chain: the rest of its last kernel, on the CPU."""
        return SegmentAttrs(self.segment, JOIN, "cpu", (kernel,))

    def to_attrs(self) -> tvm.ir.DictAttrs:
        """Return Relay's representation, without attributes that do not apply to the role."""
        names = ["segment", "role", "device", "kernels"]
        if self.role in (CHAIN, SHARE):
            names += ["axis", "dim", "cut", "extent"]
        if self.role == CHAIN:
            names += ["result_dims", "result_cuts"]
        return tvm.ir.make_node("DictAttrs", **{_KEY + n: _to_node(getattr(self, n)) for n in names})

    @staticmethod
    def read(func: object) -> SegmentAttrs | None:
        """Read the attributes of a function; `None` for anything that `outline` or `split` did not make."""
        if not isinstance(func, relay.Function) or (attrs := func.attrs) is None:
            return None
        have = set(attrs.keys())
        if f"{_KEY}segment" not in have:
            return None
        values: dict[str, Any] = {
            f.name: _from_node(attrs[_KEY + f.name]) for f in fields(SegmentAttrs) if _KEY + f.name in have
        }
        return SegmentAttrs(**values)


def attrs_of(func: relay.Function) -> SegmentAttrs:
    """Read the attributes of a function that must have them."""
    found = SegmentAttrs.read(func)
    assert found is not None, "main calls functions of segments only"
    return found


def device_of(func: object) -> str | None:
    """Return the device of a function, `None` for a function without attributes."""
    found = SegmentAttrs.read(func)
    return None if found is None else found.device


def is_operator(expr: relay.Expr, name: str) -> bool:
    """Whether an expression is a call of the named operator."""
    return isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op) and expr.op.name == name


def is_slice(expr: relay.Expr) -> bool:
    """Whether an expression of main, after `split`, slices the input of a share."""
    return is_operator(expr, "strided_slice")


def is_concatenation(expr: relay.Expr) -> bool:
    """Whether an expression of main, after `split`, joins the parts of a result."""
    return is_operator(expr, "concatenate")


def is_sum(expr: relay.Expr) -> bool:
    """Whether an expression of main, after `split`, adds partial sums."""
    return is_operator(expr, "add")


def _to_node(value: object) -> object:
    if isinstance(value, tuple):
        return [tvm.tir.IntImm("int64", v) for v in value]
    return tvm.tir.IntImm("int64", value) if isinstance(value, int) else value


def _from_node(value: Any) -> object:
    if isinstance(value, tvm.ir.Array):
        return tuple(int(v) for v in value)
    return str(value) if isinstance(value, (str, tvm.runtime.String)) else int(value)
