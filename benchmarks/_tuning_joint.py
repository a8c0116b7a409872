"""Joint tuning of networks with `tvm_coexec.tune`: against the untuned module, and against tuned single devices.

A single device is tuned by the same tuner, and its candidates are built and measured by the same processes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import _common, _modules, _quiet
from benchmarks._tuning_cases import CPU, GPU

NETWORKS = ("squeezenet", "mobilenet")
OVER_UNTUNED, OVER_SINGLE, PROMISE = 1.25, 1.45, 8.0
MINUTES, TURNS, SEED = 20.0, 15, 0
_BATCH = 8


def measure(name: str, bed: _common.TestBed, minutes: float, profile: str) -> dict:
    """Tune a network for co-execution, and each device alone for as long; time all modules in turns."""
    import tvm

    import tvm_coexec
    from tvm_coexec.tuning.loop import load_tuned
    from tvm_coexec.tuning.serving import apply_records

    net = _modules.Network.load(name)
    both = tvm_coexec.targets(CPU, GPU)
    untuned, _ = _modules.build_coexecuted(net, "untuned", CPU, GPU, profile=profile)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tvm_coexec.tune(
            *(net.mod, net.params, CPU, GPU, folder), minutes=minutes, profile=profile, seed=SEED, show=False
        )
        joint_s = time.perf_counter() - start
        tuned = load_tuned(folder)
        with tuned.in_force(both):
            co, plan = _modules.build_coexecuted(net, "tuned", CPU, GPU, plan=tuned.plan)
    runners, trials_alone = [untuned, co], dict[str, int]()
    for device, target, where in (("cpu", both[0], tvm.cpu()), ("gpu", both[1], tvm.opencl())):
        records = tune_alone(net, device, minutes, profile)
        trials_alone[f"{device}_trials"] = len(records.pairs)
        with apply_records(records, both):
            runners.append(_modules.single(net, device, target, where)[0])
    with _quiet.Quiet() as quiet:
        times = _modules.time_steady_state(runners, TURNS, bed, quiet)
    median = {n: statistics.median(s for turn in t for s in turn) for n, t in times.items()}
    better, worse = sorted(("cpu", "gpu"), key=median.__getitem__)
    row = {"network": name, "minutes": minutes, "joint_s": joint_s, "trials": tuned.summary["trials"]}
    row |= trials_alone | {f"{n}_ms": s * 1e3 for n, s in median.items()}
    return row | {
        "over_untuned": median["untuned"] / median["tuned"],
        "over_single": median[better] / median["tuned"],
        "bound": 1 + median[better] / median[worse],
        "chosen": tuned.summary["chosen"],
        "promised_ms": plan.expected_s * 1e3,
        "promised_off_%": 100 * (plan.expected_s / median["tuned"] - 1),
    }


def tune_alone(net: Any, device: str, minutes: float, profile: str) -> Any:
    """Return records of a device's whole kernels: each batch for the task with the most seconds left per trial."""
    import tvm_coexec
    from tvm_coexec.tuning.loop.boards import Boards
    from tvm_coexec.tuning.loop.options import check_tune_options
    from tvm_coexec.tuning.loop.trials import Trials
    from tvm_coexec.tuning.prior import PriorTuner
    from tvm_coexec.tuning.records import Records
    from tvm_coexec.tuning.scope import autotvm_scope

    tasks = [
        t
        for t in tvm_coexec.extract_tasks(net.mod, net.params, CPU, GPU, profile=profile)
        if t.device == device and t.whole
    ]
    tuners, spent, left = dict[int, PriorTuner](), [0] * len(tasks), set(range(len(tasks)))
    until = time.monotonic() + 60 * minutes
    with (
        tempfile.TemporaryDirectory() as folder,
        autotvm_scope(silent=True),
        closing(Boards(check_tune_options({}))) as boards,
        closing(Trials(Path(folder) / "trials.log", boards)) as trials,
    ):
        while time.monotonic() < until and left:
            at = max(left, key=lambda i: (tasks[i].seconds / (1 + spent[i]), -i))
            if at not in tuners:
                tuners[at] = PriorTuner(tasks[at].task, seed=SEED)
            if not tuners[at].has_next():
                left.remove(at)
                continue
            configs = tuners[at].next_batch(_BATCH)
            pairs = trials.measure(tasks[at].task, configs, lambda: time.monotonic() < until)
            if pairs:
                tuners[at].update([p[0] for p in pairs], [p[1] for p in pairs])
            spent[at] += _BATCH
        return Records(tuple(trials.pairs))


def summarise(rows: Sequence[dict]) -> list[str]:
    """Lines with the goals."""
    lines = []
    for row in rows:
        name, minutes = row["network"], f"{row['minutes']:g} minutes"
        lines.append(
            f"{name}: co-executed and tuned for {minutes} it is {row['over_untuned']:.2f}x as fast as untuned (goal >= "
            f"{OVER_UNTUNED:g}), and {row['over_single']:.2f}x as fast as the better single device, tuned as long "
            f"(goal >= {OVER_SINGLE:g}; both devices together are at most {row['bound']:.2f}x as fast)"
        )
        off = f"{row['promised_ms']:.2f} ms, {row['promised_off_%']:+.1f} % off"
        lines.append(f"{name}: its plan promises {off} (goal: within {PROMISE:g} %)")
    return lines
