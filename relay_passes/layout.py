"""Layout: give every device's functions the data layout that device likes.

In a build for several targets TVM skips layout alteration altogether. Here each function marked for a device goes
through it alone, under that device's own target; its parameters and results keep the model's layout, so that the
shares still meet.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import tvm
from tvm import autotvm, relay

from .attrs import device_of
from .ir_utils import ModulePass, run_in_order
from .prepare.fold import FoldConstants


@tvm.transform.module_pass(opt_level=0, name="CoExecAlterLayout")
class AlterShareLayouts(ModulePass):
    """Alter layouts of the functions marked ``cpu`` and ``gpu``.

    Parameters
    ----------
    cpu, gpu : tvm.target.Target
    """

    def __init__(self, cpu: tvm.target.Target, gpu: tvm.target.Target):
        self.targets = {"cpu": cpu, "gpu": gpu}

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Returns the module with altered functions."""
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        with tuned_records(list(self.targets.values())):
            for device, target in self.targets.items():
                own = {v: f for v, f in mod.functions.items() if device_of(f) == device}
                alter = _altered if device == "cpu" else _altered_if_possible
                for var, func in alter(own, target, ctx).items():
                    out[var] = func
        return out


def tuned_records(targets: list[tvm.target.Target]) -> AbstractContextManager:
    """The records that relay.build will use: layouts must be chosen with the same ones."""
    if isinstance(autotvm.DispatchContext.current, autotvm.FallbackContext):
        return autotvm.tophub.context(targets)
    return autotvm.utils.EmptyContext()


def _altered(
    functions: dict, target: tvm.target.Target, ctx: tvm.transform.PassContext
) -> dict[tvm.ir.GlobalVar, relay.Function]:
    """A device's functions after layout alteration, all in one module: inferring types anew costs most here.

    Biases are expanded for addition whatever the level is: `relay.build`, perhaps at a higher one, would do so too late
    to fold them where they live on the GPU.
    """
    mod = tvm.IRModule(functions)
    if any(_has_bias(f) for f in functions.values()):
        mod = relay.transform.CanonicalizeOps()(mod)
    passes = [
        relay.transform.Legalize(),
        relay.transform.AlterOpLayout(),
        FoldConstants(),
    ]
    with target:
        mod = run_in_order(mod, passes, ctx)
    by_name = {v.name_hint: f for v, f in mod.functions.items()}
    return {v: by_name[v.name_hint] for v in functions}


def _has_bias(func: relay.Function) -> bool:
    found = []
    bias_add = relay.op.get("nn.bias_add")
    relay.analysis.post_order_visit(
        func, lambda n: found.append(n) if isinstance(n, relay.Call) and n.op == bias_add else None
    )
    return bool(found)


def _altered_if_possible(
    functions: dict, target: tvm.target.Target, ctx: tvm.transform.PassContext
) -> dict[tvm.ir.GlobalVar, relay.Function]:
    """`_altered`; functions with an operator that the target can't run stay as they are (see `compilable`).

    TVM chooses an implementation to choose a layout, and raises where there is none.
    """
    try:
        return _altered(functions, target, ctx)
    except Exception:  # TVM's and Python's own: strategies raise what they like
        if len(functions) == 1:
            return functions
    found: dict[tvm.ir.GlobalVar, relay.Function] = {}
    for var, func in functions.items():
        found |= _altered_if_possible({var: func}, target, ctx)
    return found
