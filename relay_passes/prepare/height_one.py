"""Compute operators on maps of height 1, and what can be fused to them with them.

TVM does not fuse a reshape into the convolution before it, so a bias or an activation after a reshape would be a kernel
of its own. So elementwise operators, reductions and concatenations that read a map of height 1 are written for such
maps as well, and the way back to the model's own shape is taken only for other readers. These reshapes are views, which
cost nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import tvm
from tvm import relay

from ..ir_utils import static_shape
from ..rules.base import flat_args, int_list, with_args, with_attrs
from ..rules.elementwise import BROADCAST, UNARY

_ELEMENTWISE = frozenset([*UNARY, *BROADCAST])
_VECTOR_ON_AXIS = frozenset(["nn.bias_add", "nn.prelu"])
_REDUCTIONS = frozenset(["mean", "sum", "max", "min", "prod", "variance"])
HEIGHT = 2  # the dimension of extent 1 in a map (N, C, 1, W)


def operator_of(node: relay.Expr) -> str:
    """Return the name of a call's operator; empty for other expressions."""
    return node.op.name if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) else ""


class HeightOneRewriter(relay.ExprMutator):
    """Knows the maps of height 1 for expressions that have one; `visit` gives every expression in its own shape.

    Attributes
    ----------
    rank : int
        Of the values that are seen as maps.
    places : tuple of int
        Where their dimensions go.
    """

    rank: int
    places: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self._maps: dict[relay.Expr, relay.Expr] = {}  # computed as maps
        self._views: dict[relay.Expr, relay.Expr] = {}  # seen as maps, computed in their own shape

    @abstractmethod
    def is_rewritten(self, node: relay.Expr) -> bool:
        """Whether a typed expression is to be computed on maps, whatever it reads."""

    @abstractmethod
    def compute(self, call: relay.Call) -> relay.Expr:
        """Write an expression that `is_rewritten` for maps."""

    @abstractmethod
    def map_shape(self, shape: Sequence[int]) -> list[int]:
        """Return the shape of a value of at least two dimensions as a map, or as what is broadcast to one."""

    def is_map(self, shape: Sequence[int]) -> bool:
        """Whether a value of the right rank can be seen as a map."""
        return len(shape) == self.rank

    def visit_call(self, call: relay.Call) -> relay.Expr:
        """Write a call for maps if it `is_rewritten` or reads maps."""
        own = super().visit_call(call)  # knows by then which arguments are maps
        shape = static_shape(call)
        if shape is None:
            return own
        if self.is_rewritten(call):
            made: relay.Expr | None = self.compute(call)
        elif operator_of(call) in _REDUCTIONS and not int(call.attrs.keepdims):
            reduced = self._reduce(call, shape)
            return own if reduced is None else reduced
        else:
            made = self._read(call, shape)
        if made is None:
            return own
        self._maps[call] = made
        return relay.reshape(made, shape)

    def _read(self, call: relay.Call, shape: Sequence[int]) -> relay.Expr | None:
        """Write a reader of maps for maps; `None` for readers of other kinds and other calls."""
        name, args, ranks = operator_of(call), flat_args(call), self._ranks(call)
        if ranks is None or not self.is_map(shape):
            return None
        if name in _ELEMENTWISE:
            return with_args(call, [self.as_map(a) for a in args])
        if name in _VECTOR_ON_AXIS and args[0] in self._maps:
            place = self.places[int(call.attrs.axis) % self.rank]
            return with_args(call, [self.as_map(args[0]), self.visit(args[1])], with_attrs(call, axis=place))
        if min(ranks) < self.rank:
            return None
        if name == "concatenate":
            place = self.places[int(call.attrs.axis) % self.rank]
            return relay.concatenate([self.as_map(a) for a in args], place)
        if name in _REDUCTIONS:
            return self._reduction(call, [])[0]
        return None

    def _ranks(self, call: relay.Call) -> list[int] | None:
        """Return the ranks of the arguments; `None` if no map is among them, or a shape does not suit."""
        args = flat_args(call)
        if not any(a in self._maps for a in args):
            return None
        ranks = [-1 if (shape := static_shape(a)) is None else len(shape) for a in args]
        return None if min(ranks) < 0 or max(ranks) > self.rank else ranks

    def _reduce(self, call: relay.Call, shape: Sequence[int]) -> relay.Expr | None:
        """Write a reduction of maps that drops dimensions; `None` if its arguments are others."""
        ranks = self._ranks(call)
        if ranks is None or min(ranks) < self.rank:
            return None
        read = self.map_shape(static_shape(call.args[0]) or [])
        added = [HEIGHT] if len(read) > self.rank else []
        made, reduced = self._reduction(call, added)
        left = [extent for place, extent in enumerate(read) if place not in reduced]
        return made if left == list(shape) else relay.reshape(made, shape)

    def _reduction(self, call: relay.Call, added: Sequence[int]) -> tuple[relay.Expr, list[int]]:
        """Write a reduction for maps; also return the dimensions of the map that it reduces, with `added` ones."""
        every = set(range(self.rank))
        named = every if call.attrs.axis is None else {a % self.rank for a in int_list(call.attrs.axis)}
        dims = every - named if int(call.attrs.exclude) else named
        reduced = sorted([*(self.places[d] for d in dims), *added])
        attrs = with_attrs(call, axis=reduced, exclude=False)
        return with_args(call, [self.as_map(a) for a in flat_args(call)], attrs), reduced

    def as_map(self, expr: relay.Expr) -> relay.Expr:
        """Return an expression as a map, or as broadcasting to a map has it.

        Vectors and scalars stay: they align with the last dimension in either case.
        """
        if expr in self._maps:
            return self._maps[expr]
        shape = static_shape(expr)
        assert shape is not None
        if len(shape) < 2:
            return self.visit(expr)
        if expr not in self._views:
            shape = self.map_shape(shape)
            if isinstance(expr, relay.Constant):
                self._views[expr] = relay.const(expr.data.numpy().reshape(shape), str(expr.checked_type.dtype))
            else:
                self._views[expr] = relay.reshape(self.visit(expr), shape)
        return self._views[expr]
