"""Frozen plans: the zoo's networks and random graphs, planned with frozen profiles.

A change of the planner, of the cost models or of extraction that is meant to keep plans as they are must leave every
byte of these files as it is. Where a change means to alter plans, write the files again and read the difference::

    python -m tests.planner.goldens --write            # all of them
    python -m tests.planner.goldens --write resnet50   # some of them

``golden/profiles`` are copies of the package's profiles: fitting a profile again does not touch the goldens.
``golden/graphs`` are the kernel graphs of the networks: planning them needs no TVM. Where extraction, rules or the zoo
change on purpose, write them again, and then the plans (that takes minutes, and TVM)::

    python -m tests.planner.goldens --graphs           # or some of them
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.cost_models import Profile
from tvm_coexec.planner import STRATEGIES, make_plan

FOLDER = Path(__file__).parent / "golden"
NETWORKS = (
    *("alexnet", "bert_base", "densenet121", "inception_v1", "inception_v2", "mobilenet", "resnet50"),
    *("shufflenet", "squeezenet", "vgg19", "zfnet512"),
)
RANDOM = range(50)
PROFILES = ("test_bed", "generic")
# Options beyond `strategy`: fixed ratios, single axes, and what the objective and the margin change.
OPTIONS = (
    {"ratio": 0.5},
    {"ratio": 0.3, "axis": "h"},
    {"axis": "oc"},
    {"min_gain": 0.0},
    {"ratio": 0.4, "strategy": "codl"},
    {"strategy": "neurosurgeon", "bandwidth": 1e9},
)
# The search of these walks through every plan: for small graphs only.
EXHAUSTIVE_KERNELS = 6


def profile(name: str) -> Profile:
    """The frozen profile of that name."""
    return Profile.load(FOLDER / "profiles" / f"{name}.json")


def network_text(graph: KernelGraph) -> str:
    """All plans of a network, one section each."""
    return "".join(_sections(graph))


def random_text() -> str:
    """All plans of the random graphs, one section each."""
    return "".join(_random_sections())


def _sections(graph: KernelGraph) -> Iterator[str]:
    for name in PROFILES:
        costs = profile(name)
        for strategy in STRATEGIES:
            if strategy != "exhaustive":
                yield _section(graph, costs, {"strategy": strategy}, f"profile {name}, ")
    costs = profile(PROFILES[0])
    for options in OPTIONS:
        yield _section(graph, costs, options, f"profile {PROFILES[0]}, ")


def _random_sections() -> Iterator[str]:
    for seed in RANDOM:
        kernels = 2 + seed % 23
        graph, costs = random_graph(seed, kernels), RandomCosts(seed, 1.0 + 0.2 * (seed % 2))
        others = [s for s in STRATEGIES if s != "coexec" and (s != "exhaustive" or kernels <= EXHAUSTIVE_KERNELS)]
        for strategy in ("coexec", others[seed % len(others)]):
            yield _section(graph, costs, {"strategy": strategy, "min_gain": 0.0}, f"graph {seed}, ")


def _section(graph: KernelGraph, costs: object, options: dict, title: str) -> str:
    text = ", ".join(f"{k} {v}" for k, v in options.items())
    try:
        plan = make_plan(graph, costs, **options).to_json()  # type: ignore[arg-type]
    except CoExecError as err:
        plan = f"{err}\n"
    return f"# {title}{text}\n{plan}"


def graph_path(network: str) -> Path:
    """The frozen kernel graph of a network of the zoo."""
    return FOLDER / "graphs" / f"{network}.json"


def load_graph(network: str) -> KernelGraph:
    """The frozen kernel graph of a network of the zoo."""
    return KernelGraph.load(graph_path(network))


def extract(network: str) -> KernelGraph:
    """The kernels of a network of the zoo as they are now; needs TVM."""
    from tvm_coexec.measuring.read_model import load_model

    return load_model(network).graph()


def main() -> None:
    """Write the goldens."""
    parser = argparse.ArgumentParser(description="Write the frozen plans again. Read the difference before a commit.")
    parser.add_argument("--write", nargs="*", metavar="NAME", help="plans of networks, or random (default: all)")
    parser.add_argument("--graphs", nargs="*", metavar="NAME", help="kernel graphs of networks (default: all)")
    args = parser.parse_args()
    if args.write is None and args.graphs is None:
        parser.error("give --write or --graphs")
    for name in [] if args.graphs is None else args.graphs or NETWORKS:
        extract(name).save(graph_path(name))
        print(f"{name}: {graph_path(name).stat().st_size} bytes")
    for name in [] if args.write is None else args.write or [*NETWORKS, "random"]:
        text = random_text() if name == "random" else network_text(load_graph(name))
        (FOLDER / f"{name}.plans.txt").write_text(text)
        print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
