"""A plan as readable text: chains, axes, cuts, devices, expected times, and the reasons of whole kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from tvm_coexec.core.chains import last_axis
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.texts import shorten
from tvm_coexec.cost_models import Costs
from tvm_coexec.cost_models.coverage import Coverage, find_coverage
from tvm_coexec.planner import CachedCosts, Simulator, simulate
from tvm_coexec.planner.objective import energy_j
from tvm_coexec.planner.strategies.single import on_one
from tvm_coexec.planner.sync_points import count_sync_points

from . import sources_text, verified_text
from .sources_text import KernelSource

LARGEST = 10  # kernels that a report lists
_EXAMPLES = 3
_RUNTIMES = {
    "own": "this package's, which orders copies by the data that they need",
    "tvm": "TVM's own, whose copies wait for all of the GPU's work",
}
_MEMORY = {
    "copied": "tensors that cross between the devices are copied",
    "mapped": "both devices address it; tensors that cross are mapped",
    "shared": "shared by both devices; tensors that cross stay where they are",
}
_LONGEST_NAME = 36  # characters


@dataclass(frozen=True)
class Report:
    """A plan with the graph that it was made for.

    Attributes
    ----------
    graph : KernelGraph
    plan : Plan or None
        `None` if the model stays whole.
    reason : str
        Why the model stays whole.
    costs : Costs, optional
        The costs that the plan was made with; the report then includes the simulator's results.
    sources : tuple of KernelSource
        Where the kernels' configurations come from, if tuning records were in force.
    """

    graph: KernelGraph
    plan: Plan | None
    reason: str = ""
    costs: Costs | None = field(default=None, repr=False, compare=False)
    sources: tuple[KernelSource, ...] = field(default=(), repr=False)

    @cached_property
    def simulated(self) -> Simulator | None:
        """The plan's simulated run; `None` without a plan or costs."""
        if self.plan is None or self._cached is None:
            return None
        return simulate(self.graph, self._cached, self.plan.segments)

    @cached_property
    def _cached(self) -> CachedCosts | None:
        return CachedCosts(self.graph, self.costs) if self.costs is not None and self.graph.kernels else None

    @property
    def expected_s(self) -> float:
        """Expected seconds from inputs to outputs, both on the CPU; 0 when nothing was estimated."""
        if self.simulated is not None:
            return self.simulated.now_s
        return 0.0 if self.plan is None else self.plan.expected_s

    @property
    def sync_points(self) -> int:
        """Number of sync points; it does not depend on the costs."""
        return 0 if self.plan is None else count_sync_points(self.graph, self.plan.segments)

    @property
    def energy_j(self) -> float | None:
        """Expected joules; `None` if the costs have no power model."""
        return None if self.simulated is None else energy_j(self.simulated)

    @cached_property
    def coverage(self) -> Coverage | None:
        """How much of the plan's predicted kernel times rests on few samples; `None` without a plan or costs."""
        if self.simulated is None or self.costs is None:
            return None
        by_kernel = self.simulated.totals.kernel_s.items()
        return find_coverage(self.costs, ((self.graph.kernels[k], d, s) for k, by in by_kernel for d, s in by.items()))

    def alone_s(self) -> dict[str, float]:
        """Expected seconds of the whole model on each device alone; empty without costs."""
        if self._cached is None:
            return {}
        return {d: simulate(self.graph, self._cached, on_one(self.graph, d)).now_s for d in ("cpu", "gpu")}

    def summary(self) -> str:
        """Summarise the report in one line."""
        if self.plan is None:
            return f"the model stays whole: {self.reason}"
        kernels = len(self.graph.kernels)
        split = sum(len(c.kernels) for c in self.plan.chains)
        text = f"{split} of {kernels} kernels split in {len(self.plan.chains)} chains, {self.sync_points} sync points"
        if self.simulated is not None and self.sync_points:
            text += f" ({self.simulated.totals.meetings_s * 1e3:.3f} ms)"
        for device in ("gpu", "cpu"):
            whole = sum(len(s.kernels) for s in self.plan.segments if s.device == device)
            text += f", {whole} whole on the {device}" if whole else ""
        if self.expected_s:
            text += f", expected {self.expected_s * 1e3:.3f} ms"
            text += "" if self.simulated is not None else " (stored in the plan)"
        if self.energy_j is not None:
            text += f" and {self.energy_j * 1e3:.3f} mJ"
        return text + verified_text.summary(self.plan)

    def segments(self) -> list[dict]:
        """One row per segment: number, device, kernels, axis, cut, extent, ratio, expected seconds by part."""
        if self.plan is None:
            return []
        return [self._row(n, s) for n, s in enumerate(self.plan.segments)]

    def _row(self, number: int, segment: Segment) -> dict:
        names = [self.graph.kernels[k].name for k in segment.kernels]
        row: dict = {"segment": number, "device": segment.device, "kernels": list(segment.kernels), "names": names}
        if segment.device == "split":
            axis = last_axis(self.graph, segment.kernels, segment.axis)
            row |= {"axis": segment.axis, "cut": segment.cut, "extent": axis.extent, "ratio": segment.cut / axis.extent}
        row["expected_s"] = dict(segment.expected_s)
        return row

    def whole(self) -> list[tuple[int, str, str]]:
        """Kernels left whole, as (index, name, reason)."""
        if self.plan is None:
            return []
        split = {k for c in self.plan.chains for k in c.kernels}
        return [
            (k.index, k.name, self.plan.notes.get(str(k.index)) or k.reason or "the plan keeps it whole")
            for k in self.graph.kernels
            if k.index not in split
        ]

    def largest(self, count: int = LARGEST) -> list[dict]:
        """The kernels with the largest expected times, in descending order; empty without costs.

        Kernels with equal signature, device and time are grouped in one entry.

        Returns
        -------
        list of dict
            ``kernels`` (indices), ``name``, ``device`` (``split`` for both), seconds of one kernel by device ``gpu_s``
            and ``cpu_s`` (`None` where it computes nothing), and ``fraction`` of the expected time that all of them
            take. For a split kernel the slower share counts, because both run at once.
        """
        if self.plan is None or self.simulated is None:
            return []
        device_of = {k: s.device for s in self.plan.segments for k in s.kernels}
        equal: dict[tuple, list[int]] = {}
        for k, seconds in sorted(self.simulated.totals.kernel_s.items()):
            key = (self.graph.kernels[k].signature(), device_of[k], seconds.get("gpu"), seconds.get("cpu"))
            equal.setdefault(key, []).append(k)
        rows = [
            {
                "kernels": kernels,
                "name": self.graph.kernels[kernels[0]].name,
                "device": device,
                "gpu_s": gpu_s,
                "cpu_s": cpu_s,
                "fraction": len(kernels) * max(gpu_s or 0.0, cpu_s or 0.0) / self.expected_s,
            }
            for (_, device, gpu_s, cpu_s), kernels in equal.items()
            if gpu_s or cpu_s
        ]
        return sorted(rows, key=lambda row: (-row["fraction"], row["kernels"]))[:count]

    def to_text(self) -> str:
        """The full report as text."""
        if self.plan is None:
            return self.summary() + "\n"
        lines = [self.summary(), f"strategy {self.plan.strategy}; costs: {self.plan.costs or 'unknown'}"]
        if self.costs is not None and self.costs.provenance and (origin := self.costs.provenance.to_text()):
            lines.append(f"profile: {origin}")
        if self.coverage is not None and (covered := self.coverage.to_text()):
            lines.append(covered)
        lines.append(f"GPU runtime: {_RUNTIMES[self.plan.runtime]}")
        lines.append(f"memory: {_MEMORY[self.plan.memory]}")
        if alone := self.alone_s():
            seconds_text = ", ".join(f"{device} {seconds * 1e3:.3f} ms" for device, seconds in alone.items())
            lines.append(
                f"alone: {seconds_text}; the better one takes {_times(min(alone.values()), self.expected_s)} as long"
            )
        lines += [*verified_text.table(self.plan), ""]
        times = "".join(f" {title:>9}" for title in ("gpu ms", "cpu ms", "scatter", "join"))
        head = f"{'seg':>4} {'device':7} {'axis':6} {'cut':>12}{times}  kernels"
        lines += [head, "-" * len(head)]
        for row in self.segments():
            cut = f"{row['cut']}/{row['extent']}" if "cut" in row else ""
            values = [_ms(row["expected_s"].get(k)) for k in ("gpu", "cpu", "share_out", "join")]
            lines.append(
                f"{row['segment']:>4} {row['device']:7} {row.get('axis', ''):6} {cut:>12} "
                f"{values[0]:>9} {values[1]:>9} {values[2]:>9} {values[3]:>9}  {_kernels(row)}"
            )
        lines += [*_largest_lines(self.largest()), *sources_text.table(self.sources), *_whole_lines(self.whole())]
        return "\n".join(lines) + "\n"


