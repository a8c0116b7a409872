"""Plans: the device of every kernel and the order of execution; JSON that users can read, edit, save and replay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .chains import Shares, chain_shares, find_refused
from .devices import parse_memory, parse_runtime
from .errors import CoExecError
from .files import read_text, write_atomically
from .kernel_graph import KernelGraph

VERSION = 1
DEVICES = ("cpu", "gpu", "split")


class OtherModelError(CoExecError):
    """A plan was made for another model.

    Attributes
    ----------
    here : str
        Fingerprint of the model that it was to be used for.
    """

    def __init__(self, here: str, text: str):
        self.here = here
        super().__init__(text)


@dataclass(frozen=True)
class Segment:
    """A run of kernels with one decision.

    Attributes
    ----------
    device : str
        ``cpu``, ``gpu`` or ``split`` (a chain).
    kernels : tuple of int
        Kernel indices, ascending.
    axis, cut : str, int
        For a chain: the axis of its last kernel, and the index where the GPU's range of its output ends.
    expected_s : dict
        Expected seconds by part (``cpu``, ``gpu``, ``share_out``, ``join``, ``total``); empty without costs.
    """

    device: str
    kernels: tuple[int, ...]
    axis: str = ""
    cut: int = 0
    expected_s: dict[str, float] = field(default_factory=dict, hash=False)

    def shares(self, graph: KernelGraph) -> Shares:
        """Return the ranges of both devices (for chains only)."""
        return chain_shares(graph, list(self.kernels), self.axis, self.cut)


@dataclass(frozen=True)
class Verified:
    """A plan that was built and measured together with others.

    Attributes
    ----------
    strategy : str
        Strategy that proposed it.
    segments : str
        Digest of its segments (`Plan.digest`).
    device : str
        ``cpu`` or ``gpu`` if everything runs on that device, else ``both``.
    chains : int
    expected_s : float
        Expected seconds; 0 without costs.
    measured_s : float
        Seconds of the shortest repeat; 0 if `error` is set.
    error : str
    """

    strategy: str
    segments: str
    device: str
    chains: int
    expected_s: float
    measured_s: float
    error: str = ""

    def to_json(self) -> dict:
        """Return plain values, for `Plan.to_json`."""
        d = {"strategy": self.strategy, "segments": self.segments, "device": self.device, "chains": self.chains}
        d |= {"expected_s": round(self.expected_s, 9), "measured_s": round(self.measured_s, 9)}
        return d | {"error": self.error} if self.error else d

    @staticmethod
    def from_json(d: dict) -> Verified:
        """Read a result of `to_json`; raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        strategy, segments, device = (str(d[n]) for n in ("strategy", "segments", "device"))
        expected_s, measured_s = (float(d[n]) for n in ("expected_s", "measured_s"))
        return Verified(strategy, segments, device, int(d["chains"]), expected_s, measured_s, str(d.get("error", "")))


