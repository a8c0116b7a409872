"""Prepare: normalise the model for both devices, before planning.

Parameters become constants, and rewrites that do not depend on a device are done once on the whole model: batch norm is
folded into scales, quantised (qnn) operators are lowered, and constants are folded. TVM would do this itself in a
single-target build; after the split it would see only shares, and constants that live on a GPU, which it can't fold.
Tensors without elements are dropped. Squares and roots that are written as powers become products and roots, and
convolutions of signals, and those of maps of width 1, become two-dimensional ones of height 1, which are faster on
both devices. Data layouts are not changed, because each device has its own.
`SimplifyExpr` is left to relay.build, which runs it on the shares anyway: it infers all types again for every pattern
and would cost more than all passes here together.
"""

from __future__ import annotations

import tvm
from tvm import relay

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.op_kinds import OpKind

from ..ir_utils import ModulePass, run_in_order
from ..rules import kind_of
from . import columns, conv1d
from .conv_attrs import CompleteConvAttrs, is_incomplete
from .empty import DropEmptyTensors
from .fold import FoldConstants
from .merge_reshapes import MergeReshapes
from .powers import RewritePowers
from .prelu import UnflattenPRelu
from .split_to_slices import SplitFieldsToSlices
from .type_only import TYPE_ONLY_OPS, ConcretizeTypes

# Operators by which a model itself assigns devices.
DEVICE_OPS = frozenset(["on_device", "device_copy"])


@tvm.transform.module_pass(opt_level=0, name="CoExecPrepare")
class Prepare(ModulePass):
    """Bind parameters and simplify.

    Parameters
    ----------
    params : dict of str to NDArray, optional
        Weights to bind as constants, which the split pass slices at compile time.
    """

    def __init__(self, params: dict | None = None):
        self.params = params

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the prepared module; the input is not changed."""
        mod = bind_params(mod, self.params)
        mod = tvm.IRModule(mod.functions, mod.type_definitions)
        ops = _operators(mod["main"])
        if ops & DEVICE_OPS:
            return relay.transform.InferType()(mod)  # stays whole; folding would fail on constants of other devices
        if "incomplete convolution" in ops:
            mod = run_in_order(mod, [relay.transform.InferType(), CompleteConvAttrs()], ctx)
        # Every function pass infers all types again, so a pass runs only if it has something to rewrite.
        passes: list[tvm.transform.Pass] = [relay.transform.InferType()]
        if "let" in ops:
            passes += [relay.transform.ToGraphNormalForm(), relay.transform.InferType()]
        if any(op.startswith("qnn.") for op in ops):
            passes += [relay.qnn.transform.Legalize(), relay.qnn.transform.CanonicalizeOps()]
        passes.append(DropEmptyTensors())
        passes.append(relay.transform.SimplifyInference())
        if "nn.bias_add" in ops:
            passes.append(relay.transform.CanonicalizeOps())
        passes.append(FoldConstants())
        if "power" in ops:
            passes.append(RewritePowers())
        if {"nn.prelu", "broadcast_to_like"} <= ops:
            passes.append(UnflattenPRelu())
        if ops & TYPE_ONLY_OPS:
            passes += [ConcretizeTypes(), FoldConstants()]
        if ops & conv1d.OPERATORS.keys():
            passes.append(conv1d.ComputeConv1dAs2d())
        if ops & columns.OPERATORS:
            passes.append(columns.ComputeColumnsAsRows())
        # The two halves of FoldScaleAxis, which itself would compile a function for each constant.
        passes += [relay.transform.BackwardFoldScaleAxis(), relay.transform.ForwardFoldScaleAxis(), FoldConstants()]
        if "several views" in ops:
            passes.append(MergeReshapes())
        if "split" in ops:
            passes.append(SplitFieldsToSlices())
        return run_in_order(mod, passes, ctx)


def bind_params(mod: tvm.IRModule, params: dict | None) -> tvm.IRModule:
    """Return the module with parameters of main as constants; without parameters the module itself.

    Raises
    ------
    CoExecError
        If the module has no main.
    """
    if "main" not in [g.name_hint for g in mod.get_global_vars()]:
        raise CoExecError(
            "the module has no function 'main', which co-execution divides: name the model's function main"
        )
    if not params:
        return mod
    bound = tvm.IRModule(mod.functions, mod.type_definitions, mod.attrs)
    bound["main"] = relay.build_module.bind_params_by_name(mod["main"], dict(params))
    return bound


def _operators(func: relay.Function) -> set[str]:
    """Return the names of a function's operators, and the markers of other rewrites that it needs.

    Markers are ``let``, ``incomplete convolution``, and ``several views`` (several reshapes of one value).
    """
    found: set[str] = set()
    viewed: set[relay.Expr] = set()

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Let):
            found.add("let")
        elif isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op):
            found.add(node.op.name)
            if is_incomplete(node):
                found.add("incomplete convolution")
            if kind_of(node) == OpKind.VIEW:
                if node.args[0] in viewed:
                    found.add("several views")
                viewed.add(node.args[0])

    relay.analysis.post_order_visit(func, visit)
    return found
