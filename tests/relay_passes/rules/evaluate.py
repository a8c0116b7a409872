"""Relay in numpy: functions evaluated in double precision.

Compiling every split of every operator would take minutes; evaluating it takes milliseconds, and double precision
tells a wrong row from a rounding error. The evaluator itself is held to TVM: the harness also builds every module, and
some of its splits, with LLVM.
"""

from __future__ import annotations

import numpy as np
from tvm import relay

from tests.relay_passes.rules import numpy_windows  # noqa: F401 (its operators are registered)
from tests.relay_passes.rules.numpy_operators import OPS, NotKnown

Array = np.ndarray


def evaluate(func: relay.Function, inputs: dict[str, Array]) -> list[Array]:
    """Results of a typed function whose body is operators, tuples, constants and its parameters."""
    values: dict = {}

    def visit(node) -> None:
        if isinstance(node, relay.Var):
            values[node] = wide(inputs[node.name_hint])
        elif isinstance(node, relay.Constant):
            values[node] = wide(node.data.numpy())
        elif isinstance(node, relay.Tuple):
            values[node] = tuple(values[f] for f in node.fields)
        elif isinstance(node, relay.TupleGetItem):
            values[node] = values[node.tuple_value][node.index]
        elif isinstance(node, relay.Call):
            if node.op.name not in OPS:
                raise NotKnown(node.op.name)
            value = OPS[node.op.name](node, *[values[a] for a in node.args])
            if not isinstance(value, tuple):
                want = tuple(int(d) for d in node.checked_type.shape)
                assert value.shape == want, f"{node.op.name} gives {value.shape}, its type says {want}"
                dtype = str(node.checked_type.dtype)
                value = (
                    wide(value) if dtype.startswith("float") and value.dtype.kind == "f" else wide(value.astype(dtype))
                )
            values[node] = value

    relay.analysis.post_order_visit(func.body, visit)
    out = values[func.body]
    return list(out) if isinstance(out, tuple) else [out]


def wide(a: Array) -> Array:
    """Floats of any width in double precision."""
    return a.astype("float64") if a.dtype.kind == "f" else a
