"""Draw a plan: the network, and the two timelines from the simulator."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Costs
from tvm_coexec.planner import CachedCosts, Simulator, simulate
from tvm_coexec.planner.strategies.single import best_single, on_one

from .network import network
from .scene import Scene
from .timelines import Bar, Lane, timelines

WIDTH = 1280.0
LANES = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class Drawing:
    """A title and pictures, each with a heading."""

    title: str
    scenes: tuple[tuple[str, Scene], ...]


def draw_plan(graph: KernelGraph, plan: Plan, costs: Costs, name: str = "the model", width: float = WIDTH) -> Drawing:
    """Draw a plan.

    Parameters
    ----------
    graph : KernelGraph
    plan : Plan
        A plan that fits the graph (`Plan.check`).
    costs : Costs
    name : str
        Name of the model, for the title.
    width : float
        Pixels.
    """
    cached = CachedCosts(graph, costs)
    sim = simulate(graph, cached, plan.segments)
    device = best_single(graph, cached)
    alone_s = simulate(graph, cached, on_one(graph, device)).now_s
    title = f"{name}: expected {sim.now_s * 1e3:.3f} ms"
    if sim.now_s > 0:
        title += f", {alone_s / sim.now_s:.2f}x the best single device ({LANES[device]}, {alone_s * 1e3:.3f} ms)"
    return Drawing(
        title,
        (
            ("Network: left to right, band by band", network(graph, plan, cached, width)),
            ("Expected timelines", timelines(lanes_of(sim, plan), title, width)),
        ),
    )


def lanes_of(sim: Simulator, plan: Plan) -> tuple[Lane, ...]:
    """Return a simulated run as lanes for `timelines`; copies occupy the host, so they are in the CPU's lane."""
    chain_of, chains = {-1: -1}, 0
    for number, segment in enumerate(plan.segments):
        is_chain = segment.device == "split"
        chain_of[number] = chains if is_chain else -1
        chains += is_chain
    bars: dict[str, list[Bar]] = {device: [] for device in LANES}
    for e in sim.events:
        bars[e.lane].append(Bar(e.start_s, e.end_s, e.what, e.segment, chain_of[e.segment]))
    return tuple(Lane(name, device, tuple(bars[device])) for device, name in LANES.items())
