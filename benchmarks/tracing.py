"""Overhead of recording: networks of the zoo with the recorder on, with it off, and without it, in turns."""

from __future__ import annotations

import statistics

from benchmarks import _common, _modules, _quiet

NETWORKS = ("squeezenet", "resnet50")
PROFILE = "test_bed"
LIMIT = 3.0  # per cent
EACH = 5


def measure(name: str, bed: _common.TestBed, turns: int) -> dict:
    """One row of the table."""
    from tvm_coexec.opencl import runtime
    from tvm_coexec.tracing import Tracer
    from tvm_coexec.tracing.spans import parse_spans

    net = _modules.Network.load(name)
    plain, lib = _built(net)
    off = _modules.Runner("off", Tracer().create(lib), net.inputs)
    on = _modules.Runner("on", Tracer().create(lib), net.inputs)
    for runner in (plain, off, on):
        runner.once()
    bed.pin()
    seconds: dict[str, list[list[float]]] = {"plain": [], "off": [], "on": []}
    spans = 0
    with _quiet.Quiet() as quiet:
        for _ in range(turns):
            bed.wait(quiet)
            for runner in (plain, off):
                seconds[runner.name].append(_runs(runner))
            runtime.trace_start()
            seconds["on"].append(_runs(on))
            spans = len(parse_spans(runtime.trace_take()).spans)
    median = {n: statistics.median(s for turn in t for s in turn) for n, t in seconds.items()}
    best = {n: min(s for turn in t for s in turn) for n, t in seconds.items()}

    def more(kind: str) -> float:
        """Overhead in per cent; other load disturbs the runs of a turn equally."""
        pairs = zip(seconds[kind], seconds["plain"], strict=True)
        return 100 * (statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs) - 1)

    return {
        "network": name,
        "plain_ms": median["plain"] * 1e3,
        "off_ms": median["off"] * 1e3,
        "on_ms": median["on"] * 1e3,
        "off_%": more("off"),
        "on_%": more("on"),
        "on_best_runs_%": 100 * (best["on"] / best["plain"] - 1),
        "spans_a_run": spans // (EACH + 1),
        "waited_s": quiet.waited_s,
    }


def _built(net: _modules.Network) -> tuple[_modules.Runner, object]:
    import tvm_coexec

    lib = tvm_coexec.build(net.mod, net.params, cpu=_modules.CPU, gpu=_modules.GPU, profile=PROFILE)
    return _modules.Runner("plain", tvm_coexec.create(lib), net.inputs), lib


def _runs(runner: _modules.Runner) -> list[float]:
    """Seconds of some runs after an untimed one."""
    runner.once()
    return [runner.once()[0] for _ in range(EACH)]


def main() -> None:
    """Measure all networks."""
    args = _common.parse("tracing", __doc__, names=NETWORKS)
    bed = _common.TestBed()
    rows = _common.keep_rows(args, "network")
    for name in _common.progress(("squeezenet",) if args.quick else args.names):
        rows.append(measure(name, bed, 3 if args.quick else 25))
    most = max(r["on_%"] for r in rows)
    notes = [
        "median wall-clock ms: without the recorder (plain), with recordable functions (off), while it "
        f"records (on); in each turn a module runs once untimed and {EACH} times timed",
        f"on_%, off_%: overhead over plain, the median over turns; the largest is {most:.1f} %, the goal {LIMIT:g} %",
        "recording includes the driver's profiling of the GPU's commands",
        "a turn starts when the two cores do not slow each other; waited_s: time spent waiting for it",
    ]
    _common.finish(args, bed, rows, notes)


if __name__ == "__main__":
    main()
