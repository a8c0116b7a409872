"""Write a run in the Trace Event Format (JSON), for Perfetto (ui.perfetto.dev) and chrome://tracing."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tvm_coexec.core.files import write_atomically

from .record import Recording
from .timeline import TRANSFERS, Timeline, TraceEvent

MEASURED, EXPECTED = 1, 2
_LANES = {"cpu": (1, "CPU"), "gpu": (2, "GPU"), TRANSFERS: (3, "copies on the device")}
_PROCESSES = {MEASURED: "measured", EXPECTED: "expected by the plan"}


def chrome_trace(recording: Recording, name: str = "the model") -> dict:
    """Convert a recording to the Trace Event Format.

    Parameters
    ----------
    recording : Recording
    name : str
        Name of the model.

    Returns
    -------
    dict
        The shown run and the plan's expectation are two processes, their lanes are threads.
    """
    events = [*_process(MEASURED, recording.measured), *_slices(MEASURED, recording, recording.measured)]
    if recording.expected is not None:
        events += [*_process(EXPECTED, recording.expected), *_slices(EXPECTED, recording, recording.expected)]
    return {
        "displayTimeUnit": "ms",
        "otherData": {
            "model": name,
            "run_ms": recording.measured.total_s * 1e3,
            "runs_ms": [s * 1e3 for s in recording.seconds],
            "gpu_clock_uncertainty_us": recording.measured.uncertainty_s * 1e6,
        },
        "traceEvents": events,
    }


def write_chrome(recording: Recording, path: str, name: str = "the model") -> None:
    """Write a recording in the Trace Event Format, one event per line; the file is complete or not written.

    Parameters
    ----------
    recording : Recording
    path : str
    name : str
        Name of the model.
    """
    trace = chrome_trace(recording, name)
    events = ",\n".join(json.dumps(e) for e in trace.pop("traceEvents"))
    write_atomically(path, f'{json.dumps(trace)[:-1]}, "traceEvents": [\n{events}\n]}}\n')


def _process(pid: int, timeline: Timeline) -> Iterator[dict]:
    yield _meta(pid, 0, "process_name", name=_PROCESSES[pid])
    yield _meta(pid, 0, "process_sort_index", sort_index=pid)
    for lane, (tid, title) in _LANES.items():
        if timeline.lane(lane):
            yield _meta(pid, tid, "thread_name", name=title)
            yield _meta(pid, tid, "thread_sort_index", sort_index=tid)


def _meta(pid: int, tid: int, what: str, **args: object) -> dict:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": args}


def _slices(pid: int, recording: Recording, timeline: Timeline) -> Iterator[dict]:
    for number, e in enumerate(timeline.events):
        tid = _LANES[e.lane][0]
        chain = recording.graph.chain_of(e.segment)
        category = f"{e.what},chain {chain}" if chain >= 0 else e.what
        yield {
            "ph": "X", "pid": pid, "tid": tid, "ts": _us(e.start_s), "dur": _us(e.seconds), "cat": category,
            "name": _title(e, chain), "args": _args(e, chain),
        }  # fmt: skip
        if e.launched_s is not None and e.lane == "gpu":  # an arrow from the launch to the kernel
            arrow = {"cat": "launch", "name": "launch", "id": number, "pid": pid}
            yield arrow | {"ph": "s", "tid": _LANES["cpu"][0], "ts": _us(e.launched_s)}
            yield arrow | {"ph": "f", "bp": "e", "tid": tid, "ts": _us(e.start_s)}


def _title(e: TraceEvent, chain: int) -> str:
    if e.what == "work" and e.name:
        return e.name
    if e.what == "work":
        return f"segment {e.segment}" + (f" (chain {chain})" if chain >= 0 else "")
    return e.what


def _args(e: TraceEvent, chain: int) -> dict[str, object]:
    args: dict[str, object] = {"what": e.what}
    if e.segment >= 0:
        args["segment"] = e.segment
    if chain >= 0:
        args["chain"] = chain
    if e.name:
        args["node"] = e.name
    if e.nbytes:
        args["bytes"] = e.nbytes
    return args


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)
