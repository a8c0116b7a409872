"""Numeric equality: co-executed networks against onnxruntime, over ratios and axes.

The error is the largest absolute difference over the largest absolute value of the reference's output; the weights are
seeded random ones, which expose a slip anywhere. ``python -m benchmarks.equality NETWORK ...`` runs some networks and,
with ``--json``, keeps the others' rows of that file.
"""

from __future__ import annotations

from benchmarks import _common, _modules

NETWORKS = ("resnet50", "vgg19", "squeezenet", "shufflenet", "inception_v1", "densenet121")
RATIOS = (0.3, 0.5, 0.7)
AXES = ("oc", "h")
GOAL = 1e-4
QUICK = [("squeezenet", 0.5, "h"), ("squeezenet", 0.3, "oc"), ("shufflenet", 0.7, "oc")]


def full_grid(networks: list[str]) -> list[tuple[str, float | str, str]]:
    """Network, ratio, axis; at 0 and 1 nothing is divided, so the axis says nothing there."""
    grid: list[tuple[str, float | str, str]] = []
    for name in networks:
        grid += [(name, 0, "auto"), (name, 1, "auto"), (name, "auto", "auto")]
        grid += [(name, ratio, axis) for ratio in RATIOS for axis in AXES]
    return grid


def main() -> None:
    """Runs the grid and prints the table; a row that misses the goal says NO."""
    args = _common.parse("equality", __doc__, names=NETWORKS)
    bed = _common.TestBed()
    rows, network = _common.kept_rows(args, "network"), None
    for name, ratio, axis in _common.progress(QUICK if args.quick else full_grid(args.names)):
        if network is None or network.name != name:
            network = _modules.Network.load(name)
        runner, plan = _modules.coexecuted(network, "both", ratio=ratio, axis=axis)
        error = _modules.relative_error(runner.once()[1][0], network.reference)
        rows.append(
            {
                "network": name,
                "ratio": str(ratio),
                "axis": axis,
                "chains": len(plan.chains),
                "split_kernels": sum(len(c.kernels) for c in plan.chains),
                "max_rel_error": error,
                "ok": bool(error <= GOAL),
            }
        )
    _common.finish(args, bed, rows, [f"goal: max relative error <= {GOAL:g} against onnxruntime, fp32"])


if __name__ == "__main__":
    main()
