"""Modules of a few operators, and what rewriting makes of them: shared by the tests of `Prepare`'s rewrites."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tests.relay_passes.rules.evaluate import evaluate
from tests.relay_passes.rules.harness import assert_same, random_inputs
from tvm_coexec.core.plan import Plan
from tvm_coexec.partition import CoExecPartition
from tvm_coexec.relay_passes.prepare import Prepare


def const(*shape: int, dtype: str = "float32"):
    """A random constant."""
    return relay.const(np.random.standard_normal(shape).astype(dtype))


def module(*values) -> tvm.IRModule:
    """A typed module of the values, with their variables as parameters."""
    body = values[0] if len(values) == 1 else relay.Tuple(values)
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body)))


def calls_of(mod: tvm.IRModule) -> list[relay.Call]:
    """The calls of main, in post order."""
    found: list[relay.Call] = []
    relay.analysis.post_order_visit(mod["main"].body, lambda n: found.append(n) if isinstance(n, relay.Call) else None)
    return found


def names_of(mod: tvm.IRModule) -> list[str]:
    """The operators of main, in post order."""
    return [c.op.name for c in calls_of(mod)]


def rewrite(rewriting: tvm.transform.Pass, *values) -> tvm.IRModule:
    """The rewritten module of the values; its results in double precision are theirs."""
    mod = module(*values)
    made = rewriting(mod)
    tvm.ir.assert_structural_equal(made["main"].checked_type, mod["main"].checked_type)
    inputs = random_inputs(mod["main"].params)
    assert_same(evaluate(made["main"], inputs), evaluate(mod["main"], inputs), str(names_of(mod)), 1e-9)
    return made


def prepare(mod: tvm.IRModule) -> tvm.IRModule:
    """The module after `Prepare`."""
    with tvm.transform.PassContext(opt_level=3):
        return Prepare()(mod)


def build_and_compare(mod: tvm.IRModule, **options) -> Plan:
    """Build for both devices and compare with the unsplit module; return the plan."""
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(made := CoExecPartition(**options)(mod), target=tvm_coexec.targets(models.CPU))
    inputs = models.input_of(mod)
    models.assert_same(models.run(lib, inputs, [tvm.cpu(0), tvm.opencl(0)]), models.reference(mod, inputs))
    return tvm_coexec.plan_of(made)
