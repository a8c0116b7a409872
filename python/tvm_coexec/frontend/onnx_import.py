"""ONNX models as Relay modules, by TVM's importer.

Errors name the ONNX operator that the importer can't convert: most files that fail to import are complete.
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

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.progress import progress

from .control_flow import OPERATORS, control_nodes, has_control_flow, make_control_flow_error
from .input_shapes import OPTION, inputs_of, resolve_shapes
from .onnx_file import describe_nodes, nodes_of
from .quiet import quiet_tvm

if TYPE_CHECKING:
    from onnx import ModelProto

_ALWAYS_KNOWN = ("Constant",)  # handled by the importer without a converter


_RECENT_OPERATORS = 50  # the importer infers types at most operators, so an error is near its cause


@dataclass
class _Position:
    """The importer's position in the model.

    Attributes
    ----------
    open : list of (str, str)
        Operators in conversion, from the outermost graph inwards: operator and node name.
    failed : list of (str, str)
        `open` at the time of the error.
    last : tuple of (str, str)
        The operator whose conversion started last.
    converted : deque of (str, str, Expr)
        The most recently converted operators, with their results.
    """

    open: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    last: tuple[str, str] = ("", "")
    converted: deque[tuple[str, str, relay.Expr]] = field(default_factory=lambda: deque(maxlen=_RECENT_OPERATORS))

    def find_ill_typed(self) -> tuple[str, str] | None:
        """Find the first recent operator whose result is ill-typed: TVM reports it only at one of its readers."""
        for op, node, made in self.converted:
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
        A result of `read_onnx`.
    path : str
        Path of the model, for errors.
    given, one_image
        Shapes of inputs, see `resolve_shapes`.

    Returns
    -------
    mod : IRModule
        With static input shapes.
    params : dict of str to NDArray

    Raises
    ------
    CoExecError
        If input sizes stay open, for operators that the importer lacks or can't convert, and for branches and loops;
        the text names the operators.
    """
    shapes = resolve_shapes(inputs_of(proto, path), given, path, one_image)
    if not proto.graph.node:
        raise CoExecError(f"the model {path} has no operators: give a model that computes something")
    _check_operators(proto, path)
    position = _Position()
    try:
        with quiet_tvm(), _track_position(position, sum(1 for _ in nodes_of(proto.graph))):
            mod, params = relay.frontend.from_onnx(proto, shapes)
    except Exception as err:
        raise _import_error(proto, path, err, position, bool(given)) from None
    if control_nodes(proto) and has_control_flow(mod):
        mod = relay.transform.FoldConstant()(
            relay.transform.InferType()(mod)
        )  # resolves branches with constant conditions
        if has_control_flow(mod):
            raise make_control_flow_error(proto, path)
    return mod, params


def _check_operators(proto: ModelProto, path: str) -> None:
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    known = {*importer._get_convert_map(opset), *importer._identity_list, *_ALWAYS_KNOWN}
    lacking = [n for n in nodes_of(proto.graph) if n.op_type not in known]
    if lacking:
        raise CoExecError(
            f"TVM's ONNX importer lacks operators of {path}: {describe_nodes(lacking)}; export the model without them "
            "or replace them by others"
        )


@contextmanager
def _track_position(position: _Position, nodes: int) -> Iterator[None]:
    """Track the position while the importer converts operator after operator."""
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
            position.converted.append((*current, made))
            bar.update()
            return made

        graph._convert_operator = convert
        try:
            yield
        finally:
            graph._convert_operator = stock


def _import_error(proto: ModelProto, path: str, err: Exception, position: _Position, has_given: bool) -> CoExecError:
    # TVM loses inputs that only a branch reads; the error then comes after the last operator
    if any(op in OPERATORS for op, _ in position.failed) or (not position.failed and control_nodes(proto)):
        return make_control_flow_error(proto, path)
    if isinstance(err, KeyError) and not position.failed:
        reader = next((n for n in nodes_of(proto.graph) if err.args[0] in n.input), None)
        if reader is not None:
            return CoExecError(f"the operator {reader.op_type} in {path} reads '{err.args[0]}', which is not an "
                               "input, weight or result of the model; give a complete ONNX file")  # fmt: skip
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
