"""What a compiled module's graph says beyond TVM's: the segment of each node, expected times, and the memory plan.

The annotations are in the graph's JSON under the last key, ``metadata``, at which the stock executor stops reading::

    {"coexec": {"version": 1,
                "segments": [{"device": "split", "chain": 0, "axis": "oc", "cut": 32, "extent": 64}, ...],
                "nodes": {"<node name>": [segment, role], ...},
                "expected": {"total_ns": n, "bytes_moved": n, "sync_points": n,
                             "events": [[lane, start_ns, end_ns, what, segment], ...]},
                "memory": {...},
                "variants": [...], "weight_bytes": {...}}}

Roles are those of a timeline: ``work``, ``slice``, ``upload``, ``download``, ``join``. A copy to the CPU and a join
belong to the segment that produced the data. A plan made without costs has no ``expected``.
`executor.memory.plan` describes ``memory``, which a module for one device does not have, and `executor.variants` the
last two, which only an adaptive module has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import tvm
from tvm import relay

from tvm_coexec.core import naming
from tvm_coexec.core.plan import Plan
from tvm_coexec.pass_context import change_context
from tvm_coexec.report.report import Report

from .arrays import alignment
from .graph_json import Graph, write_json
from .memory.plan import plan_memory
from .variants import pack_variants

if TYPE_CHECKING:
    from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

logger = logging.getLogger("tvm_coexec")

KEY, VERSION = "coexec", 1


@tvm.instrument.pass_instrument
class LoweringCapture:
    """A pass instrument that keeps the lowered module, from which TVM makes the executor's graph.

    Attributes
    ----------
    mod : IRModule or None
        The module lowered last.
    """

    def __init__(self) -> None:
        self.mod: tvm.IRModule | None = None

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """Called by TVM."""
        if info.name == "LowerTE":
            self.mod = mod


def annotate_graph(
    build: Callable[[], GraphExecutorFactoryModule],
    plan: Plan,
    report: Report | None,
    lowered: LoweringCapture | None = None,
    variants: Mapping[str, GraphExecutorFactoryModule] | None = None,
) -> GraphExecutorFactoryModule:
    """Build a co-executed module and write its plan into the executor's graph.

    Parameters
    ----------
    build : callable
        Calls `relay.build` and returns its result.
    plan : Plan
        The plan that the module was partitioned by.
    report : Report, optional
        The report of the partitioning.
    lowered : LoweringCapture, optional
        An instrument of the current pass context; by default `build` runs in a copy of the context with one added.
    variants : mapping of str to GraphExecutorFactoryModule, optional
        Other programs of an adaptive module, annotated; they become part of the result.

    Returns
    -------
    GraphExecutorFactoryModule
        The result of `build`, its graph annotated.
    """
    if lowered is None:
        lowered = LoweringCapture()
        with change_context(instruments=[*tvm.transform.PassContext.current().instruments, lowered]):
            factory = build()
    else:
        lowered.mod = None  # drop the module of an earlier build, such as that of measured kernels
        factory = build()
    text = factory.get_graph_json()
    content = {"version": VERSION, "segments": _segments(plan, report), "nodes": _nodes(text, lowered.mod, plan)}
    if report is not None and report.simulated is not None:
        content["expected"] = _expected(report)
    if (memory := plan_memory(text, set(factory.params), alignment())) is not None:
        content["memory"] = memory
    if variants is not None:
        content |= pack_variants(factory, variants)
    _set_graph(factory, with_metadata(text, {KEY: content}))
    return factory


def with_metadata(graph_json: str, content: dict) -> str:
    """Return a graph with a ``metadata`` entry after all others.

    Parameters
    ----------
    graph_json : str
        The executor's JSON, without such an entry.
    content : dict
        The entry.

    Returns
    -------
    str
    """
    return f'{graph_json.rstrip()[:-1].rstrip()},\n  "metadata": {write_json(content, (",", ":"))}\n}}'


def add_memory_plan(graph_json: str, weights: set[str]) -> str:
    """Return a graph with a memory plan as its only annotation; the graph itself if it needs none.

    Parameters
    ----------
    graph_json : str
        The executor's JSON of a module for both devices, without annotations.
    weights : set of str
        Names of the inputs that are weights.
    """
    memory = plan_memory(graph_json, weights, alignment())
    if memory is None:
        return graph_json
    return with_metadata(graph_json, {KEY: {"version": VERSION, "segments": [], "nodes": {}, "memory": memory}})


def read_metadata(graph: Graph) -> dict | None:
    """Return what `annotate_graph` wrote into a graph.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    dict or None
        `None` for a graph without annotations, or with those of another version.
    """
    found = (graph.document.get("metadata") or {}).get(KEY)
    return found if found is not None and found.get("version") == VERSION else None


def _set_graph(factory: GraphExecutorFactoryModule, graph_json: str) -> None:
    """Replace a factory's graph without copying its weights."""
    create = tvm.get_global_func("tvm.graph_executor_factory.create")
    weights = [part for pair in factory.params.items() for part in pair]
    factory.module = create(graph_json, factory.lib, factory.libmod_name, *weights)
    factory.graph_json = graph_json


def _segments(plan: Plan, report: Report | None) -> list[dict]:
    rows: list[dict] = []
    details = report.segments() if report is not None else [{}] * len(plan.segments)
    chains = 0
    for segment, detail in zip(plan.segments, details, strict=True):
        row: dict = {"device": segment.device, "chain": -1}
        if segment.device == "split":
            row |= {"chain": chains, "axis": segment.axis, "cut": segment.cut}
            chains += 1
            if "extent" in detail:
                row["extent"] = detail["extent"]
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
    """Return segment and role of each operator node by name; empty if nodes and the module's calls do not match."""
    names = [n.name for n in Graph(graph_json).nodes if n.function]
    found = [] if lowered is None else find_roles(lowered)
    if not found and len(plan.segments) == 1:  # all on the CPU: the module has no let chain
        return {name: [0, "work"] for name in names}
    if len(found) != len(names):
        logger.debug("graph not annotated: it has %d operator nodes, its module %d calls", len(names), len(found))
        return {}
    return {name: list(what) for name, what in zip(names, found, strict=True)}


def find_roles(lowered: tvm.IRModule) -> list[tuple[int, str]]:
    """Return segment and role of each call in a lowered module's let chain.

    Parameters
    ----------
    lowered : IRModule

    Returns
    -------
    list of (int, str)
        In the order in which TVM turns the calls into nodes.
    """
    found: list[tuple[int, str]] = []
    segments: dict[relay.Var, int] = {}
    seen: set[relay.Call] = set()
    body = lowered["main"].body
    while isinstance(body, relay.Let):
        calls, read = _calls_and_vars(body.value)
        source = max((segments.get(v, -1) for v in read), default=-1)
        segment, role = _parse_name(body.var.name_hint, source)
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


def _parse_name(name: str, source: int) -> tuple[int, str]:
    """Return segment and role of the value bound to a name; `source` is the last segment whose results it reads."""
    binding = naming.parse_binding(name)
    if binding.segment is None or (binding.of_source and source >= 0):
        return source, binding.role
    return binding.segment, binding.role