def _times(seconds: float, expected_s: float) -> str:
    return f"{seconds / expected_s:.2f}x" if expected_s else "-"


def _ms(seconds: float | None) -> str:
    return "" if not seconds else f"{seconds * 1e3:.3f}"


def _kernels(row: dict) -> str:
    first, last = row["kernels"][0], row["kernels"][-1]
    span = str(first) if first == last else f"{first}-{last}"
    names = [shorten(name, _LONGEST_NAME) for name in row["names"]]
    return f"{span}: " + ", ".join(names[:3]) + (f", ... ({len(names)} kernels)" if len(names) > 3 else "")


def _largest_lines(rows: list[dict]) -> list[str]:
    """The table of the largest kernels."""
    if not rows:
        return []
    head = f"{'of total':>8} {'device':7} {'gpu ms':>9} {'cpu ms':>9}  kernels"
    lines = [
        "",
        "largest kernels by their fraction of the expected time (equal kernels grouped):",
        head,
        "-" * len(head),
    ]
    for row in rows:
        times = f"{_ms(row['gpu_s']):>9} {_ms(row['cpu_s']):>9}"
        what = f"{_run(row['kernels'])}: {shorten(row['name'], _LONGEST_NAME)}"
        lines.append(f"{row['fraction']:>8.1%} {row['device']:7} {times}  {what}")
    return lines


def _whole_lines(whole: list[tuple[int, str, str]]) -> list[str]:
    """One line per reason, the most frequent first: how many kernels, the reason, and examples by operator."""
    if not whole:
        return []
    reasons: dict[str, dict[str, list[int]]] = {}
    for index, name, reason in whole:
        reasons.setdefault(reason, {}).setdefault(name, []).append(index)
    counts = {reason: sum(map(len, names.values())) for reason, names in reasons.items()}
    lines = ["", "left whole:"]
    for reason in sorted(reasons, key=lambda r: -counts[r]):
        names, count = reasons[reason], counts[reason]
        examples = [f"{_run(indices)} {shorten(name, _LONGEST_NAME)}" for name, indices in names.items()]
        more = "; ..." if len(examples) > _EXAMPLES else ""
        kernels = "1 kernel" if count == 1 else f"{count} kernels"
        lines.append(f"  {kernels}: {reason} ({'; '.join(examples[:_EXAMPLES])}{more})")
    return lines


def _run(indices: list[int]) -> str:
    return ",".join(map(str, indices[:_EXAMPLES])) + (f",... ({len(indices)})" if len(indices) > _EXAMPLES else "")
