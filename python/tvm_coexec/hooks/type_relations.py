"""Let Relay infer the types of convolutions and of other operators with layouts once.

Relay infers the types of a whole module after each of its passes. The type relations of operators with layouts build a
mapping between two layouts, and TVM writes the text of its index rules for a log that is off: a convolution takes 20 to
50 times as long as an addition, and almost half of the time to build a network goes there. What these relations find
depends on the types of the inputs and on the attributes only, so it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PREFIX = "tvm.relay.type_relation."
# Operators whose relations map layouts (tvm::tir::BijectiveLayout).
OPERATORS = (
    *("nn.conv1d", "nn.conv2d", "nn.conv3d", "nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose"),
    *("nn.deformable_conv2d", "qnn.conv2d", "qnn.conv2d_transpose"),
    *("nn.contrib_conv2d_NCHWc", "nn.contrib_depthwise_conv2d_NCHWc"),
    *("nn.contrib_conv2d_winograd_without_weight_transform", "nn.contrib_conv3d_winograd_without_weight_transform"),
    "nn.contrib_conv2d_gemm_without_weight_transform",
    *("layout_transform", "nn.upsampling", "nn.upsampling3d", "nn.depth_to_space", "nn.space_to_depth"),
    *("image.resize1d", "image.resize2d", "image.resize3d"),
)
FUNCTIONS = (
    *(f"{PREFIX}Identity", "runtime.ArrayGetItem", "runtime.Array"),
    *("node.StructuralHash", "node.StructuralEqual"),
)
# Limit of each operator's two tables, in entries; a table that reaches it is cleared.
MOST = 4096

_installed: dict[str, _Relation] = {}


def install() -> None:
    """Replace the relations of all operators that this TVM has. Idempotent."""
    import tvm

    for name in OPERATORS:
        if name in _installed:
            continue
        try:
            op = tvm.ir.Op.get(name)
        except tvm.TVMError:  # of another version
            continue
        constraints = list(op.op_type.type_constraints)
        if len(constraints) == 1:
            _installed[name] = _Relation(op, constraints[0].func.name.removeprefix(PREFIX))


@dataclass(frozen=True)
class _Known:
    """The type of an operator's output for attributes and types of inputs."""

    attrs: Any
    inputs: list
    output: Any


class _Relation:
    """The type relation of one operator, which keeps what it found.

    Parameters
    ----------
    op : Op
    name : str
        Of TVM's relation; ours is called `own_name`.
    """

    def __init__(self, op: Any, name: str):
        import tvm

        self.op, self.name, self.own_name = op, name, f"tvm_coexec.{op.name}"
        self._tensor_type = tvm.ir.TensorType
        self._infer = tvm.get_global_func(PREFIX + name)
        # With lists, subscripts and methods of TVM's Python API the same takes twice the time.
        self._assign, self._item, self._array, self._hash, self._equal = map(tvm.get_global_func, FUNCTIONS)
        self._by_hash: dict[tuple[int, ...], list[_Known]] = {}
        # Most passes keep the attributes of an operator: to recognise the object, which is kept alive, is fastest. Its
        # hash belongs to it, since some versions of ToMixedPrecision change attributes in place.
        self._by_address: dict[tuple[int, int], tuple[Any, list[_Known]]] = {}
        self._is_learning = False
        tvm.register_func(PREFIX + self.own_name, self, override=True)
        op.add_type_rel(self.own_name)

    def forget(self) -> None:
        """Forget all types."""
        self._by_hash.clear()
        self._by_address.clear()

    def __call__(self, types: Any, count: int, attrs: Any, reporter: Any) -> bool:
        """Called by TVM's type solver: `count` inputs, then the output; returns whether the output's type is known."""
        inputs = [self._item(types, i) for i in range(count)]
        if self._is_learning or not all(isinstance(t, self._tensor_type) for t in inputs):
            return self._infer(types, count, attrs, reporter)
        known = self._find(attrs, inputs)
        if known is None:
            is_solved = self._infer(types, count, attrs, reporter)
            if is_solved:
                self._learn(attrs, inputs)
            return is_solved
        return self._assign(self._array(known.output, self._item(types, count)), 1, attrs, reporter)

    def _find(self, attrs: Any, inputs: list) -> _Known | None:
        own_hash = self._hash(attrs, False)
        _, kept = self._by_address.get((attrs.handle.value, own_hash), (None, ()))
        for known in kept:
            if self._are_equal(known.inputs, inputs):
                return known
        for known in self._by_hash.get(self._key(own_hash, inputs), ()):
            if self._are_equal([known.attrs, *known.inputs], [attrs, *inputs]):
                self._recognise(attrs, own_hash, known)
                return known
        return None

    def _are_equal(self, some: list, others: list) -> bool:
        return all(self._equal(a, b, False, False) for a, b in zip(some, others, strict=True))

    def _key(self, own_hash: int, inputs: list) -> tuple[int, ...]:
        return (own_hash, *[self._hash(t, False) for t in inputs])

    def _recognise(self, attrs: Any, own_hash: int, known: _Known) -> None:
        if len(self._by_address) >= MOST:
            self._by_address.clear()
        self._by_address.setdefault((attrs.handle.value, own_hash), (attrs, []))[1].append(known)

    def _learn(self, attrs: Any, inputs: list) -> None:
        """Keep the output's type, which the solver does not tell: infer it in a module with this operator alone."""
        import tvm
        from tvm import relay

        variables = [relay.Var(f"x{i}", t) for i, t in enumerate(inputs)]
        mod = tvm.IRModule.from_expr(relay.Function(variables, relay.Call(self.op, variables, attrs)))
        self._is_learning = True
        try:
            with tvm.transform.PassContext():  # without the instruments of the present one
                output = relay.transform.InferType()(mod)["main"].body.checked_type
        finally:
            self._is_learning = False
        if sum(map(len, self._by_hash.values())) >= MOST:
            self._by_hash.clear()
        known, own_hash = _Known(attrs, inputs, output), self._hash(attrs, False)
        self._by_hash.setdefault(self._key(own_hash, inputs), []).append(known)
        self._recognise(attrs, own_hash, known)
