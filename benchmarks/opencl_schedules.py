"""Our schedules for GPU shares against stock TVM's fallback and the best of 60 random AutoTVM configurations.

For each operator three kernels are timed in turns: ours, the one that stock TVM makes without tuning records, and the
best of a random search. A search takes minutes for one operator, since most configurations take the OpenCL compiler
seconds, so its winners are kept in ``results/opencl_schedules_search.json`` and timed again each time; ``--search``
repeats it for all operators; operators that are not in the file are always searched. A configuration that needs more
than ``COMPILE_LIMIT_S`` to compile, or that crashes the compiler, counts as tried, because it is of no practical use.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from math import prod
from pathlib import Path

from benchmarks import _common
from benchmarks._opencl_cases import CASES, GOAL, Case
from benchmarks._opencl_worker import Worker, task_of

TRIALS = 60
WINNERS = 4
COMPILE_LIMIT_S = 1.5
_STATEMENTS_LIMIT = 2000  # of unrolled code; above it no configuration compiles in time
_RUN_LIMIT_S = 60.0
_SEARCH_FILE = Path(__file__).parent / "results" / "opencl_schedules_search.json"
_QUICK_PER_KIND = 2


def main() -> None:
    """Search operators that have no result yet, then time all."""
    again = "--search" in sys.argv
    args = _common.parse("opencl_schedules", __doc__, [a for a in sys.argv[1:] if a != "--search"])
    bed = _common.TestBed()
    cases = _quick() if args.quick else list(CASES)
    known = {} if again or not _SEARCH_FILE.exists() else json.loads(_SEARCH_FILE.read_text(encoding="utf-8"))
    if missing := [case for case in cases if _key(case) not in known]:
        _search_all(missing, known)
    rows = _time_all(cases, known, bed)
    _common.finish(args, bed, rows, _notes(rows))


def _quick() -> list[Case]:
    kinds = dict.fromkeys(case.kind for case in CASES)
    return [case for kind in kinds for case in [c for c in CASES if c.kind == kind][:_QUICK_PER_KIND]]


def _key(case: Case) -> str:
    return f"{case.kind}: {case.label}"


def _search_all(cases: list[Case], known: dict[str, dict]) -> None:
    """Search the operators and save each result at once."""
    with Worker({"POCL_AFFINITY": "0"}) as worker:
        for case in _common.progress(cases, "search"):
            known[_key(case)] = search(case, worker)
            save(known)


def save(known: dict[str, dict]) -> None:
    """Write the results of searches atomically."""
    _SEARCH_FILE.parent.mkdir(exist_ok=True)
    temporary = _SEARCH_FILE.with_suffix(".part")
    temporary.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
    temporary.replace(_SEARCH_FILE)


def search(case: Case, worker: Worker) -> dict:
    """Try random configurations; return the fastest, and how many could be compiled in time."""
    import tvm

    target = tvm.target.Target("opencl", host="llvm")
    dice = random.Random(_key(case))
    spaces = [(t, a, task_of(t, a, target).config_space) for t, a in case.templates]
    timed: list[tuple[float, list]] = []
    failed: dict[str, int] = {}
    tried: set[tuple[int, int]] = set()
    best_s, attempts = 1.0, 0
    while len(tried) < min(TRIALS, sum(len(s) for *_, s in spaces)) and attempts < 50 * TRIALS:
        attempts += 1
        which = dice.randrange(len(spaces))
        template, arguments, space = spaces[which]
        index = dice.randrange(len(space))
        if (which, index) in tried or _work_items(space.get(index)) > target.max_num_threads:
            continue
        if not _computes_right(template, space.get(index)):
            continue
        tried.add((which, index))
        if _statements(space.get(index)) > _STATEMENTS_LIMIT:
            failed["too much code"] = failed.get("too much code", 0) + 1
            continue
        configuration = [[template, arguments], index]
        request = {"configurations": [configuration], "repeats": 5, "batch_s": 1e-3}
        reply = worker.ask(request, COMPILE_LIMIT_S + 20 * best_s)
        if "error" in reply:
            failed[reply["error"]] = failed.get(reply["error"], 0) + 1
            continue
        seconds = min(reply["seconds"][0])
        best_s = min(best_s, seconds)
        timed.append((seconds, configuration))
    timed.sort(key=lambda t: t[0])
    return {
        "winners": [[template, index] for _, ((template, _), index) in timed[:WINNERS]],
        "tried": len(tried),
        "valid": len(timed),
        "median_ms": statistics.median([s for s, _ in timed] or [0.0]) * 1e3,
        "failed": failed,
    }


def _computes_right(template: str, entity) -> bool:
    """Whether a configuration is correct: TVM's template for dense layers of many rows needs a square of work-items."""
    if template != "dense_large_batch.gpu":
        return True
    return entity._entity_map["tile_x"].size[2] == entity._entity_map["tile_y"].size[2]


