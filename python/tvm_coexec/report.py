"""What was decided, in a form that a person reads: chains, axes, cuts, devices, expected times, and reasons."""

from __future__ import annotations

from dataclasses import dataclass

from .kernel_graph import KernelGraph
from .plan import Plan, Segment


@dataclass(frozen=True)
class Report:
    """A plan explained with the graph it was made for.

    Attributes
    ----------
    graph : KernelGraph
    plan : Plan or None
        `None` when the whole model was left alone.
    reason : str
        Why it was left alone.
    """

    graph: KernelGraph
    plan: Plan | None
    reason: str = ""

    def summary(self) -> str:
        """One line."""
        if self.plan is None:
            return f"the model stays whole: {self.reason}"
        kernels = len(self.graph.kernels)
        split = sum(len(c.kernels) for c in self.plan.chains)
        text = (
            f"{split} of {kernels} kernels split in {len(self.plan.chains)} chains, "
            f"{2 * len(self.plan.chains)} sync points"
        )
        for device in ("gpu", "cpu"):
            whole = sum(len(s.kernels) for s in self.plan.segments if s.device == device)
            text += f", {whole} whole on the {device}" if whole else ""
        if self.plan.expected_s:
            text += f", expected {self.plan.expected_s * 1e3:.3f} ms"
        return text

    def segments(self) -> list[dict]:
        """One row per segment: number, device, kernels, axis, cut, extent, ratio, expected seconds by part."""
        if self.plan is None:
            return []
        return [self._row(n, s) for n, s in enumerate(self.plan.segments)]

    def _row(self, number: int, segment: Segment) -> dict:
        names = [self.graph.kernels[k].name for k in segment.kernels]
        row: dict = {"segment": number, "device": segment.device, "kernels": list(segment.kernels), "names": names}
        if segment.device == "split":
            last = self.graph.kernels[segment.kernels[-1]]
            axis = last.named_axis(segment.axis)
            assert axis is not None
            row |= {"axis": segment.axis, "cut": segment.cut, "extent": axis.extent, "ratio": segment.cut / axis.extent}
        row["expected_s"] = dict(segment.expected_s)
        return row

    def whole(self) -> list[tuple[int, str, str]]:
        """Kernels left whole: index, name, reason."""
        if self.plan is None:
            return []
        split = {k for c in self.plan.chains for k in c.kernels}
        return [
            (k.index, k.name, self.plan.notes.get(str(k.index)) or k.reason or "the plan keeps it whole")
            for k in self.graph.kernels
            if k.index not in split
        ]

    def to_text(self) -> str:
        """The full report as text."""
        if self.plan is None:
            return self.summary() + "\n"
        lines = [self.summary(), f"strategy {self.plan.strategy}; costs: {self.plan.costs or 'unknown'}", ""]
        times = "".join(f" {title:>9}" for title in ("gpu ms", "cpu ms", "share-out", "join"))
        head = f"{'seg':>4} {'device':7} {'axis':6} {'cut':>12}{times}  kernels"
        lines += [head, "-" * len(head)]
        for row in self.segments():
            cut = f"{row['cut']}/{row['extent']}" if "cut" in row else ""
            times = [_ms(row["expected_s"].get(k)) for k in ("gpu", "cpu", "share_out", "join")]
            lines.append(
                f"{row['segment']:>4} {row['device']:7} {row.get('axis', ''):6} {cut:>12} "
                f"{times[0]:>9} {times[1]:>9} {times[2]:>9} {times[3]:>9}  {_kernels(row)}"
            )
        whole = self.whole()
        if whole:
            lines += ["", "left whole:"]
            lines += [f"  {_run(indices)} {name}: {reason}" for indices, name, reason in _grouped(whole)]
        return "\n".join(lines) + "\n"


def _ms(seconds: float | None) -> str:
    return "" if not seconds else f"{seconds * 1e3:.3f}"


def _run(indices: list[int]) -> str:
    return ",".join(map(str, indices[:6])) + (f",... ({len(indices)})" if len(indices) > 6 else "")


def _kernels(row: dict) -> str:
    first, last = row["kernels"][0], row["kernels"][-1]
    span = str(first) if first == last else f"{first}-{last}"
    names = row["names"]
    return f"{span}: " + ", ".join(names[:3]) + (f", ... ({len(names)} kernels)" if len(names) > 3 else "")


def _grouped(whole: list[tuple[int, str, str]]) -> list[tuple[list[int], str, str]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for index, name, reason in whole:
        groups.setdefault((name, reason), []).append(index)
    return [(indices, name, reason) for (name, reason), indices in groups.items()]
