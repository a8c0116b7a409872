"""Cost of special functions: how many multiply-adds' worth of FLOPs one evaluation takes, by device.

The source of the table in `tvm_coexec.cost_models.features.special_functions`. Each function is a kernel over an array
that stays in the cache. The time per element beyond that of an addition, over the time of a FLOP in a kernel of many
multiply-adds, is its number of FLOP equivalents. Orders of magnitude: a busy machine changes both times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import _common

if TYPE_CHECKING:
    from tvm import relay

ELEMENTS = 1 << 15
CHAIN = 32  # multiply-adds of the kernel that tells the time of a FLOP
# Two arguments: the second is an array as well, so that nothing folds.
BINARY = ("divide", "power", "mod", "floor_mod", "floor_divide")
UNARY = (
    *("exp", "log", "log2", "log10", "sqrt", "rsqrt", "sigmoid", "tanh", "erf", "sin", "cos", "tan"),
    *("sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "fast_exp", "fast_tanh", "fast_erf", "round"),
)


def kernels() -> dict[str, Callable]:
    """Return a function from inputs to a Relay expression for each case."""
    from tvm import relay

    def polynomial(count: int) -> Callable:
        def make(x: relay.Expr, y: relay.Expr) -> relay.Expr:
            out = x
            for _ in range(count):
                out = relay.add(relay.multiply(out, y), x)
            return out

        return make

    made: dict[str, Callable] = {"addition": relay.add, "chain": polynomial(CHAIN)}
    made |= {name: (lambda x, y, name=name: relay.add(_call(name, x), y)) for name in UNARY}
    made |= {name: getattr(relay, name) for name in BINARY}
    return made


def _call(name: str, x: relay.Expr) -> relay.Expr:
    from tvm import relay

    return relay.Call(relay.op.get(name), [x])


def integer_kernels() -> dict[str, Callable]:
    """As `kernels`, of 32-bit integers."""
    from tvm import relay

    return {
        "addition": relay.add,
        "fixed_point_multiply": lambda x, y: relay.add(relay.fixed_point_multiply(x, 1288490189, -2), y),
        "integer_divide": relay.divide,
    }


def measure(quick: bool) -> list[dict]:
    """One row per function: FLOP equivalents and nanoseconds per element, by device."""
    import tvm

    devices = {"cpu": ("llvm", tvm.cpu()), "gpu": ("opencl", tvm.opencl())}
    found: dict[str, dict] = {}
    for device, (target, context) in devices.items():
        for dtype, cases in (("float32", kernels()), ("int32", integer_kernels())):
            seconds = {name: _time(make, dtype, target, context, quick) for name, make in cases.items()}
            base = seconds["addition"]
            if dtype == "float32":
                flop_s = (seconds["chain"] - base) / (2 * CHAIN - 1) / ELEMENTS
            for name, s in seconds.items():
                if name in ("addition", "chain"):
                    continue
                if s is None:
                    found.setdefault(name, {"function": name}).update({f"{device}_flops": None, f"{device}_ns": None})
                    continue
                each = max(0.0, s - base) / ELEMENTS
                row = found.setdefault(name, {"function": name})
                row |= {f"{device}_flops": round(each / flop_s, 1), f"{device}_ns": round(each * 1e9, 3)}
    return list(found.values())


def _time(make: Callable, dtype: str, target: str, context: object, quick: bool) -> float | None:
    """Shortest seconds of one kernel; `None` if the device has no such function."""
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    x, y = (relay.var(n, shape=(ELEMENTS,), dtype=dtype) for n in "xy")
    mod = tvm.IRModule.from_expr(relay.Function([x, y], make(x, y)))
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, tvm.target.Target(target, host="llvm"))
    module = graph_executor.GraphModule(lib["default"](context))
    rng = np.random.default_rng(0)
    for name in "xy":  # positive, below 1: in the domain of every function here
        values = rng.uniform(0.05, 0.95, ELEMENTS) if dtype == "float32" else rng.integers(1, 1000, ELEMENTS)
        module.set_input(name, values.astype(dtype))
    timer = module.module.time_evaluator("run", context, number=3, repeat=3 if quick else 9, min_repeat_ms=2)
    try:
        return min(timer().results)
    except tvm.TVMError:
        return None


def main() -> None:
    """Measure and print."""
    args = _common.parse("special_functions", __doc__)
    from tvm_coexec import testbed

    bed = testbed.prepare()
    rows = measure(args.quick)
    width = max(len(r["function"]) for r in rows)
    print(bed.description)
    print(f"{'function':{width}} {'cpu FLOPs':>10} {'gpu FLOPs':>10} {'cpu ns':>10} {'gpu ns':>10}")
    for r in rows:
        values = (f"{r[k]!s:>10}" for k in ("cpu_flops", "gpu_flops", "cpu_ns", "gpu_ns"))
        print(f"{r['function']:{width}} {' '.join(values)}")
    if args.json:
        note = {"machine": bed.description, "threads": os.environ.get("TVM_NUM_THREADS", ""), "rows": rows}
        Path(args.json).write_text(json.dumps(note, indent=1) + "\n")


if __name__ == "__main__":
    main()
