"""Segments put together, and why kernels are where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Segment
from tvm_coexec.core.reasons import Reason, own_reason


def whole_reasons(graph: KernelGraph, segments: Sequence[Segment], why: Reason) -> dict[int, Reason]:
    """Reasons of all kernels that the segments leave whole: their own, or else `why`."""
    divided = {k for s in segments if s.device == "split" for k in s.kernels}
    return {k.index: own_reason(k) or why for k in graph.kernels if k.index not in divided}


def write_notes(graph: KernelGraph, segments: Sequence[Segment], reasons: Mapping[int, Reason]) -> dict[str, str]:
    """The notes of a plan: the reasons of a strategy, with what the GPU can't run of kernels that are not divided."""
    out = {str(k): str(reason) for k, reason in reasons.items()}
    divided = {k for s in segments if s.device == "split" for k in s.kernels}
    for k in graph.kernels:
        if k.index in divided:
            continue
        note = k.cpu_only or out.get(str(k.index), k.reason)
        more = [why for _, why in k.refused if why not in note]
        if k.cpu_only or more:
            out[str(k.index)] = "; ".join(t for t in (note, *dict.fromkeys(more)) if t)
    return out


def merge_segments(graph: KernelGraph, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Merge adjacent segments of one device, so that the device optimises over its whole run.

    All copies that a segment needs come before its work. So a segment that reads what only the other device has stays
    on its own: else the earlier kernels would wait for that copy, too.
    """
    where: dict[int, set[str]] = {-1 - i: {"cpu"} for i in range(len(graph.inputs))}
    out: list[Segment] = []
    for s in segments:
        device = "cpu" if s.device == "split" else s.device  # where the parts of a chain are joined
        inside = set(s.kernels)
        values = {v for k in s.kernels for v in graph.kernels[k].inputs if v not in inside}
        copies = any(device not in where[v] for v in values)
        for v in values:
            where[v].add(device)
        for k in s.kernels:
            where[k] = {device}
        if out and s.device != "split" and out[-1].device == s.device and not copies:
            out[-1] = replace(out[-1], kernels=tuple(sorted((*out[-1].kernels, *s.kernels))), expected_s={})
        else:
            out.append(s)
    return tuple(out)
