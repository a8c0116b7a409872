"""Plans are what they were, byte for byte; see `tests.planner.goldens`."""

from __future__ import annotations

import pytest

from tests.planner import goldens

pytestmark = pytest.mark.slow

HINT = "python -m tests.planner.goldens --write {} writes the plans again, where a change is meant to alter them"


def _same(name: str, text: str) -> None:
    frozen = (goldens.FOLDER / f"{name}.plans.txt").read_text()
    for line, (now, before) in enumerate(zip(text.splitlines(), frozen.splitlines(), strict=False), 1):
        assert now == before, f"line {line} of {name}.plans.txt; {HINT.format(name)}"
    assert text == frozen, HINT.format(name)


def test_random_graphs() -> None:
    _same("random", goldens.random_text())


@pytest.mark.parametrize("network", goldens.NETWORKS)
def test_network(network: str) -> None:
    _same(network, goldens.network_text(goldens.load_graph(network)))


# The others take a minute and more each; their frozen graphs are of the same rules.
@pytest.mark.llvm
@pytest.mark.parametrize("network", ["alexnet", "shufflenet", "squeezenet"])
def test_networks_are_extracted_as_they_were(network: str) -> None:
    now, frozen = goldens.extract(network).to_json(), goldens.graph_path(network).read_text()
    for line, (a, b) in enumerate(zip(now.splitlines(), frozen.splitlines(), strict=False), 1):
        assert a == b, f"line {line} of {network}.json; python -m tests.planner.goldens --graphs {network} writes it"
    assert now == frozen