@dataclass(frozen=True)
class Plan:
    """Segments in execution order, and the graph that they were made for.

    Attributes
    ----------
    graph : str
        Fingerprint of the kernel graph.
    segments : tuple of Segment
    strategy : str
        Strategy that made the plan.
    notes : dict
        Kernel index (as text) to the reason why the kernel stays whole.
    costs : str
        Source of the expected times.
    verified : tuple of Verified
        The measured candidates, including this plan; empty without verification.
    runtime : {"own", "tvm"}
        OpenCL runtime that it was made for (see `Costs.runtime`): it decides the order of copies and launches.
    memory : {"copied", "mapped", "shared"}
        How tensors cross between the devices in what `expected_s` is of (see `Costs.memory`).
    """

    graph: str
    segments: tuple[Segment, ...]
    strategy: str = "coexec"
    notes: dict[str, str] = field(default_factory=dict, hash=False)
    costs: str = ""
    verified: tuple[Verified, ...] = ()
    runtime: str = "own"
    memory: str = "copied"

    @property
    def chains(self) -> tuple[Segment, ...]:
        """The split segments."""
        return tuple(s for s in self.segments if s.device == "split")

    @property
    def expected_s(self) -> float:
        """Expected seconds of the whole plan; 0 without costs."""
        return sum(s.expected_s.get("total", 0.0) for s in self.segments)

    @property
    def device(self) -> str:
        """``cpu`` or ``gpu`` if everything runs there, else ``both``."""
        devices = {s.device for s in self.segments}
        return next(iter(devices)) if len(devices) == 1 and "split" not in devices else "both"

    def digest(self) -> str:
        """Return a hash of the segments without their expected times."""
        parts = [[s.device, list(s.kernels), s.axis, s.cut] for s in self.segments]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Return the plan as JSON; equal plans give equal bytes."""
        segments = []
        for s in self.segments:
            d: dict = {"device": s.device, "kernels": list(s.kernels)}
            if s.device == "split":
                d |= {"axis": s.axis, "cut": s.cut}
            if s.expected_s:
                d["expected_s"] = {k: round(v, 9) for k, v in sorted(s.expected_s.items())}
            segments.append(d)
        head = {"version": VERSION, "graph": self.graph, "strategy": self.strategy, "costs": self.costs}
        head |= {"runtime": self.runtime} if self.runtime != "own" else {}
        head |= {"memory": self.memory} if self.memory != "copied" else {}
        # one line per segment: easy to read, edit and diff
        lines = ",\n".join("  " + json.dumps(s) for s in segments)
        top = json.dumps(head, indent=1)[:-2]
        more = ""
        if self.verified:
            measured = ",\n".join("  " + json.dumps(v.to_json()) for v in self.verified)
            more = f' "verified": [\n{measured}\n ],\n'
        notes = json.dumps(self.notes, sort_keys=True)
        return f'{top},\n "notes": {notes},\n{more} "segments": [\n{lines}\n ]\n}}\n'

    @staticmethod
    def from_json(text: str, source: str = "plan") -> Plan:
        """Read a plan.

        Parameters
        ----------
        text : str
        source : str
            Name for error messages, usually the file name.

        Raises
        ------
        CoExecError
            If the text is not a valid plan of a known version.
        """
        try:
            d = json.loads(text)
        except json.JSONDecodeError as err:
            raise CoExecError(
                f"{source} is not JSON (line {err.lineno}: {err.msg}); give a plan that --coexec-dump-plan wrote, "
                "or coexec plan"
            ) from None
        if not isinstance(d, dict) or "segments" not in d or "version" not in d:
            raise CoExecError(f"{source} is not a co-execution plan: it has no 'segments' and 'version'")
        if d["version"] != VERSION:
            raise CoExecError(
                f"{source} has plan version {d['version']!r}; this release reads version {VERSION}: plan again"
            )
        if unknown := sorted(set(d) - set(_KEYS)):
            raise CoExecError(
                f"{source} is damaged: it has the unknown key '{unknown[0]}' (allowed: {', '.join(_KEYS)})"
            )
        for key, kind, name in (
            ("segments", list, "a list"),
            ("notes", dict, "an object"),
            ("verified", list, "a list"),
        ):
            if not isinstance(d.get(key, kind()), kind):
                raise CoExecError(f"{source} is damaged: '{key}' is not {name}; plan again or fix it")
        try:
            segments = tuple(_segment(s, i, source) for i, s in enumerate(d["segments"]))
            plan = Plan(
                str(d["graph"]),
                segments,
                str(d.get("strategy", "file")),
                {str(k): str(v) for k, v in d.get("notes", {}).items()},
                str(d.get("costs", "")),
                tuple(Verified.from_json(v) for v in d.get("verified", ())),
                parse_runtime(d.get("runtime", "own")),
                parse_memory(d.get("memory", "copied")),
            )
        except CoExecError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise CoExecError(f"{source} is damaged: missing or invalid {err}; plan again or fix it") from None
        return plan

    def save(self, path: str) -> None:
        """Write the plan; the file is replaced atomically."""
        write_atomically(path, self.to_json())

    @staticmethod
    def load(path: str) -> Plan:
        """Read a plan from a file; `CoExecError` names the file if it can't be read."""
        return Plan.from_json(read_text(path, "plan"), path)

    def check(self, graph: KernelGraph) -> None:
        """Raise `CoExecError` if the plan was made for another model or is inconsistent."""
        if self.graph != graph.fingerprint():
            raise OtherModelError(
                graph.fingerprint(),
                "the plan was made for another model or other shapes, or at another opt_level (`coexec plan` takes 3); "
                f"it names graph {self.graph}, this model is {graph.fingerprint()}: plan this model again",
            )
        missing = sorted(set(range(len(graph.kernels))) - {k for s in self.segments for k in s.kernels})
        left_out = f"the plan has no segment for kernels {missing[:8]}: put every kernel into a segment"
        done: set[int] = set()
        for n, s in enumerate(self.segments):
            if s.device not in DEVICES:
                raise CoExecError(f"segment {n} of the plan names device '{s.device}'; use cpu, gpu or split")
            if not s.kernels or list(s.kernels) != sorted(set(s.kernels)):
                raise CoExecError(f"segment {n} of the plan must list kernels once each, in ascending order")
            for k in s.kernels:
                if not 0 <= k < len(graph.kernels):
                    raise CoExecError(
                        f"segment {n} of the plan lists kernel {k}; the model's are 0 to {len(graph.kernels) - 1}"
                    )
                if k in done:
                    raise CoExecError(f"segment {n} of the plan lists kernel {k}, which an earlier segment has")
                if s.device == "gpu" and (why := graph.kernels[k].cpu_only):
                    raise CoExecError(
                        f"segment {n} of the plan puts kernel {k} ({graph.kernels[k].name}) on the gpu: {why}; put it "
                        "on the cpu"
                    )
                done.add(k)
                for value in graph.kernels[k].inputs:
                    if value in missing:
                        raise CoExecError(left_out)
                    if value >= 0 and value not in done:
                        raise CoExecError(
                            f"segment {n} of the plan runs kernel {k} before kernel {value}, which it reads"
                        )
            if s.device == "split":
                try:
                    if why := find_refused(graph, s.kernels, s.axis, s.cut):
                        raise CoExecError(why)
                except CoExecError as err:
                    raise CoExecError(f"segment {n} of the plan can't be split: {err}") from None
        if missing:
            raise CoExecError(left_out)


