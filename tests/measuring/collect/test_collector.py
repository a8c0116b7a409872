"""Collections: what is in the file, going on, failures, budgets, RPC."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests import models
from tests.tvmc.test_remote import server, tracker  # noqa: F401 (a fixture)
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import read_samples
from tvm_coexec.cost_models.device_parameters import parse_parameters
from tvm_coexec.measuring import reference
from tvm_coexec.measuring.collect import collector as collecting
from tvm_coexec.measuring.collect.collector import Options, collect
from tvm_coexec.measuring.pieces import KernelBuilder
from tvm_coexec.measuring.read_model import Model
from tvm_coexec.remote import Server

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

QUICK = Options(cuts=1, repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0, processes=1, contention=False)


@pytest.fixture(autouse=True)
def other_tests_may_slow_this_machine(monkeypatch):
    monkeypatch.setattr(reference, "MAX_SPEED_RATIO", 20.0)


@pytest.fixture(scope="module")
def chain():
    return [Model("chain", models.conv_chain(2), {})]


@pytest.fixture(scope="module")
def measured(chain, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("collect") / "s.jsonl")
    summary = collect(chain, path, QUICK)
    return path, summary


@pytest.fixture
def started(measured, tmp_path) -> str:
    """A file in which the references and the links are measured, but no kernel."""
    lines = Path(measured[0]).read_text().splitlines(keepends=True)
    path = tmp_path / "started.jsonl"
    path.write_text("".join(line for line in lines if json.loads(line).get("record") not in ("sample", "network")))
    return str(path)


def test_kernels_shares_links_and_networks_are_in_the_file(measured):
    path, summary = measured
    samples = read_samples(path)
    # one kernel (both convolutions are equal): whole and four axes, on two devices
    assert summary.measured == len(samples.samples) == 10 and not summary.failed
    assert {(s.device, s.dim) for s in samples.usable} == {(d, n) for d in ("cpu", "gpu") for n in (-1, 1, 2, 3)}
    for s in samples.samples:
        assert 0 < s.seconds < 10 and s.spread >= 0 and s.repeats >= 2 and s.network == "chain"
        assert (
            s.workload.kind == "conv" and s.pace >= 1.0 and (s.dim == -1 if s.rows is None else s.dim in (-1, 1, 2, 3))
        )
    assert {c["link"] for c in samples.links} == {"upload", "download", "host_copy"} and samples.round_trips
    (unified,) = samples.unified
    assert unified["memory"] in ("mapped", "shared") and 0 < unified["start_s"] <= unified["seconds"] < 0.01
    assert {c["link"] for c in samples.tvm_links} == {"upload", "download"} and "runtime" not in samples.header
    smallest = [
        min(c["seconds"] for c in links if c["link"] == "upload") for links in (samples.links, samples.tvm_links)
    ]
    assert smallest[0] < smallest[1]  # TVM's own runtime waits for the driver
    assert {(n["network"], n["device"], n["kernels"]) for n in samples.networks} == {
        ("chain", "cpu", 2),
        ("chain", "gpu", 2),
    }
    assert samples.header["devices"]["cpu"]["threads"] == "1" and "opencl" in samples.header["devices"]["gpu"]["target"]
    parameters = parse_parameters(samples.header["parameters"])
    assert parameters["cpu"].bandwidth_bytes_per_s > 1e8 and parameters["gpu"].cores >= 1


def test_what_is_in_the_file_is_not_measured_again(measured, chain):
    path, _ = measured
    before = Path(path).read_bytes()
    summary = collect(chain, path, QUICK)
    assert (summary.measured, summary.found) == (0, 10)
    assert Path(path).read_bytes() == before


def test_an_interrupted_run_goes_on(measured, chain, tmp_path):
    text = Path(measured[0]).read_text()
    lines = text.splitlines(keepends=True)
    path = tmp_path / "s.jsonl"
    path.write_text("".join(lines[:6]) + lines[6][:30])  # header, both references, three kernels
    summary = collect(chain, str(path), replace(QUICK, networks=False))
    assert (summary.measured, summary.found) == (7, 3)
    assert len({s.key for s in read_samples(path).samples}) == 10


def test_another_pace_needs_another_file(measured, chain, tmp_path, monkeypatch):
    text = Path(measured[0]).read_text()
    references = [json.loads(line) for line in text.splitlines() if '"reference"' in line]
    assert [r["device"] for r in references] == ["cpu", "gpu"] and all(0 < r["seconds"] < 1 for r in references)
    kernels = [line for line in text.splitlines(keepends=True)[1:5] if '"sample"' in line]
    slow = json.dumps(references[0] | {"seconds": references[0]["seconds"] / 100}) + "\n"
    path = tmp_path / "s.jsonl"
    path.write_text(text.splitlines(keepends=True)[0] + slow + "".join(kernels))
    before = path.read_text()
    monkeypatch.setattr(reference, "REFERENCE_TRIES", 1)
    with pytest.raises(CoExecError, match=r"s\.jsonl: the cpu takes [\d.]+ times as long .* start a new file"):
        collect(chain, str(path), QUICK)
    assert path.read_text() == before


def test_a_time_budget_ends_the_run_early(chain, started):
    summary = collect(chain, started, replace(QUICK, budget_s=1e-9, networks=False))
    assert (summary.measured, summary.left) == (0, 10) and not read_samples(started).samples


def test_other_targets_need_another_file(measured, chain):
    with pytest.raises(CoExecError, match="cpu target"):
        collect(chain, measured[0], replace(QUICK, cpu="llvm -mcpu=x86-64-v2"))


def test_one_bad_kernel_is_recorded_and_skipped(chain, started):
    stock = KernelBuilder.build

    def build(self, piece):
        if piece.dim == 1 and piece.device == "gpu":
            raise ValueError("no such instruction")
        if piece.dim == 2 and piece.device == "cpu":
            import os

            os._exit(7)  # the compiler crashed
        return stock(self, piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KernelBuilder, "build", build)  # compiling processes are forked: they have it, too
        summary = collect(chain, started, replace(QUICK, networks=False))
    failed = {(s.device, s.dim): s.error for s in read_samples(started).samples if s.error}
    assert failed == {
        ("gpu", 1): "compiling: no such instruction",
        ("cpu", 2): "compiling: the process ended (exit status 7)",
    }
    assert summary.measured == 10 and len(summary.failed) == 2
    assert collect(chain, started, replace(QUICK, networks=False)).measured == 0
    assert collect(chain, started, replace(QUICK, networks=False, retry=True)).measured == 2


def test_a_kernel_that_hangs_is_ended(chain, started, monkeypatch):
    stock = KernelBuilder.build

    def build(self, piece):
        if piece.dim == 3 and piece.device == "cpu":
            import time

            time.sleep(600)
        return stock(self, piece)

    monkeypatch.setattr(KernelBuilder, "build", build)
    collect(chain, started, replace(QUICK, networks=False, compile_timeout_s=15))
    errors = [s.error for s in read_samples(started).samples if s.error]
    assert errors == ["compiling: it did not end in time"]


def test_kernels_are_timed_while_the_other_device_is_busy(chain, started, monkeypatch):
    monkeypatch.setattr(collecting.extras, "CONTENTION_BETWEEN_S", (0.0, 10.0))
    monkeypatch.setattr(collecting.extras, "CONTENTION_REPEAT_MS", 2)
    collect(chain, started, replace(QUICK, cuts=0, networks=False, contention=True))
    found = read_samples(started).contention
    assert [c["device"] for c in found] == ["cpu", "gpu"]
    assert all(c["alone_s"] > 0 and c["together_s"] > 0 and c["other_s"] > 0 for c in found)
    assert found[0]["workload"] == found[1]["other"] and found[0]["other_s"] == found[1]["alone_s"]


def test_links_are_measured_although_no_kernel_is_left(chain, measured, tmp_path):
    lines = Path(measured[0]).read_text().splitlines(keepends=True)
    without = tmp_path / "s.jsonl"
    without.write_text("".join(line for line in lines if not re.search('"record":"(copy|meeting|enqueue)"', line)))
    summary = collect(chain, str(without), replace(QUICK, networks=False, compile_timeout_s=30))
    found = read_samples(without)
    assert summary.measured == 0 and found.links and found.round_trips and found.enqueues


@pytest.mark.remote
def test_devices_over_rpc(chain, tmp_path, tracker):  # noqa: F811
    path = str(tmp_path / "s.jsonl")
    with server("tvm.exec.rpc_server", tracker, "board"):  # the stock one: the runtime is loaded there
        options = replace(QUICK, server=Server(None, tracker, "board"))
        summary = collect(chain, path, options)
        with pytest.raises(CoExecError, match="no device 'desk'; it has: board"):
            collect(chain, str(tmp_path / "other.jsonl"), replace(options, server=Server(None, tracker, "desk")))
    samples = read_samples(path)
    assert summary.measured == 10 and not summary.failed
    assert samples.header["devices"]["cpu"]["name"] == "rpc:board"
    assert list(samples.header["parameters"]) == ["gpu"] and samples.header["parameters"]["gpu"]["cores"] >= 1
    assert len(samples.networks) == 2 and samples.links and samples.round_trips
