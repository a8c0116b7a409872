"""Tuning for co-execution: joint tuning, shares served by adapted records, the tuner's prior, and interrupted runs.

``python -m benchmarks.tuning [--quick] [--json FILE] [PART ...]``; parts are

shares   ten convolutions, five cuts each, on both devices: adapted records of the whole convolution, with 0 and with 8
         trials, against tuning the share for itself
prior    eight tasks: trials that `PriorTuner` and AutoTVM's `XGBTuner` need to the same speed
resume   a run of the joint loop that is killed at a random moment and started again
joint    squeezenet and mobilenet, tuned by `tvm_coexec.tune` for ``--minutes``, and each device alone for as long; with
         what the final plan promises

Parts, and networks of the part joint, that this run does not measure keep their results in the JSON file. Networks and
interrupted runs are written there one by one; after an interruption ``--continue`` measures those that are missing.
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
    args = _common.parse("tuning", __doc__, names=PARTS, own=_own_arguments)
    own = args.own
    minutes = 0.5 if args.quick else own.minutes
    if own.child:
        _apart.answer(lambda: _tuning_joint.measure(own.child, _common.TestBed(), minutes, own.profile))
        return
    bed = _common.TestBed()
    rows, tables = _common.keep_rows(args, "part"), _earlier_tables(args)

    def keep() -> None:
        _common.write(args, bed.setting(), rows, _notes(tables), tables)

    run: dict[str, Callable[[], tuple[list[dict], str]]] = {
        "shares": lambda: _shares(bed, args.quick),
        "prior": lambda: _prior(bed, args.quick),
        "resume": lambda: _resume(2 if args.quick else own.times, tables, keep),
        "joint": lambda: _joint(args, minutes, tables, keep),
    }
    spent_before = {row["part"]: row["wall_clock_s"] for row in _common.read_earlier(args)[0] if own.goes_on}
    for part in args.names:
        start = time.perf_counter()
        tables[part], spent = run[part]()
        seconds = spent_before.get(part, 0.0) + time.perf_counter() - start
        print(f"{part}: {seconds:.0f} s of wall-clock time", *summarise(part, tables[part]), sep="\n  ", flush=True)
        rows.append({"part": part, "wall_clock_s": seconds, "rows": len(tables[part]), "spent": spent})
        rows.sort(key=lambda r: PARTS.index(r["part"]))
        keep()
    _common.finish(args, bed, rows, _notes(tables), details=tables)


def _earlier_tables(args: _common.Arguments) -> dict[str, list[dict]]:
    """Tables of an earlier run in the same file, without what this run measures again."""
    tables = {} if args.quick else _common.read_earlier(args)[1]
    if "joint" in args.names and "joint" in tables:
        wanted = _networks(args)
        tables["joint"] = [row for row in tables["joint"] if row["network"] not in wanted]
    goes_on = ("joint", "resume") if args.own.goes_on else ("joint",)
    return {part: rows for part, rows in tables.items() if part not in args.names or part in goes_on}


def summarise(part: str, rows: list[dict]) -> list[str]:
    """Lines with a part's goals."""
    if part == "shares":
        table, lines = _tuning_shares.summarise(rows)
        return [*lines, _common.table(table)]
    if part == "prior":
        return _tuning_prior.summarise(rows)
    if part == "resume":
        return _tuning_resume.summarise(rows)
    return [*_tuning_joint.summarise(_apart.succeeded(rows)), *_apart.list_failures(rows, "network")]


def _notes(tables: dict[str, list[dict]]) -> list[str]:
    lines = [line for part in PARTS if part in tables for line in summarise(part, tables[part])]
    return ["seeds are 0; the budget of joint tuning is wall-clock time, the same for each module", *lines]


def _shares(bed: _common.TestBed, quick: bool) -> tuple[list[dict], str]:
    with Trials(bed.cores_by_device) as trials:
        some = (_tuning_shares.CONVS[3:4], _tuning_shares.CUTS[:2]) if quick else ()
        return _tuning_shares.measure(trials, *some), _spent(trials)


def _prior(bed: _common.TestBed, quick: bool) -> tuple[list[dict], str]:
    with Trials(bed.cores_by_device) as trials:
        tasks, count = (_tuning_prior.TASKS[2:4], 24) if quick else (_tuning_prior.TASKS, None)
        return _tuning_prior.measure(trials, tasks, count=count), _spent(trials)


def _spent(trials: Trials) -> str:
    return f"{trials.measured} candidates in {trials.seconds:.0f} s"


def _resume(times: int, tables: dict[str, list[dict]], keep: Callable[[], None]) -> tuple[list[dict], str]:
    rows = tables.setdefault("resume", [])
    for row in _tuning_resume.measure(times, {row["run"] for row in rows}):
        rows.append(row)
        keep()
    rows.sort(key=lambda row: row["run"])
    return rows, ""


def _networks(args: _common.Arguments) -> list[str]:
    """Networks that the part joint tunes; with ``--continue`` those that the file lacks."""
    names = list(args.own.network or (_tuning_joint.NETWORKS[:1] if args.quick else _tuning_joint.NETWORKS))
    if not args.own.goes_on:
        return names
    known = {row["network"] for row in _apart.succeeded(_common.read_earlier(args)[1].get("joint", []))}
    return [name for name in names if name not in known]


def _joint(
    args: _common.Arguments, minutes: float, tables: dict[str, list[dict]], keep: Callable[[], None]
) -> tuple[list[dict], str]:
    names, rows = _networks(args), tables.setdefault("joint", [])
    options = ["--minutes", str(minutes), "--profile", args.own.profile, *(["--quick"] if args.quick else [])]
    for name in _common.progress(names, "joint"):
        rows.append({"network": name} | _apart.measure_apart("tuning", [*options, "--child", name], _LIMIT_S))
        keep()
    return rows, ""


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    _apart.add_arguments(parser)
    text = f"a network of the part joint (default: {' and '.join(_tuning_joint.NETWORKS)}); may be given several times"
    parser.add_argument("--network", action="append", metavar="NAME", help=text)
    text = f"budget of joint tuning, and of each device alone (default: {_tuning_joint.MINUTES:g})"
    parser.add_argument("--minutes", type=float, default=_tuning_joint.MINUTES, metavar="N", help=text)
    text = "costs that joint tuning starts with: 'measure', a profile's name or file (default: test_bed)"
    parser.add_argument("--profile", default="test_bed", metavar="PROFILE", help=text)
    text = f"interrupted runs (default: {_tuning_resume.TIMES})"
    parser.add_argument("--times", type=int, default=_tuning_resume.TIMES, metavar="N", help=text)


if __name__ == "__main__":
    main()
