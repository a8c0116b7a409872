"""A run in numbers, next to what the plan expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .intervals import intersect, total_length, union
from .record import Recording
from .spans import COPIES
from .timeline import COMPUTING, TRANSFERS, Timeline, TraceEvent

_ROWS = (
    ("run", "ms", "run_s"),
    ("CPU: kernels", "ms", "cpu_work_s"),
    ("CPU: slices and joins", "ms", "cpu_slice_join_s"),
    ("CPU: launching GPU kernels", "ms", "enqueue_s"),
    ("CPU: copying", "ms", "copy_s"),
    ("CPU: waiting for the GPU", "ms", "wait_s"),
    ("... while the GPU is idle", "ms", "idle_wait_s"),
    ("CPU: the executor itself", "ms", "other_s"),
    ("GPU: kernels", "ms", "gpu_s"),
    ("both compute", "ms", "both_s"),
    ("uploaded", "MB", "uploaded_bytes"),
    ("downloaded", "MB", "downloaded_bytes"),
    ("uploaded and downloaded", "MB", "moved_bytes"),
    ("shared without a copy", "MB", "elided_bytes"),
    ("sync points", "", "sync_points"),
)


def numbers(timeline: Timeline) -> dict[str, float]:
    """Sum up a timeline.

    Parameters
    ----------
    timeline : Timeline

    Returns
    -------
    dict of str to float
        Seconds (``_s``), bytes (``_bytes``) and counts. ``both_s`` is the time during which both devices compute
        (kernels, slices, joins). ``idle_wait_s`` is the part of ``wait_s`` during which the GPU is idle: the time of
        the driver or of another process. Copies of one segment in one direction are one of the ``sync_points``.
    """
    host = timeline.lane("cpu")
    kernels, transfers = ([e.interval for e in timeline.lane(lane)] for lane in ("gpu", TRANSFERS))

    def spent(*what: str) -> float:
        return sum(e.seconds for e in host if e.what in what)

    copies = [e for e in host if e.what in COPIES]
    moved = {d: sum(e.nbytes for e in copies if e.what in ("upload", "download") and e.to == d) for d in ("gpu", "cpu")}
    computing = [e.interval for e in host if e.what in COMPUTING]
    waits = [e.interval for e in host if e.what == "wait"]
    return {
        "run_s": timeline.total_s,
        "cpu_work_s": spent("work"),
        "cpu_slice_join_s": spent("slice", "join"),
        "enqueue_s": spent("enqueue"),
        "copy_s": spent(*COPIES),
        "wait_s": spent("wait"),
        "idle_wait_s": spent("wait") - total_length(intersect(union(waits), union([*kernels, *transfers]))),
        "other_s": max(0.0, timeline.total_s - sum(e.seconds for e in host)),
        "gpu_s": total_length(union(kernels)),
        "both_s": total_length(intersect(union(computing), union(kernels))),
        "uploaded_bytes": moved["gpu"],
        "downloaded_bytes": moved["cpu"],
        "moved_bytes": moved["gpu"] + moved["cpu"],
        "elided_bytes": sum(e.nbytes for e in copies if e.what == "elided copy"),
        "sync_points": _sync_points(host) if timeline.sync_points is None else timeline.sync_points,
    }


def expected_numbers(recording: Recording) -> dict[str, float | None] | None:
    """Sum up the timeline that the plan expected.

    A plan counts launches as the CPU's work, and uploads and downloads together.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    dict of str to (float or None), or None
        As `numbers` returns it, with `None` for numbers that a plan does not have; `None` without an expectation.
    """
    if recording.expected is None:
        return None
    expected = recording.graph.expected
    assert expected is not None
    sums = numbers(recording.expected)
    unknown = ("enqueue_s", "uploaded_bytes", "downloaded_bytes", "elided_bytes", "other_s")
    return {
        **sums,
        **dict.fromkeys(unknown),
        "cpu_work_s": sums["cpu_work_s"] + sums["enqueue_s"],
        "moved_bytes": expected["bytes_moved"],
        "sync_points": expected["sync_points"],
    }


def segment_rows(recording: Recording) -> list[dict[str, Any]]:
    """Sum up each segment.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    list of dict
        One row per segment of the plan: the segment, and under ``measured`` and ``expected`` the seconds of both
        devices, or `None`.
    """
    rows: list[dict[str, Any]] = []
    for number, segment in enumerate(recording.graph.segments):
        row: dict[str, Any] = {"segment": number, "device": segment["device"]}
        row |= {key: segment.get(key) for key in ("chain", "axis", "cut", "extent")}
        for kind, timeline in (("measured", recording.measured), ("expected", recording.expected)):
            own = [e for e in timeline.events if e.segment == number] if timeline is not None else None
            row[kind] = None if own is None else {
                "gpu_s": _sum(own, "gpu", COMPUTING),
                "cpu_s": _sum(own, "cpu", ("work", "enqueue")),
                "share_out_and_join_s": _sum(own, "cpu", ("slice", "join", *COPIES)),
                "wait_s": _sum(own, "cpu", ("wait",)),
            }  # fmt: skip
        rows.append(row)
    return rows


def table(recording: Recording, name: str = "the model") -> str:
    """Format a recording as text: the sums, a row per segment, and notes.

    Parameters
    ----------
    recording : Recording
    name : str
        Name of the model.

    Returns
    -------
    str
    """
    measured, expected = numbers(recording.measured), expected_numbers(recording)
    seconds = recording.seconds
    head = f"{name}: {_ms(measured['run_s'])} ms, the median of {len(seconds)} runs"
    if len(seconds) > 1:
        head += f" ({_ms(min(seconds))} to {_ms(max(seconds))} ms)"
    if expected is not None:
        head += f"; the plan expected {_ms(expected['run_s'])} ms"
    lines = [head, "", f"{'':34} {'measured':>10}" + (f" {'expected':>10}" if expected else "")]
    for title, unit, key in _ROWS:
        if expected is None and key == "moved_bytes":
            continue
        values: list[Mapping[str, float | None]] = [measured] if expected is None else [measured, expected]
        lines.append(
            f"{title + (', ' + unit if unit else ''):34} " + " ".join(f"{_cell(v[key], unit):>10}" for v in values)
        )
    lines += _segment_lines(recording)
    lines += ["", *_notes(recording)]
    return "\n".join(lines) + "\n"


def _segment_lines(recording: Recording) -> list[str]:
    rows = segment_rows(recording)
    if not rows or not recording.graph.is_annotated:
        return []
    titles = ("GPU", "CPU, launches", "copies, joins", "waiting")
    keys = ("gpu_s", "cpu_s", "share_out_and_join_s", "wait_s")
    with_plan = recording.expected is not None
    wide = 20 if with_plan else 14
    head = f"{'segment':>7} {'device':6} {'axis':5} {'cut':>11}" + "".join(f" {t:>{wide}}" for t in titles)
    lines = ["", "milliseconds by segment" + (", and those that the plan expected" if with_plan else ""), head]
    lines.append("-" * len(head))
    for row in rows:
        cut = "" if row["cut"] is None else f"{row['cut']}/{row['extent'] or '?'}"
        line = f"{row['segment']:>7} {row['device']:6} {row['axis'] or '':5} {cut:>11}"
        for key in keys:
            cell = _ms(row["measured"][key])
            if with_plan:
                cell += f" ({_ms(row['expected'][key])})"
            line += f" {cell:>{wide}}"
        lines.append(line)
    return lines


def _notes(recording: Recording) -> list[str]:
    notes = []
    if recording.measured.lane("gpu"):
        bound_us = recording.measured.uncertainty_s * 1e6
        notes.append(f"the GPU's times against the CPU's may be off by {bound_us:.1f} us")
    if not recording.graph.is_annotated:
        notes.append("this module has no plan, so segments and expected times are unknown: build it with")
        notes.append("tvm_coexec.build or tvmc compile --coexec")
    elif recording.expected is None:
        notes.append("the plan was made or replayed without costs, so it has no expected times")
    if recording.spans.dropped:
        notes.append(f"the recorder was full: {recording.spans.dropped} events of the first runs are missing")
    return notes


def _sum(events: Iterable[TraceEvent], lane: str, what: Sequence[str]) -> float:
    return sum(e.seconds for e in events if e.lane == lane and e.what in what)


def _sync_points(host: Sequence[TraceEvent]) -> int:
    sync_points: set[tuple[int, str, int]] = set()
    group = 0  # of copies without a known segment: all between two kernels are one sync point
    for e in host:
        if e.what in ("upload", "download", "elided copy"):
            sync_points.add((e.segment, e.to, group if e.segment < 0 else 0))
        elif e.what != "wait":
            group += 1
    return len(sync_points)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3f}"


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.3f}" if unit == "ms" else f"{value / 1e6:.3f}" if unit == "MB" else f"{value:.0f}"
