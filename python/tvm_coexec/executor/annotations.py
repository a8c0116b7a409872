"""What a compiled module says of its plan: which node is part of which segment, and what the plan expected.

It stands in the graph's JSON, under the key ``metadata``, where the stock executor stops reading::

    {"coexec": {"version": 1,
                "segments": [{"device": "split", "chain": 0, "axis": "oc", "cut": 32, "extent": 64}, ...],
                "nodes": {"<node name>": [segment, role], ...},
                "expected": {"total_ns": n, "bytes_moved": n, "sync_points": n,
                             "events": [[lane, start_ns, end_ns, what, segment], ...]}}}

Roles are those of a timeline: ``work``, ``slice``, ``upload``, ``download``, ``join``. Of a copy to the CPU and of a
join the segment is the one whose result it is. Without costs a plan expects nothing, and ``expected`` is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tvm
from tvm import relay

from tvm_coexec.core import naming
from tvm_coexec.core.plan import Plan
from tvm_coexec.report.report import Report

from .graph_json import Graph, write_json

if TYPE_CHECKING:
    from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

logger = logging.getLogger("tvm_coexec")

KEY, VERSION = "coexec", 1


@tvm.instrument.pass_instrument
class Lowered:
    """A pass instrument that keeps the module of which the executor's graph is made.

    Attributes
    ----------
    mod : IRModule or None
        The last one that was lowered.
    """

    def __init__(self) -> None:
        self.mod: tvm.IRModule | None = None

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """Called by TVM."""
        if info.name == "LowerTE":
            self.mod = mod


def described(
    build: Callable[[], GraphExecutorFactoryModule], plan: Plan, report: Report | None, lowered: Lowered | None = None
) -> GraphExecutorFactoryModule:
    """Build a co-executed module, and let its graph say what is what.

    Parameters
    ----------
    build : callable
        Calls `relay.build`.
    plan : Plan
        What the module was divided by.
    report : Report, optional
        What the pass said of it.
    lowered : Lowered, optional
        An instrument of the current pass context; if not given, `build` runs in a context that has one more.

    Returns
    -------
    GraphExecutorFactoryModule
        What `build` returned, with another graph.
    """
    if lowered is None:
        lowered = Lowered()
        with _instrumented(lowered):
            factory = build()
    else:
        lowered.mod = None  # the kernels that were measured before
        factory = build()
    text = factory.get_graph_json()
    content = {"version": VERSION, "segments": _segments(plan, report), "nodes": _nodes(text, lowered.mod, plan)}
    if report is not None and report.simulated is not None:
        content["expected"] = _expected(report)
    _set_graph(factory, with_metadata(text, {KEY: content}))
    return factory


def with_metadata(graph_json: str, content: dict) -> str:
    """The graph with a ``metadata`` entry behind all others."""
    return f'{graph_json.rstrip()[:-1].rstrip()},\n  "metadata": {write_json(content, (",", ":"))}\n}}'


def metadata_of(graph: Graph) -> dict | None:
    """What `described` wrote into a graph; `None` for a graph without, or with that of another version."""
    found = (graph.document.get("metadata") or {}).get(KEY)
    return found if found is not None and found.get("version") == VERSION else None


@contextmanager
def _instrumented(lowered: Lowered) -> Iterator[None]:
    context = tvm.transform.PassContext.current()
    with tvm.transform.PassContext(
        opt_level=context.opt_level,
        required_pass=list(context.required_pass),
        disabled_pass=list(context.disabled_pass),
        instruments=[*context.instruments, lowered],
        config=dict(context.config.items()),
    ):
        yield


def _set_graph(factory: GraphExecutorFactoryModule, graph_json: str) -> None:
    """Put another graph into a factory, without a copy of its weights."""
    create = tvm.get_global_func("tvm.graph_executor_factory.create")
    weights = [part for pair in factory.params.items() for part in pair]
    factory.module = create(graph_json, factory.lib, factory.libmod_name, *weights)
    factory.graph_json = graph_json


def _segments(plan: Plan, report: Report | None) -> list[dict]:
    rows: list[dict] = []
    told = report.segments() if report is not None else [{}] * len(plan.segments)
    chains = 0
    for segment, more in zip(plan.segments, told, strict=True):
        row: dict = {"device": segment.device, "chain": -1}
        if segment.device == "split":
            row |= {"chain": chains, "axis": segment.axis, "cut": segment.cut}
            chains += 1
            if "extent" in more:
                row["extent"] = more["extent"]
        rows.append(row)
    return rows


def _expected(report: Report) -> dict:
    sim = report.simulated
    assert sim is not None
    return {
        "total_ns": _ns(sim.now_s),
        "bytes_moved": round(sim.totals.bytes_moved),
        "sync_points": sim.sync_points,
        "events": [[e.lane, _ns(e.start_s), _ns(e.end_s), e.what, e.segment] for e in sim.events],
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _nodes(graph_json: str, lowered: tvm.IRModule | None, plan: Plan) -> dict[str, list]:
    """Segment and role of each operator node, by name; empty where TVM made a graph that its module doesn't explain."""
    names = [n.name for n in Graph(graph_json).nodes if n.function]
    found = [] if lowered is None else roles_of(lowered)
    if not found and len(plan.segments) == 1:  # all on the CPU: no let chain
        return {name: [0, "work"] for name in names}
    if len(found) != len(names):
        logger.debug("a graph of %d nodes, but %d calls in its module: no metadata", len(names), len(found))
        return {}
    return {name: list(what) for name, what in zip(names, found, strict=True)}


def roles_of(lowered: tvm.IRModule) -> list[tuple[int, str]]:
    """Segment and role of each call of a lowered module's let chain, in the order in which TVM makes nodes of them."""
    found: list[tuple[int, str]] = []
    segments: dict[relay.Var, int] = {}
    seen: set[relay.Call] = set()
    body = lowered["main"].body
    while isinstance(body, relay.Let):
        calls, read = _calls_and_vars(body.value)
        source = max((segments.get(v, -1) for v in read), default=-1)
        segment, role = _what(body.var.name_hint, source)
        segments[body.var] = segment
        fresh = [c for c in calls if c not in seen]
        seen.update(fresh)
        found += [(segment, naming.WORK if role == naming.FIELD else role)] * len(fresh)
        body = body.body
    return found


def _calls_and_vars(value: relay.Expr) -> tuple[list[relay.Call], list[relay.Var]]:
    calls: list[relay.Call] = []
    read: list[relay.Var] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and node.op != relay.op.get("on_device"):
            calls.append(node)
        elif isinstance(node, relay.Var):
            read.append(node)

    relay.analysis.post_order_visit(value, visit)
    return calls, read


def _what(name: str, source: int) -> tuple[int, str]:
    """Segment and role of what is bound to a name; `source` is the last segment whose results it reads."""
    binding = naming.parse_binding(name)
    if binding.segment is None or (binding.of_source and source >= 0):
        return source, binding.role
    return binding.segment, binding.role
