"""Building a model that stays whole."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import relay
from tvm.target import Target

from .core.errors import CoExecError
from .relay_passes.prepare import DEVICE_OPS, Prepare
from .relay_passes.static_shapes import open_input, why_dynamic
from .targets import targets

__all__ = ["check_buildable", "open_input", "target_of_whole"]

_CONTROL_FLOW = (relay.If, relay.Match, relay.RefCreate, relay.RefRead, relay.RefWrite)


def target_of_whole(mod: tvm.IRModule, cpu: str | Target, gpu: str | Target) -> Target | list[Target]:
    """Return the target for a model that stays whole.

    Parameters
    ----------
    mod : IRModule
    cpu, gpu : str or Target
        See `tvm_coexec.targets`.

    Returns
    -------
    Target or list of Target
        The CPU alone, because a build for two devices would lose the CPU's preferred layouts; both for a model that
        assigns devices itself.
    """
    both = targets(cpu, gpu)
    return both if any(_any_node(f, _is_placed) for f in mod.functions.values()) else both[0]


def check_buildable(mod: tvm.IRModule) -> None:
    """Raise an error for models that TVM's graph executor can't run; TVM's own message would not say what to do.

    Parameters
    ----------
    mod : IRModule
        The module with its weights bound.

    Raises
    ------
    CoExecError
        For dynamic shapes, control flow and closures; one sentence that names the input or operator, if known.
    """
    prepared = Prepare()(mod)
    if dynamic := why_dynamic(prepared):
        raise CoExecError(dynamic)
    body = prepared["main"].body
    if _any_node(body, lambda n: isinstance(n, _CONTROL_FLOW)):
        raise CoExecError(
            "the model has control flow, which TVM's graph executor can't run: build it for TVM's virtual machine, or "
            "import it with the branches and loops unrolled"
        )
    if _any_node(body, _is_closure):
        raise CoExecError(
            "the model has functions inside main, which TVM's graph executor can't run: inline them, or build the "
            "model for TVM's virtual machine"
        )


def _is_placed(node: relay.Expr) -> bool:
    return isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in DEVICE_OPS


def _is_closure(node: relay.Expr) -> bool:
    """Whether a node is a function other than a fused or external one; those are marked as primitive."""
    is_function = isinstance(node, relay.Function)
    return is_function and (node.attrs is None or "Primitive" not in node.attrs.keys())  # noqa: SIM118 (not a dict)


def _any_node(expr: relay.Expr, holds: Callable[[relay.Expr], bool]) -> bool:
    found: list[bool] = []
    relay.analysis.post_order_visit(expr, lambda n: found.append(True) if holds(n) else None)
    return bool(found)
