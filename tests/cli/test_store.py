"""``coexec store``: add, list, export, and look up a saved kernel graph."""

from __future__ import annotations

import json

from tests.cost_models.test_store import GRAPH, measured
from tests.planner import goldens
from tvm_coexec.cost_models.store import Entry, LatencyStore, entries_of


def test_the_command(coexec, samples_file, tmp_path):
    store, out = tmp_path / "s.sqlite", tmp_path / "out.jsonl"
    done = coexec("store", "list", "--store", store)
    assert done.code == 2 and f"there is no store {store}" in done.err and done.err.count("\n") == 1
    done = coexec("store", "add", samples_file, "--store", store)
    assert done.code == 0 and "measurements are new" in done.out
    assert "0 of" in coexec("store", "add", samples_file, "--store", store).out
    LatencyStore(store).add(entries_of(measured()))
    listed = coexec("store", "list", "--store", store).out
    assert "C + G" in listed and "kernel" in listed
    assert coexec("store", "export", "--store", store, "-o", out).code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Entry(**d) for d in lines] == LatencyStore(store).find()
    answer = tmp_path / "answer.json"
    done = coexec("store", "query", goldens.graph_path("squeezenet"), "--store", store, "--json", answer)
    assert done.code == 0 and f"of {len(GRAPH.kernels)} kernels were measured" in done.out
    assert "whole network on both (C + G): 150.000 ms" in done.out
    found = json.loads(answer.read_text())
    assert found["graph"] == GRAPH.fingerprint() and found["kernels_s"]["gpu"][1] == 2e-3
    assert found["kernels_s"]["gpu"][-1] is None
