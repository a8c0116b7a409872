"""Numeric equality: co-executed networks against onnxruntime, over ratios, axes and strategies.

The error is the largest absolute difference over the largest absolute value of the reference's output; the weights are
seeded random numbers, which expose any error. ``python -m benchmarks.equality NETWORK ...`` runs some networks and,
with ``--json``, keeps the rows of the others in that file.
"""

from __future__ import annotations

from benchmarks import _common, _modules

NETWORKS = (
    *("resnet50", "vgg19", "squeezenet", "shufflenet", "inception_v1", "densenet121"),
    *("mobilenet", "bert_base"),
)
RATIOS = (0.3, 0.5, 0.7)
AXES = ("oc", "h")
# Planned by this profile, so that the same plans are made on every machine.
PROFILE = "generic"
STRATEGIES = ("coexec", "codl", "mulayer", "layerwise", "neurosurgeon")
GOAL = 1e-4
Case = tuple[str, float | str, str, str]
QUICK: list[Case] = [
    ("squeezenet", 0.5, "h", "coexec"),
    ("squeezenet", 0.5, "ic", "coexec"),
    ("shufflenet", 0.7, "oc", "coexec"),
    ("shufflenet", "auto", "auto", "coexec"),
]


def full_grid(networks: list[str]) -> list[Case]:
    """Network, ratio, axis, strategy; at ratios 0 and 1 nothing is split, so the axis has no effect."""
    grid: list[Case] = []
    for name in networks:
        grid += [(name, 0, "auto", "coexec"), (name, 1, "auto", "coexec"), (name, 0.5, "ic", "coexec")]
        grid += [(name, ratio, axis, "coexec") for ratio in RATIOS for axis in AXES]
        grid += [(name, "auto", "auto", strategy) for strategy in STRATEGIES]
    return grid


def short_grid(networks: list[str]) -> list[Case]:
    """Halves along both axes, and planned: for lavapipe, on which a run takes seconds."""
    choices: list[tuple[float | str, str]] = [(0.5, "oc"), (0.5, "h"), ("auto", "auto")]
    return [(name, ratio, axis, "coexec") for name in networks for ratio, axis in choices]


def main() -> None:
    """Run the grid and print the table; rows that miss the goal are marked NO."""
    args = _common.parse("equality", __doc__, names=NETWORKS, own=_common.add_gpu_argument)
    gpu = args.own.gpu
    bed = _common.TestBed(gpu=gpu)
    cases = QUICK if args.quick else (full_grid if gpu == "opencl" else short_grid)(args.names)
    rows, network = _common.keep_rows(args, "network"), None
    for name, ratio, axis, strategy in _common.progress(cases):
        if network is None or network.name != name:
            network = _modules.Network.load(name)
        runner, plan = _modules.build_coexecuted(
            network, "both", gpu=gpu, ratio=ratio, axis=axis, strategy=strategy, profile=PROFILE, min_gain=0.0
        )
        error = _modules.relative_error(runner.once()[1][0], network.reference)
        rows.append(
            {
                "network": name,
                "ratio": str(ratio),
                "axis": axis,
                "strategy": strategy,
                "chains": len(plan.chains),
                "split_kernels": sum(len(c.kernels) for c in plan.chains),
                "max_rel_error": error,
                "ok": bool(error <= GOAL),
            }
        )
    _common.finish(args, bed, rows, [f"goal: max relative error <= {GOAL:g} against onnxruntime, fp32"])


if __name__ == "__main__":
    main()