def _work_items(entity) -> int:
    sizes = [e.size for e in entity._entity_map.values() if hasattr(e, "size")]
    return prod(size[2] for size in sizes if len(size) == 4)


def _statements(entity) -> int:
    """Copies of the innermost statement: virtual threads times the loops that are unrolled."""
    knobs = entity._entity_map
    sizes = [e.size for e in knobs.values() if hasattr(e, "size")]
    virtual = prod(size[1] for size in sizes if len(size) == 4)
    inner = [size[-1] for size in sizes if len(size) in (3, 4)] + [size[-1] for size in sizes if len(size) == 2]
    unrolled, limit = 1, knobs["auto_unroll_max_step"].val if "auto_unroll_max_step" in knobs else 0
    for extent in inner:
        if unrolled * extent > limit:
            break
        unrolled *= extent
    return virtual * unrolled


def _time_all(cases: list[Case], known: dict[str, dict], bed: _common.TestBed) -> list[dict]:
    with Worker({}) as worker:
        return [_time(case, known[_key(case)], worker, bed) for case in _common.progress(cases, "time")]


def _time(case: Case, found: dict, worker: Worker, bed: _common.TestBed) -> dict:
    """Time our configuration, stock TVM's and the search's winners in turns."""
    arguments = dict(case.templates)
    contestants = [[*map(list, case.templates), "ours"], [list(case.templates[0]), "stock"]]
    contestants += [[[template, arguments[template]], index] for template, index in found["winners"]]
    core = bed.bed.cores[1] if bed.bed.pocl and len(bed.bed.cores) > 1 else None
    reply = worker.ask({"configurations": contestants, "repeats": 15, "batch_s": 2e-3, "core": core}, _RUN_LIMIT_S)
    if "error" in reply:
        raise SystemExit(f"{_key(case)}: {reply['error']}")
    best = [min(s) * 1e3 if s else None for s in reply["seconds"]]
    random_ms = min((ms for ms in best[2:] if ms), default=None)
    return {
        "kind": case.kind,
        "operator": case.label,
        "ours_ms": best[0],
        "stock_ms": best[1],
        "random_ms": random_ms,
        "ours_to_random": best[0] / random_ms if random_ms else None,
        "stock_to_ours": best[1] / best[0] if best[1] else None,
        "compile_s": reply["compile_s"][0],
        "random_valid": found["valid"],
        "spread": statistics.median(reply["seconds"][0]) / min(reply["seconds"][0]),
    }


def _notes(rows: list[dict]) -> list[str]:
    notes = [
        "wall-clock ms on tvm.opencl(0), least of 15 batches of at least 2 ms, all kernels of a row in turns; "
        f"random: the best of {TRIALS} random configurations, those that compile within {COMPILE_LIMIT_S} s",
        "no stock_ms: stock TVM cannot compile its fallback for that number of channels",
        "spread: our median over our least time; compile_s: processor time of TVM and the OpenCL compiler for ours",
        f"goals: {GOAL.label} <= 9 ms on one pocl core; ours_to_random <= 2 on at least 8 shapes of each kind",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        ratios = [row["ours_to_random"] for row in rows if row["kind"] == kind and row["ours_to_random"]]
        within = sum(r <= 2 for r in ratios)
        middle = statistics.median(ratios)
        notes.append(f"{kind}: {within} of {len(ratios)} within 2x, median {middle:.2f}, worst {max(ratios):.2f}")
    return notes


if __name__ == "__main__":
    main()
