"""Measured costs: what is measured, kept, reused, and how failures are treated."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import tvm

import tvm_coexec
from tests import models
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import MeasuredCosts
from tvm_coexec.cost_models import shipped as profiles
from tvm_coexec.cost_models.measured import WHOLE
from tvm_coexec.measuring import on_the_spot as profiling
from tvm_coexec.planner import make_plan
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path))
    return tmp_path / "profiles"


def test_every_kernel_is_measured_once_on_both_devices(cache, monkeypatch):
    prepared = Prepare()(models.residual_net())
    cpu, gpu = tvm_coexec.targets()
    costs = profiling.measure(prepared, cpu, gpu)
    for kernel in extract(prepared).kernels:
        for device in ("cpu", "gpu"):
            assert costs.has(device, kernel.signature(), WHOLE, 0)
            assert 0 < costs.whole_s(device, kernel) < 10
    assert not costs.unmeasured

    def again(self, job):
        raise AssertionError("measured a second time")

    monkeypatch.setattr(profiling._Meter, "_measure", again)
    from_file = profiling.measure(prepared, cpu, gpu)
    assert from_file.table == costs.table


def test_a_network_is_measured_as_a_whole(cache, monkeypatch):
    """Kernels one by one pack and unpack what neighbours hand on as it is: a plan must beat the network itself."""
    prepared = Prepare()(models.conv_chain(2))
    costs = profiling.measure(prepared, *tvm_coexec.targets())
    graph = extract(prepared)
    assert all(0 < costs.alone_s(d, graph) < 10 for d in ("cpu", "gpu"))
    (file,) = cache.glob("*.json")
    again = MeasuredCosts.load(str(file))
    assert again.networks == costs.networks
    again.networks = {key: 1e-9 for key in again.networks}
    assert not make_plan(graph, again).chains, "nothing is faster than the network alone"


def test_shares_are_measured_where_a_split_may_pay(cache, monkeypatch):
    monkeypatch.setattr(profiling, "WORTH_GAIN", 0.0)
    monkeypatch.setattr(profiling, "WORTH_PART", 0.0)
    prepared = Prepare()(models.conv_chain(1))
    cpu, gpu = tvm_coexec.targets()
    costs = profiling.measure(prepared, cpu, gpu)
    dims = {(device, dim) for device, _, dim in costs.table}
    assert dims >= {("cpu", WHOLE), ("gpu", WHOLE), ("cpu", 1), ("gpu", 1), ("cpu", 2), ("gpu", 2)}


def test_the_shares_of_the_best_plan_are_measured(cache, monkeypatch):
    """Not only what lies on lines between measured ones; here a share takes less than its part of the whole."""
    monkeypatch.setattr(profiling, "WORTH_GAIN", 1.0)
    monkeypatch.setattr(profiling._Meter, "_measure", lambda self, job: 1.0 if job.dim == WHOLE else 0.1)
    monkeypatch.setattr(profiling._Meter, "networks", lambda self, graph: None)  # really measured, it would be faster
    monkeypatch.setattr(profiling, "ROUNDS", 50)
    prepared = Prepare()(models.conv_chain(2))
    costs = profiling.measure(prepared, *tvm_coexec.targets())
    graph = extract(prepared)
    chains = make_plan(graph, costs, min_gain=0.0).chains
    assert chains
    for segment in chains:
        shares = segment.shares(graph)
        for k in segment.kernels:
            for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
                rows = ranges[k][1] - ranges[k][0]
                assert costs.has(device, graph.kernels[k].signature(), shares.dims[k], rows)


def test_a_kernel_that_fails_is_named_and_not_kept(cache, monkeypatch, caplog):
    measure = profiling._Meter._measure

    def fails_on_gpu(self, job):
        if job.device == "gpu":
            raise tvm.TVMError("first line\nno such instruction")
        return measure(self, job)

    monkeypatch.setattr(profiling._Meter, "_measure", fails_on_gpu)
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(models.conv_chain(1), profile="measure"))
    assert "can't run on the gpu: no such instruction" in caplog.text
    assert [s.device for s in plan.segments] == ["cpu"]
    (file,) = cache.glob("*.json")
    assert {d for d, _, _ in MeasuredCosts.load(str(file)).table} == {"cpu"}


def test_cache_can_be_off(monkeypatch, tmp_path):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", "off")
    monkeypatch.chdir(tmp_path)
    tvm_coexec.partition_for_coexec(models.conv_chain(1), profile="measure")
    assert list(tmp_path.iterdir()) == []


def test_targets_of_other_machines_are_planned_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        split = tvm_coexec.partition_for_coexec(models.conv_chain(), cpu="llvm -mtriple=riscv64-linux-gnu")
    assert "the CPU target is for riscv64-linux-gnu" in caplog.text
    assert tvm_coexec.plan_of(split).costs.startswith("generic: ")


def test_measuring_on_request_only_where_the_devices_are(cache):
    with pytest.raises(CoExecError, match=r"profile 'measure'.*riscv64"):
        tvm_coexec.partition_for_coexec(models.conv_chain(), cpu="llvm -mtriple=riscv64-linux-gnu", profile="measure")
    split = tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="measure")
    assert tvm_coexec.plan_of(split).costs.startswith("measured here")


def test_profiles_that_come_with_the_package(monkeypatch, caplog):
    assert "generic" in profiles.names() and profiles.path_of("nobody's") is None
    split = tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="generic")
    assert tvm_coexec.plan_of(split).costs.startswith("generic: ")
    for name in profiles.names():
        assert profiles.path_of(name).stat().st_size < 2 * 4096 + 2048
    # one of these very devices is taken without measuring, and says so
    mine = replace(profiles.Profile.load(profiles.path_of("generic")), description="of this machine")
    monkeypatch.setattr(profiles, "matching", lambda targets, devices: ("mine", mine))
    monkeypatch.setattr(profiling, "measure", lambda *a, **k: pytest.fail("measured"))
    with caplog.at_level(logging.INFO, "tvm_coexec"):
        split = tvm_coexec.partition_for_coexec(models.conv_chain(2))
    assert tvm_coexec.plan_of(split).costs == "of this machine" and "'mine'" in caplog.text


def test_a_profile_of_other_devices_plans_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="generic")
        assert "other devices" not in caplog.text
        tvm_coexec.partition_for_coexec(models.conv_chain(2), cpu="llvm -mcpu=core-avx2", profile="test_bed")
    assert "the profile test_bed is of other devices (cpu target 'llvm -keys=cpu " in caplog.text
    with pytest.raises(CoExecError, match="there is no profile genric: give a file of `coexec fit`, or one of generic"):
        tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="genric")


def test_measuring_that_nobody_asked_for_is_said(cache, monkeypatch, caplog):
    monkeypatch.setattr(profiles, "matching", lambda targets, devices: None)
    for words in (True, False):  # the second time nothing is measured
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tvm_coexec"):
            tvm_coexec.partition_for_coexec(models.conv_chain(1))
        assert ("are measured on both devices now" in caplog.text) == words


def test_a_profile_matches_by_targets_and_devices():
    for name in profiles.names():
        profile = profiles.Profile.load(profiles.path_of(name))
        found = profiles.matching(profile.targets, profile.names)
        assert (found is None) == (name == "generic") and (found is None or found[0] == name)
        assert profiles.matching(profile.targets, {**profile.names, "gpu": "another"}) is None


def test_profile_file_is_used(cache, tmp_path):
    mod = models.conv_chain(2)
    prepared = Prepare()(mod)
    costs = profiling.measure(prepared, *tvm_coexec.targets())
    path = str(tmp_path / "own.json")
    costs.save(path)
    split = tvm_coexec.partition_for_coexec(mod, profile=path)
    assert tvm_coexec.plan_of(split).costs == costs.description
