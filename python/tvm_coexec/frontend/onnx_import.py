"""ONNX models as Relay modules, by TVM's importer.

What the importer can't take is named by its ONNX operator: most files that fail to import are complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relay
from tvm.relay.frontend import onnx as importer

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.progress import progress
from tvm_coexec.core.texts import one_line

from .control_flow import OPERATORS, control_nodes, has_control_flow, refusal
from .input_shapes import OPTION, inputs_of, resolve_shapes
from .onnx_file import describe_nodes, nodes_of
from .quiet import quiet_tvm

if TYPE_CHECKING:
    from onnx import ModelProto

_ALWAYS_KNOWN = ("Constant",)  # the importer has no converter for it, and needs none


_LOOKED_BACK = 50  # operators; the importer asks for types at most of them


@dataclass
class _Position:
    """Where the importer is.

    Attributes
    ----------
    open : list of (str, str)
        Operators that are being converted, from the outermost graph inwards: operator, and its node's name.
    failed : list of (str, str)
        `open` at the time of the error.
    last : tuple of (str, str)
        The operator that was converted last.
    made : deque of (str, str, Expr)
        The latest operators that were converted, with what they became.
    """

    open: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    last: tuple[str, str] = ("", "")
    made: deque[tuple[str, str, relay.Expr]] = field(default_factory=lambda: deque(maxlen=_LOOKED_BACK))

    def find_ill_typed(self) -> tuple[str, str] | None:
        """The first of the latest operators whose result has no type: TVM finds that out at one that reads it."""
        for op, node, made in self.made:
            expr = made.astuple() if isinstance(made, relay.expr.TupleWrapper) else made
            try:
                func = relay.Function(relay.analysis.free_vars(expr), expr)
                with quiet_tvm():
                    relay.transform.InferType()(tvm.IRModule.from_expr(func))
            except Exception:
                return op, node
        return None


def import_onnx(
    proto: ModelProto, path: str, given: Mapping[str, Sequence[object]] | None = None, one_image: bool = False
) -> tuple[tvm.IRModule, dict]:
    """Import an ONNX model into Relay.

    Parameters
    ----------
    proto : ModelProto
        What `read_onnx` returned.
    path : str
        Its file, for errors.
    given, one_image
        Shapes of inputs, see `resolve_shapes`.

    Returns
    -------
    mod : IRModule
        With static shapes of inputs.
    params : dict of str to NDArray

    Raises
    ------
    CoExecError
        When sizes of inputs stay open, for operators that the importer lacks or can't convert, and for branches and
        loops; the text names the operators.
    """
    shapes = resolve_shapes(inputs_of(proto, path), given, path, one_image)
    if not proto.graph.node:
        raise CoExecError(f"the model {path} has no operators: there is nothing to compile")
    _check_operators(proto, path)
    position = _Position()
    try:
        with quiet_tvm(), _followed(position, sum(1 for _ in nodes_of(proto.graph))):
            mod, params = relay.frontend.from_onnx(proto, shapes)
    except Exception as err:
        raise _import_error(proto, path, err, position, bool(given)) from None
    if control_nodes(proto) and has_control_flow(mod):
        mod = relay.transform.FoldConstant()(relay.transform.InferType()(mod))  # decides branches by known conditions
        if has_control_flow(mod):
            raise refusal(proto, path)
    return mod, params


def _check_operators(proto: ModelProto, path: str) -> None:
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    known = {*importer._get_convert_map(opset), *importer._identity_list, *_ALWAYS_KNOWN}
    lacking = [n for n in nodes_of(proto.graph) if n.op_type not in known]
    if lacking:
        raise CoExecError(
            f"TVM's ONNX importer lacks operators of {path}: {describe_nodes(lacking)}; export the model without them, "
            "or write them with others"
        )


@contextmanager
def _followed(position: _Position, nodes: int) -> Iterator[None]:
    """Keep the position up to date while the importer goes from operator to operator."""
    graph = importer.GraphProto
    stock = graph._convert_operator
    with progress(what="importing", unit="operator", total=nodes) as bar:

        def convert(self: Any, op_name: str, inputs: Any, attrs: dict, opset: int) -> Any:
            position.last = (op_name, str(attrs.get("tvm_custom", {}).get("name", "")))
            position.open.append(position.last)
            try:
                made = stock(self, op_name, inputs, attrs, opset)
            except Exception:
                position.failed = position.failed or list(position.open)
                raise
            finally:
                current = position.open.pop()
            position.made.append((*current, made))
            bar.update()
            return made

        graph._convert_operator = convert
        try:
            yield
        finally:
            graph._convert_operator = stock


def _import_error(proto: ModelProto, path: str, err: Exception, position: _Position, has_given: bool) -> CoExecError:
    # TVM loses inputs that only a branch reads: such an error comes after the last operator
    if any(op in OPERATORS for op, _ in position.failed) or (not position.failed and control_nodes(proto)):
        return refusal(proto, path)
    if isinstance(err, KeyError) and not position.failed:
        reader = next((n for n in nodes_of(proto.graph) if err.args[0] in n.input), None)
        if reader is not None:
            return CoExecError(f"the operator {reader.op_type} in {path} reads '{err.args[0]}', which is no input, no "
                               "weight and no result of the model; give a complete ONNX file")  # fmt: skip
    op, node = position.find_ill_typed() or (position.failed[-1] if position.failed else position.last)
    if not op:
        return CoExecError(f"TVM's ONNX importer can't read {path}: {one_line(err)}; check the model (onnx.checker)")
    hint = (
        f"check {OPTION}, and the model"
        if has_given
        else "check the model (onnx.checker), or export it without this operator"
    )
    kind = "" if isinstance(err, (RuntimeError, NotImplementedError)) else f"{type(err).__name__}: "
    return CoExecError(f"TVM's ONNX importer can't convert the operator {op} (node '{node}') of {path} "
                       f"({kind}{one_line(err)}); {hint}")  # fmt: skip
