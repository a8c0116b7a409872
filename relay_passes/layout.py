"""Layout: give each device's functions the data layout that the device prefers.

In a build for several targets TVM skips layout alteration. This pass runs it on the functions of each device under that
device's target; their parameters and results keep the model's layout, so that shares fit together.
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
        """Return the module with altered functions."""
        out = tvm.IRModule(mod.functions, mod.type_definitions)
        with tuned_records(list(self.targets.values())):
            for device, target in self.targets.items():
                own = {v: f for v, f in mod.functions.items() if device_of(f) == device}
                alter = _alter if device == "cpu" else _alter_if_possible
                for var, func in alter(own, target, ctx).items():
                    out[var] = func
        return out


def tuned_records(targets: list[tvm.target.Target]) -> AbstractContextManager:
    """Enter the tuning records that relay.build will use, with which layouts must be chosen as well."""
    if isinstance(autotvm.DispatchContext.current, autotvm.FallbackContext):
        return autotvm.tophub.context(targets)
    return autotvm.utils.EmptyContext()


def _alter(
    functions: dict, target: tvm.target.Target, ctx: tvm.transform.PassContext
) -> dict[tvm.ir.GlobalVar, relay.Function]:
    """Alter layouts of a device's functions, all in one module, because type inference takes most of the time.

    Bias additions are canonicalised at every opt_level: `relay.build`, perhaps at a higher level, would do it too late
    to fold biases that live on the GPU.
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


def _alter_if_possible(
    functions: dict, target: tvm.target.Target, ctx: tvm.transform.PassContext
) -> dict[tvm.ir.GlobalVar, relay.Function]:
    """Do what `_alter` does, but keep functions with an operator that the target can't run (see `compilable`).

    To choose a layout TVM selects an implementation, and raises an error if there is none.
    """
    try:
        return _alter(functions, target, ctx)
    except Exception:  # of any class: strategies raise various errors
        if len(functions) == 1:
            return functions
    found: dict[tvm.ir.GlobalVar, relay.Function] = {}
    for var, func in functions.items():
        found |= _alter_if_possible({var: func}, target, ctx)
    return found
