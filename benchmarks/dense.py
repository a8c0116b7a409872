"""Dense layers on the CPU: GFLOP/s of TVM's tiles and of this package's, with weights in a cache and in none.

In a network the weights of a layer are in no near cache when it runs. `tvm_coexec.measuring.cold_weights` makes copies
of the layer, each with weights of its own, so that one alone behaves as in a network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import _common

# Rows, outputs, summands: BERT's layers and shares of them, a vision transformer's, a classifier.
SHAPES = (
    *((128, 768, 768), (128, 3072, 768), (128, 768, 3072), (32, 768, 768), (32, 3072, 768), (32, 768, 3072)),
    *((197, 192, 192), (14, 512, 512), (512, 512, 2048), (1, 1000, 2048)),
)
TARGETS = ("llvm", "llvm -mcpu=skylake-avx512")


def measure(quick: bool) -> list[dict]:
    """One row per target and shape."""
    import tvm

    from tvm_coexec.llvm import dense

    rows = []
    targets = TARGETS if "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else TARGETS[:1]
    for target in targets:
        for shape in SHAPES[:3] if quick else SHAPES:
            row: dict[str, object] = {"target": target, "rows x outputs x summands": "x".join(map(str, shape))}
            try:
                dense.uninstall()
                row |= {f"tvm_{k}": v for k, v in _rates(shape, target, tvm.cpu(), quick).items()}
            finally:
                dense.install()
            row |= {f"ours_{k}": v for k, v in _rates(shape, target, tvm.cpu(), quick).items()}
            rows.append(row)
    return rows


def _rates(shape: tuple[int, int, int], target: str, device: object, quick: bool) -> dict[str, float]:
    """Median GFLOP/s of a layer, ``near``: with weights in a cache, and ``cold``."""
    import tvm
    from tvm import relay

    from tvm_coexec.core.random_inputs import random_tensor
    from tvm_coexec.measuring import cold_weights
    from tvm_coexec.measuring.executors import create_module

    count, outputs, summands = shape
    x = relay.var("x", shape=(count, summands))
    weight = relay.const(random_tensor((outputs, summands), "float32", np.random.default_rng(0)))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.dense(x, weight)))
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, target)
    graph, code, weights = lib.get_graph_json(), lib.get_lib(), list(lib.get_params())
    flops = 2.0 * count * outputs * summands
    found = {}
    copies = min(cold_weights.MOST_COPIES, max(2, cold_weights.COLD_BYTES // (4 * outputs * summands)))
    for name, number in (("near", 1), ("cold", copies)):
        text, names = cold_weights.copy_kernels(graph, weights, number)
        module = create_module(text, code, device, names)
        timer = module.module.time_evaluator("run", device, number=1, repeat=3 if quick else 15, min_repeat_ms=5)
        found[name] = round(flops * number / timer().median / 1e9, 1)
    return found


def main() -> None:
    """Measure and print."""
    args = _common.parse("dense", __doc__)
    bed = _common.TestBed()
    bed.pin()
    rows = measure(args.quick)
    _common.finish(args, bed, rows, ("GFLOP/s of one thread; cold: with weights that no cache holds",))


if __name__ == "__main__":
    main()
