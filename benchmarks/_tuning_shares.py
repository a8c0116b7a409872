"""Shares served by records of the whole convolution, adapted, against tuning each share for itself."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks import _common
from benchmarks._trials import Trials, best_so_far
from benchmarks._tuning_cases import CONVS, CUTS, Conv

# Trials of the whole convolution, of a share for itself, and of a share with the records of the whole.
WHOLE, OWN, FEW = {"cpu": 32, "gpu": 16}, {"cpu": 24, "gpu": 12}, 8
GOALS = (0.92, 0.97)
SEED = 0
_NOTHING = SimpleNamespace(error_no=1)  # no record of the whole convolution serves the share


def measure(trials: Trials, convs: Sequence[Conv] = CONVS, cuts: Sequence[float] = CUTS) -> list[dict]:
    """Return a row for each cut: its share's speed, over that of tuning it for itself, with and without trials.

    Of each cut the share of one device, in turn, so that each device has small and large ones.
    """
    rows: list[dict] = []
    for number, conv in enumerate(_common.progress(convs, "shares")):
        for at, device in enumerate(("cpu", "gpu")):
            some = [c for i, c in enumerate(cuts) if (i + number) % 2 == at]
            rows += measure_device(trials, conv, device, some)
    return rows


def measure_device(trials: Trials, conv: Conv, device: str, cuts: Sequence[float]) -> list[dict]:
    """Tune a convolution on a device, and return a row for each of its shares."""
    from tvm_coexec.tuning.adapt import adapted_candidates
    from tvm_coexec.tuning.prior import PriorTuner
    from tvm_coexec.tuning.records import Records

    whole = conv.task(device)
    records = Records(tuple(trials.tune(whole, PriorTuner(whole, seed=SEED), WHOLE[device])))
    rows = []
    for cut in cuts:
        share = conv.share(device, cut)
        task = share.task(device)
        own = best_of(trials, task, PriorTuner(task, seed=SEED), OWN[device])
        adapted = adapted_candidates(task.workload, task.target, records)
        none = best_so_far(trials.measure(task, [a.config for a in adapted]) or [_NOTHING])[-1]
        few = best_of(trials, task, PriorTuner(task, plan_size=FEW, records=records, seed=SEED), FEW)
        row = {"conv": conv.label, "device": device, "axis": conv.axis, "share": share.label, "own_ms": own * 1e3}
        rows.append(row | {"speed_0": own / none, "speed_8": own / few})
    return rows


def best_of(trials: Trials, task: Any, tuner: Any, count: int) -> float:
    """Return the least seconds that a tuner finds."""
    return best_so_far([r for _, r in trials.tune(task, tuner, count)])[-1]


def summarise(rows: Sequence[dict]) -> tuple[list[dict], list[str]]:
    """Return a row for each device and for all, and a line for each goal.

    A share that is faster than by its own tuning counts as 1: a better configuration of one does not make up for
    another share.
    """
    table = []
    for device in ("cpu", "gpu", "both"):
        some = [r for r in rows if device in (r["device"], "both")]
        if some:
            means = {f"speed_{n}": statistics.geometric_mean(min(1.0, r[f"speed_{n}"]) for r in some) for n in (0, 8)}
            worst = {f"worst_{n}": min(r[f"speed_{n}"] for r in some) for n in (0, 8)}
            table.append({"device": device, "shares": len(some), **means, **worst})
    lines = [f"trials by device: {WHOLE} of a whole convolution, {OWN} of a share for itself"]
    if table:
        for n, goal in zip((0, 8), GOALS, strict=True):
            reached = table[-1][f"speed_{n}"]
            lines.append(
                f"shares with adapted records and {n} trials: {reached:.1%} of the speed of tuning each for itself "
                f"(goal >= {goal:.0%})"
            )
    return table, lines
