"""Joint tuning that is interrupted at a random moment and resumed: nothing is lost, and the end is the same."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks import _common
from benchmarks._tuning_cases import CPU, GPU

TIMES, TRIALS, SEED = 10, 24, 0
_LIMIT_S, _TRIAL_S, _POLL_S = 600.0, 3.0, 0.05


def measure(times: int = TIMES, known: Collection[int] = ()) -> Iterator[dict]:
    """Yield a row for each interrupted run whose number is not known."""
    dice = random.Random(SEED)
    # during trials: what comes after them, checks and the comparison of modules, takes longer and can lose nothing
    moments = [(dice.randrange(TRIALS), dice.uniform(0, _TRIAL_S)) for _ in range(times)]
    for number in _common.progress([n for n in range(times) if n not in known], "resume"):
        yield _interrupt(number, *moments[number])


def _interrupt(number: int, trials: int, later_s: float) -> dict:
    """Kill a run some seconds after a number of trials, and start it again."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "tuned")
        run, start = _start(folder), time.monotonic()
        while len(_complete_lines(folder)) < trials and run.poll() is None:
            time.sleep(_POLL_S)
        try:
            run.wait(later_s)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
        after_s = time.monotonic() - start
        before = _complete_lines(folder)
        _finish(_start(folder))
        after = _complete_lines(folder)
        # Everything that decides is in the state: a run that is given it, and measures nothing, ends alike.
        again = Path(parent, "again")
        shutil.copytree(folder / "state", again / "state")
        _finish(_start(again))
        return {
            "run": number,
            "stopped_after_s": after_s,
            "trials_then": len(before),
            "trials": len(after),
            "nothing_lost": after[: len(before)] == before and len(set(after)) == len(after) <= TRIALS,
            "same_end": _complete_lines(again) == after and _rounds(again) == _rounds(folder),
        }


def _complete_lines(folder: Path) -> list[str]:
    path = folder / "state" / "trials.log"
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def _rounds(folder: Path) -> object:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))["rounds"]


def _start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks._tuning_resume", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _finish(run: subprocess.Popen) -> None:
    if code := run.wait(_LIMIT_S):
        raise SystemExit(f"a run of the joint loop ended with exit status {code}")


def summarise(rows: list[dict]) -> list[str]:
    """One line with the goal."""
    if not rows:
        return []
    right = sum(r["nothing_lost"] and r["same_end"] for r in rows)
    return [f"interrupted and resumed: {right} of {len(rows)} lost nothing and ended with the same records (goal: all)"]


def tune(folder: str) -> None:
    """Tune three convolutions, in the process that is interrupted."""
    import numpy as np
    import tvm
    from tvm import relay

    import tvm_coexec

    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(1, 16, 28, 28))
    value = x
    # none that Winograd's algorithm serves, since TVM takes seconds to lower each of its candidates
    for channels, outputs, kernel in ((16, 32, 1), (32, 32, 5), (32, 24, 1)):
        weight = relay.const(tvm.nd.array(rng.standard_normal((outputs, channels, kernel, kernel)).astype("float32")))
        value = relay.nn.relu(relay.nn.conv2d(value, weight, padding=(kernel // 2, kernel // 2)))
    mod = tvm.IRModule.from_expr(relay.Function([x], value))
    tvm_coexec.tune(mod, None, CPU, GPU, folder, trials=TRIALS, profile="test_bed", seed=SEED, show=False)


if __name__ == "__main__":
    tune(sys.argv[1])