def _integer(value: object) -> int:
    """Check that a value is an integer; numbers in hand-edited plans are not rounded."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(value)
    return value


_KEYS = ("version", "graph", "strategy", "costs", "runtime", "memory", "notes", "verified", "segments")
_READERS: dict[str, Callable[[Any], Any]] = {
    "device": str,
    "kernels": lambda v: tuple(_integer(k) for k in v),
    "axis": str,
    "cut": _integer,
    "expected_s": lambda v: {str(k): float(s) for k, s in v.items()},
}


def _segment(d: dict, number: int, source: str) -> Segment:
    """Read one segment of a plan's JSON; `CoExecError` names the invalid key."""
    if not isinstance(d, dict):
        raise CoExecError(f"{source} is damaged: segment {number} is not an object; plan again or fix that line")
    if unknown := sorted(set(d) - set(_READERS)):
        raise CoExecError(
            f"{source} is damaged: segment {number} has the unknown key '{unknown[0]}' (allowed: {', '.join(_READERS)})"
        )
    if d.get("device") in ("cpu", "gpu") and (idle := [key for key in ("axis", "cut") if key in d]):
        raise CoExecError(
            f"{source} is damaged: segment {number} is on the {d.get('device')}, so its '{idle[0]}' would have no "
            "effect; leave it out, or set the device to split"
        )
    values = {}
    required = ("device", "kernels", "axis", "cut") if d.get("device") == "split" else ("device", "kernels")
    for key, read in _READERS.items():
        try:
            if key in d or key in required:
                values[key] = read(d[key])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise CoExecError(
                f"{source} is damaged: segment {number} has a missing or invalid '{key}'; plan again or fix that line"
            ) from None
    return Segment(**values)
