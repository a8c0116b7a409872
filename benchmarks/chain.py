"""Four 3x3 convolutions on 1x64x56x56: co-executed at several cuts against each device alone.

``ideal`` is the time of a cut without sync and co-run costs: ``max(fraction * gpu, (1 - fraction) * cpu)``, with the
GPU's ``fraction`` of the rows or channels and both single-device times; at the balanced cut it is ``1 / (1/cpu +
1/gpu)``. ``efficiency`` is the ideal over the measured time.
"""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks import _common, _modules, _quiet

CHANNELS, SIZE, LENGTH = 64, 56, 4


def network() -> _modules.Network:
    """The chain, with seeded random weights."""
    import tvm
    from tvm import relay

    rng = np.random.default_rng(0)
    x = y = relay.var("x", shape=(1, CHANNELS, SIZE, SIZE))
    for _ in range(LENGTH):
        weight = relay.const((rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 0.05).astype("float32"))
        y = relay.nn.relu(relay.nn.conv2d(y, weight, channels=CHANNELS, kernel_size=(3, 3), padding=(1, 1)))
    inputs = {"x": rng.standard_normal((1, CHANNELS, SIZE, SIZE)).astype("float32")}
    return _modules.Network("chain", tvm.IRModule.from_expr(relay.Function([x], y)), None, inputs)


def variants(quick: bool) -> list[dict]:
    """Options of the co-executed builds."""
    rows = [8 / 14] if quick else [i / 14 for i in range(4, 11)]
    channels = [0.5] if quick else [0.375, 0.5, 0.625]
    cases: list[dict] = [{"ratio": "auto", "axis": "auto"}]
    cases += [{"ratio": r, "axis": "h"} for r in rows]
    return cases + [{"ratio": r, "axis": "oc"} for r in channels]


def main() -> None:
    """Time all variants in turns."""
    args = _common.parse("chain", __doc__, own=_common.add_gpu_argument)
    kind = args.own.gpu
    bed = _common.TestBed(gpu=kind)
    import tvm

    import tvm_coexec

    net = network()
    cpu_target, gpu_target = tvm_coexec.targets(_modules.CPU, kind)
    cpu, lib = _modules.single(net, "cpu", cpu_target, tvm.cpu())
    gpu, _ = _modules.single(net, "gpu", gpu_target, tvm.device(kind))
    runners, plans = [cpu, gpu], {}
    want = cpu.once()[1][0]
    for options in _common.progress(variants(args.quick)):
        name = f"{options['axis']} {options['ratio']}"
        runner, plan = _modules.build_coexecuted(net, name, gpu=kind, **options)
        runners.append(runner)
        plans[name] = plan
    errors = {r.name: _modules.relative_error(r.once()[1][0], want) for r in runners}
    with _quiet.Quiet() as quiet:
        turns = _modules.time_steady_state(runners, 3 if args.quick else 10, bed, quiet)
    median = {name: statistics.median(s for turn in times for s in turn) for name, times in turns.items()}
    alone = min(median["cpu"], median["gpu"])
    rows = [_row(name, median, errors, alone, plans.get(name)) for name in median]
    threads = _modules.on_two_threads(lib, net.inputs, 20)
    rows.append({"variant": "cpu, two threads", "ms": threads * 1e3, "speed_up": alone / threads})
    notes = [
        "median wall-clock ms of runs that follow one of the same module, inputs and results in the CPU's memory; "
        "speed_up over the better single device",
        "goals on pocl: speed_up >= 1.5, efficiency >= 0.93; two CPU threads use both cores, as co-execution does here",
    ]
    _common.finish(args, bed, rows, notes)


def _row(name: str, median: dict[str, float], errors: dict[str, float], alone: float, plan) -> dict:
    row = {"variant": name, "ms": median[name] * 1e3, "speed_up": alone / median[name]}
    row |= {"chains": None, "cuts": None, "ideal_ms": None, "efficiency": None, "max_rel_error": errors[name]}
    if plan is not None and plan.chains:
        extents = {"h": SIZE, "w": SIZE, "oc": CHANNELS}
        parts = [c.cut / extents[c.axis] for c in plan.chains for _ in c.kernels]
        part = sum(parts) / LENGTH
        ideal = max(part * median["gpu"], (1 - part) * median["cpu"])
        row |= {
            "chains": len(plan.chains),
            "cuts": ",".join(f"{c.axis} {c.cut}" for c in plan.chains),
            "ideal_ms": ideal * 1e3,
            "efficiency": ideal / median[name],
        }
    return row


if __name__ == "__main__":
    main()
