"""The tuner that starts from the tile model against AutoTVM's XGBTuner: trials to the same speed."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import _common
from benchmarks._trials import Trials, best_so_far
from benchmarks._tuning_cases import CONVS, Conv

TASKS = tuple((CONVS[i], device) for i in (0, 3, 6, 8) for device in ("cpu", "gpu"))
TRIALS = {"cpu": 128, "gpu": 64}
SAME, GOAL = 0.95, 0.5
PLAN = 16  # trials between two fits, of both tuners; AutoTVM's default of 64 would be random up to there
SEEDS = (0,)


def measure(
    trials: Trials, tasks: Sequence[tuple[Conv, str]] = TASKS, seeds: Sequence[int] = SEEDS, count: int | None = None
) -> list[dict]:
    """Return a row for each task and seed."""
    cases = [(conv, device, seed) for conv, device in tasks for seed in seeds]
    return [_measure_task(trials, *case, count) for case in _common.progress(cases, "prior")]


def _measure_task(trials: Trials, conv: Conv, device: str, seed: int, count: int | None) -> dict:
    from tvm_coexec.tuning.prior import PriorTuner

    task = conv.task(device)
    most = min(count or TRIALS[device], len(task.config_space))
    stock = run(trials, task, make_stock(task, seed), most)
    ours = run(trials, task, PriorTuner(task, PLAN, seed=seed), most)
    target_s = min(stock) / SAME
    counts = {"stock": trials_to(stock, target_s), "ours": trials_to(ours, target_s)}
    return {
        "task": conv.label,
        "device": device,
        "seed": seed,
        "trials": most,
        "stock_ms": min(stock) * 1e3,
        "ours_ms": min(ours) * 1e3,
        "stock_trials": counts["stock"],
        "our_trials": counts["ours"],
        "ratio": counts["ours"] / counts["stock"],
    }


def make_stock(task: Any, seed: int) -> Any:
    """Return AutoTVM's own tuner; it draws from the global generators."""
    import numpy as np
    from tvm.autotvm.tuner import XGBTuner

    np.random.seed(seed)
    random.seed(seed)
    return XGBTuner(task, plan_size=PLAN, feature_type="knob", num_threads=1)


def run(trials: Trials, task: Any, tuner: Any, count: int) -> list[float]:
    """Return the least seconds up to each trial."""
    return best_so_far([r for _, r in trials.tune(task, tuner, count)])


def trials_to(best: Sequence[float], seconds: float) -> int:
    """Return the trials until a speed is reached; twice as many as were made if it never is."""
    return next((i + 1 for i, s in enumerate(best) if s <= seconds), 2 * len(best))


def summarise(rows: Sequence[dict]) -> list[str]:
    """Lines with the goal."""
    if not rows:
        return []
    ratio = statistics.geometric_mean(r["ratio"] for r in rows)
    faster = statistics.geometric_mean(r["stock_ms"] / r["ours_ms"] for r in rows)
    text = ", ".join(
        f"{d} {statistics.geometric_mean(r['ratio'] for r in rows if r['device'] == d):.2f}"
        for d in ("cpu", "gpu")
        if any(r["device"] == d for r in rows)
    )
    return [
        f"trials to {SAME:.0%} of the speed that XGBTuner reaches in the end, ours over its own: geometric mean "
        f"{ratio:.2f} (goal <= {GOAL:g}); {text}; a speed that is never reached counts as twice the trials",
        f"speed in the end, ours over XGBTuner's: geometric mean {faster:.2f}; both fit every {PLAN} trials to "
        "features of the knobs (XGBTuner's others take it minutes for a plan); what both try is measured once",
    ]
