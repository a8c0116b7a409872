"""The store of measured latencies."""

from __future__ import annotations

import sqlite3

import pytest

from tests.planner import goldens
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.dataset import Sample, Samples
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.plan_records import PlanRecord
from tvm_coexec.cost_models.store import Entry, LatencyStore, entries_of, hash_kernel

GRAPH = goldens.load_graph("squeezenet")


def measured(seconds: float = 1e-3, machine: str = "C") -> Samples:
    """Both devices' times of the first kernels of a network, one share, a whole network and a plan."""
    header = {"devices": {"cpu": {"target": "llvm", "name": machine}, "gpu": {"target": "opencl", "name": "G"}}}
    found = Samples({**header, "started": "2026-01-02T03:04:05"})
    for i, k in enumerate(GRAPH.kernels[:4]):
        for device in ("cpu", "gpu"):
            w = describe(k, device)
            found.samples.append(Sample(device, w, seconds * (i + 1), kernel=k.name, signature=k.signature()))
    w, k = found.samples[0].workload, GRAPH.kernels[0]
    found.samples.append(Sample("cpu", w, seconds / 2, kernel=k.name, signature=k.signature(), dim=1, rows=(0, 8)))
    found.samples.append(Sample("cpu", w, 0.0, kernel=k.name, signature="other", error="it crashed"))
    found.networks.append({"network": "squeezenet", "device": "cpu", "kernels": 9.0, "sum_s": 0.1, "seconds": 0.2})
    found.plans.append(PlanRecord(GRAPH.fingerprint(), "s", "coexec", "both", 3, 0.1, 0.15, 0.2, at="today"))
    return found


def test_entries_are_found_by_hash(tmp_path):
    store = LatencyStore(tmp_path / "s.sqlite")
    assert store.add(entries_of(measured(), "a.jsonl")) == 11
    again = LatencyStore(tmp_path / "s.sqlite")
    first = GRAPH.kernels[0]
    found = again.find(hash=hash_kernel(first.signature()), device="gpu")
    assert found == [
        Entry(hash_kernel(first.signature()), "kernel", first.name, "gpu", "G", "opencl", 1e-3, "a.jsonl",
              "2026-01-02T03:04:05")
    ]  # fmt: skip
    by_kernel = again.find_kernels(GRAPH, "cpu")
    known = {hash_kernel(k.signature()) for k in GRAPH.kernels[:4]}
    assert [e is not None for e in by_kernel] == [hash_kernel(k.signature()) in known for k in GRAPH.kernels]
    assert again.find(hash=hash_kernel(first.signature(), 1, (0, 8)))[0].kind == "share"
    assert again.find(hash=GRAPH.fingerprint())[0].machine == "C + G"
    assert not any(again.find_kernels(GRAPH, "cpu", machine="another"))


def test_the_shorter_time_is_kept(tmp_path):
    store = LatencyStore(tmp_path / "s.sqlite")
    store.add(entries_of(measured(1e-3)))
    assert store.add(entries_of(measured(2e-3))) == 0
    assert store.add(entries_of(measured(0.5e-3))) == 9  # the network and the plan took as long
    assert min(e.seconds for e in store.find(kind="kernel")) == 0.5e-3
    assert store.add(entries_of(measured(1e-3, machine="D"))) == 7  # another CPU: its kernels, share, network and plan
    assert {r["machine"] for r in store.count()} == {"C", "D", "G", "C + G", "D + G"}


def test_wrong_files(tmp_path):
    with pytest.raises(CoExecError, match="there is no store"):
        LatencyStore(tmp_path / "none.sqlite", create=False)
    (tmp_path / "text.sqlite").write_text("no database at all, but some text " * 20)
    with pytest.raises(CoExecError, match=r"can't use the store .*text\.sqlite"):
        LatencyStore(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(CoExecError, match=r"other\.sqlite is not a store of version 1"):
        LatencyStore(tmp_path / "other.sqlite")
    LatencyStore(tmp_path / "s.sqlite")
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(CoExecError, match="not a store of version 1"):
        LatencyStore(tmp_path / "s.sqlite")
    store = LatencyStore(tmp_path / "t.sqlite")
    with pytest.raises(CoExecError, match="no column 'colour'"):
        store.find(colour="red")
    content = (tmp_path / "t.sqlite").read_bytes()
    (tmp_path / "t.sqlite").write_bytes(content[: len(content) // 2])
    with pytest.raises(CoExecError, match=r"t\.sqlite"):
        LatencyStore(tmp_path / "t.sqlite").find()


def test_nothing_is_added_if_one_entry_is_wrong(tmp_path):
    store = LatencyStore(tmp_path / "s.sqlite")
    good = entries_of(measured())
    with pytest.raises(CoExecError, match=r"s\.sqlite"):
        store.add([*good, Entry("h", "kernel", "k", "cpu", "C", "llvm", None)])
    assert store.find() == []
