"""The planner's idea of a chain (kernel level) is what the split really does (operator level)."""

from __future__ import annotations

import pytest
import tvm
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tvm import relay

from tests.relay_passes.rules.networks import networks
from tests.relay_passes.rules.sequences import sequences
from tests.relay_passes.rules.test_random_chains import COMMON, MORE, chains
from tvm_coexec.core.access import Range, union
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.relay_passes.extract.extractor import extract_with_calls
from tvm_coexec.relay_passes.outline import OutlineSegments
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.rules import rule_for
from tvm_coexec.relay_passes.split import SplitChains

pytestmark = [pytest.mark.llvm, pytest.mark.slow]

EXACT = ("nn.conv1d", "nn.conv2d", "nn.conv3d", "nn.dense", "nn.batch_matmul")


def split_alone(prepared, extracted, members: list[int], axis: str, cut: int) -> tuple[Plan, tvm.IRModule, int]:
    """The split module with every other kernel in a segment of its own; the plan and the chain's number."""
    graph = extracted.graph
    singles = [k for k in range(len(graph.kernels)) if k not in members]
    segments = [Segment("cpu", (k,)) for k in singles if k < members[-1]]
    number = len(segments)
    segments.append(Segment("split", tuple(members), axis, cut))
    segments += [Segment("cpu", (k,)) for k in singles if k > members[-1]]
    plan = Plan(graph.fingerprint(), tuple(segments))
    return plan, SplitChains()(OutlineSegments(plan, extracted)(prepared)), number


def read_by_shares(split: tvm.IRModule, plan: Plan, number: int, graph) -> dict[str, dict[int, Range]]:
    """What each share's call in main is given: range by value; the whole value counts as its whole extent."""
    main = split["main"]
    found: dict[str, dict[int, tuple[int, Range]]] = {"gpu": {}, "cpu": {}}

    def value_of(expr) -> int:
        if isinstance(expr, relay.Var):
            return -1 - list(main.params).index(expr)
        return plan.segments[int(expr.op.name_hint.split("_")[1])].kernels[0]

    def visit(node) -> None:
        if not isinstance(node, relay.Call) or not isinstance(node.op, relay.GlobalVar):
            return
        _, segment, device = node.op.name_hint.split("_")
        if int(segment) != number or device == "join":
            return
        for arg in node.args:
            r, expr = None, arg
            if isinstance(arg, relay.Call) and isinstance(arg.op, tvm.ir.Op):
                assert arg.op.name == "strided_slice"
                expr, r = arg.args[0], (int(arg.attrs.begin[0]), int(arg.attrs.end[0]))
            found[device][value_of(expr)] = r

    relay.analysis.post_order_visit(main.body, visit)
    return found


def needed_by_shares(graph, members: list[int], shares) -> dict[str, dict[int, Range | None]]:
    """The same from the kernel graph; `None` for a whole value."""
    out: dict[str, dict[int, Range | None]] = {}
    for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
        needs: dict[int, tuple[int, Range] | None] = {}
        for k in members:
            axis = graph.kernels[k].axis(shares.dims[k])
            if ranges[k][0] >= ranges[k][1]:
                continue
            for value, need in zip(graph.kernels[k].inputs, axis.needs, strict=True):
                if value in members:
                    continue
                r = None if need is None else need.apply(*ranges[k])
                if r == (0, 0):
                    continue
                if value not in needs:
                    needs[value] = None if need is None else (need.dim, r)
                elif needs[value] is not None:
                    old = needs[value]
                    needs[value] = None if need is None or old[0] != need.dim else (need.dim, union(old[1], r))
        out[device] = {
            v: None if n is None or n[1] == (0, graph.tensor(v).shape[n[0]]) else n[1] for v, n in needs.items()
        }
    return out


def heavy_flops(func) -> float:
    """Work of the convolutions and products in a function."""
    total = 0.0

    def visit(node) -> None:
        nonlocal total
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in EXACT:
            total += rule_for(node).flops(node)

    relay.analysis.post_order_visit(func.body, visit)
    return total


@given(st.one_of(networks(), sequences()), st.data())
@settings(max_examples=MORE or 120, **COMMON)
def test_shares_agree(network, data):
    prepared = Prepare()(tvm.IRModule.from_expr(network))
    extracted = extract_with_calls(prepared)
    graph = extracted.graph
    if not graph.kernels:
        return
    work = [sum(rule_for(c).flops(c) for c in calls if c.op.name in EXACT) for calls in extracted.calls]
    for members, axis, cut in chains(data, graph, 2):
        plan, split, number = split_alone(prepared, extracted, members, axis, cut)
        shares = plan.segments[number].shares(graph)
        expected = needed_by_shares(graph, members, shares)
        found = read_by_shares(split, plan, number, graph)
        label = f"kernels {members} along {axis} at {cut}"
        groups = any(graph.kernels[k].axis(shares.dims[k]).granule > 1 for k in members)
        event("with groups" if groups else "without groups")
        for device in ("gpu", "cpu"):
            if not groups and not any("concatenate+" in graph.kernels[k].name for k in members):
                assert found[device] == expected[device], f"{label}: {device}"
            else:
                # What is fused after a grouped convolution need not be computed for whole groups, and what two parts
                # of a concatenation need is counted whole.
                assert set(found[device]) <= set(expected[device])
                for value, r in found[device].items():
                    whole = expected[device][value]
                    assert whole is None or (r is not None and union(r, whole) == whole), f"{label}: {device} {value}"
            ranges = getattr(shares, device)
            names = [v.name_hint for v in split.get_global_vars()]
            want = sum(
                work[k] * (ranges[k][1] - ranges[k][0]) / graph.kernels[k].axis(shares.dims[k]).extent for k in members
            )
            name = f"coexec_{number}_{device}"
            assert (heavy_flops(split[name]) if name in names else 0.0) == pytest.approx(want), f"{label}: {device}"
