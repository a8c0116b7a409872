"""Tuning for co-execution: joint tuning, shares served by adapted records, the tuner's prior, and interrupted runs.

``python -m benchmarks.tuning [--quick] [--json FILE] [--only PART]``; parts are

joint    squeezenet and mobilenet, tuned by `tvm_coexec.tune` for ``--minutes``, and each device alone for as long; with
         what the final plan promises
shares   ten convolutions, five cuts each, on both devices: adapted records of the whole convolution, with 0 and with 8
         trials, against tuning the share for itself
prior    eight tasks: trials that `PriorTuner` and AutoTVM's `XGBTuner` need to the same speed
resume   a run of the joint loop that is killed at a random moment and started again
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from benchmarks import _apart, _common, _tuning_joint, _tuning_prior, _tuning_resume, _tuning_shares
from benchmarks._trials import Trials

PARTS = ("shares", "prior", "resume", "joint")
_LIMIT_S = 4 * 3600.0


def main() -> None:
    """Run the parts."""
    args = _common.parse("tuning", __doc__, own=_own_arguments)
    own = args.own
    minutes = 0.5 if args.quick else own.minutes
    if own.child:
        _apart.answer(lambda: _tuning_joint.measure(own.child, _common.TestBed(), minutes, own.profile))
        return
    bed = _common.TestBed()
    run: dict[str, Callable[[], tuple[list[dict], list[str]]]] = {
        "shares": lambda: _shares(bed, args.quick),
        "prior": lambda: _prior(bed, args.quick),
        "resume": lambda: _resume(2 if args.quick else own.times),
        "joint": lambda: _joint(args, minutes),
    }
    tables: dict[str, list[dict]] = {}
    rows, notes = [], [f"seeds are 0; the wall-clock budget of joint tuning is {minutes:g} minutes for each module"]
    for part in own.only or PARTS:
        start = time.perf_counter()
        tables[part], lines = run[part]()
        seconds = time.perf_counter() - start
        print(f"{part}: {seconds:.0f} s of wall-clock time", *lines, sep="\n  ", flush=True)
        notes += lines
        rows.append({"part": part, "wall_clock_s": seconds, "rows": len(tables[part])})
        _common.write(args, bed.setting(), rows, notes, tables)
    _common.finish(args, bed, rows, notes, details=tables)


def _core(bed: _common.TestBed) -> int | None:
    return bed.bed.cores[1] if bed.bed.pocl and len(bed.bed.cores) > 1 else None


def _shares(bed: _common.TestBed, quick: bool) -> tuple[list[dict], list[str]]:
    with Trials(_core(bed)) as trials:
        some = (_tuning_shares.CONVS[3:4], _tuning_shares.CUTS[:2]) if quick else ()
        rows = _tuning_shares.measure(trials, *some)
        table, lines = _tuning_shares.summarise(rows)
        return rows, [*lines, _common.table(table), _spent(trials)]


def _prior(bed: _common.TestBed, quick: bool) -> tuple[list[dict], list[str]]:
    with Trials(_core(bed)) as trials:
        tasks, count = (_tuning_prior.TASKS[2:4], 24) if quick else (_tuning_prior.TASKS, None)
        rows = _tuning_prior.measure(trials, tasks, count=count)
        return rows, [*_tuning_prior.summarise(rows), _spent(trials)]


def _spent(trials: Trials) -> str:
    return f"{trials.measured} candidates measured, in {trials.seconds:.0f} s"


def _resume(times: int) -> tuple[list[dict], list[str]]:
    rows = _tuning_resume.measure(times)
    return rows, _tuning_resume.summarise(rows)


def _joint(args: _common.Arguments, minutes: float) -> tuple[list[dict], list[str]]:
    names = _tuning_joint.NETWORKS[:1] if args.quick else _tuning_joint.NETWORKS
    options = ["--minutes", str(minutes), "--profile", args.own.profile, *(["--quick"] if args.quick else [])]
    rows = []
    for name in _common.progress(names, "joint"):
        rows.append({"network": name} | _apart.measure_apart("tuning", [*options, "--child", name], _LIMIT_S))
    done = _apart.succeeded(rows)
    return rows, [*_tuning_joint.summarise(done), *_apart.list_failures(rows, "network")]


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    text = f"a part, one of {', '.join(PARTS)}; may be given several times (default: all)"
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=text)
    text = f"budget of joint tuning, and of each device alone (default: {_tuning_joint.MINUTES:g})"
    parser.add_argument("--minutes", type=float, default=_tuning_joint.MINUTES, metavar="N", help=text)
    text = "costs that joint tuning starts with: 'measure', a profile's name or file (default: test_bed)"
    parser.add_argument("--profile", default="test_bed", metavar="PROFILE", help=text)
    text = f"interrupted runs (default: {_tuning_resume.TIMES})"
    parser.add_argument("--times", type=int, default=_tuning_resume.TIMES, metavar="N", help=text)


if __name__ == "__main__":
    main()
