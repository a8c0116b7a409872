"""Which costs a plan is made with, and what is said of them."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace

import pytest

import tvm_coexec
from tests import models
from tests.measuring.meters import quick
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import shipped as profiles
from tvm_coexec.cost_models.provenance import Provenance
from tvm_coexec.measuring import choose_costs as policy
from tvm_coexec.measuring.choose_costs import choose_costs, load_generic
from tvm_coexec.measuring.host_info import schedules_digest
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


def test_targets_of_other_machines_are_planned_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        split = tvm_coexec.partition_for_coexec(models.conv_chain(), cpu="llvm -mtriple=riscv64-linux-gnu")
    assert "the CPU target is for riscv64-linux-gnu" in caplog.text
    assert tvm_coexec.plan_of(split).costs.startswith("generic: ")


def test_measuring_on_request_only_where_the_devices_are():
    with pytest.raises(CoExecError, match=r"profile 'measure'.*riscv64"):
        tvm_coexec.partition_for_coexec(models.conv_chain(), cpu="llvm -mtriple=riscv64-linux-gnu", profile="measure")


def test_copies_are_those_of_the_runtime(monkeypatch):
    """In use here, asked for, or, for another machine, of the profile."""
    prepared, both = Prepare()(models.conv_chain(2)), tvm_coexec.targets()
    generic = load_generic()

    def choose(profile="generic", runtime=None, targets=both):
        return choose_costs(prepared, *targets, profile, opencl_runtime=runtime).costs

    assert choose().runtime == "own" and choose(runtime="tvm").runtime == "tvm"
    assert choose(profile=generic.on_runtime("tvm")).runtime == "tvm"  # a cost model is taken as it is
    monkeypatch.setenv("TVM_COEXEC_OPENCL_COPIES", "blocking")
    assert choose().runtime == "tvm" and choose(runtime="own").runtime == "own"
    assert choose(targets=tvm_coexec.targets("llvm -mtriple=riscv64-linux-gnu")).runtime == "own"
    split = tvm_coexec.partition_for_coexec(models.conv_chain(2), ratio=0.5)
    assert tvm_coexec.plan_of(split).runtime == "tvm"  # without costs, too
    measured = choose_costs(prepared, *both, "measure").costs
    assert measured.runtime == "tvm" and measured.sync_s == 0.0
    monkeypatch.delenv("TVM_COEXEC_OPENCL_COPIES")
    again = choose_costs(prepared, *both, "measure", opencl_runtime="tvm").costs
    assert (again.upload, again.table) == (
        measured.upload,
        measured.table,
    )  # kept apart from those of the other runtime


def test_profiles_that_come_with_the_package(monkeypatch, caplog):
    assert "generic" in profiles.names() and profiles.path_of("unknown") is None
    split = tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="generic")
    assert tvm_coexec.plan_of(split).costs.startswith("generic: ")
    for name in profiles.names():
        assert profiles.path_of(name).stat().st_size < 2 * 8192 + 2048
    # one of these very devices is taken without measuring, and says so
    mine, asked = replace(load_generic(), description="of this machine"), {}

    def find_matching(targets, devices):
        asked.update(targets=targets, devices=devices)
        return "mine", mine

    monkeypatch.setattr(profiles, "find_matching", find_matching)
    with caplog.at_level(logging.INFO, "tvm_coexec"):
        split = tvm_coexec.partition_for_coexec(models.conv_chain(2))
    assert tvm_coexec.plan_of(split).costs == "of this machine" and "'mine'" in caplog.text
    assert asked["targets"]["cpu"].startswith("llvm") and asked["targets"]["gpu"].startswith("opencl")
    assert "threads: " in asked["devices"]["cpu"] and asked["devices"]["gpu"]


def test_a_profile_of_other_devices_plans_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="generic")
        assert "other devices" not in caplog.text
        tvm_coexec.partition_for_coexec(models.conv_chain(2), cpu="llvm -mcpu=core-avx2", profile="test_bed")
    assert "the profile test_bed is of other devices (cpu target 'llvm -keys=cpu " in caplog.text
    with pytest.raises(CoExecError, match=r"profile .genric. is not a file; give a file or one of measure, generic"):
        tvm_coexec.partition_for_coexec(models.conv_chain(2), profile="genric")


def test_without_a_profile_of_these_devices_kernels_are_measured_with_a_notice(monkeypatch, caplog):
    """Really, by the pass; the second time nothing is measured and nothing is said."""
    monkeypatch.setattr(profiles, "find_matching", lambda targets, devices: None)
    monkeypatch.setattr(policy, "measure", functools.partial(policy.measure, make_meter=quick))
    for notice in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tvm_coexec"):
            split = tvm_coexec.partition_for_coexec(models.conv_chain(1))
        assert ("measuring this model's kernels on both devices" in caplog.text) == notice
        assert tvm_coexec.plan_of(split).costs.startswith("measured here")


def test_where_costs_come_from_is_said(monkeypatch):
    prepared, both = Prepare()(models.conv_chain(1)), tvm_coexec.targets()
    generic = load_generic()
    assert choose_costs(prepared, *both, "generic").origin == "generic"
    assert choose_costs(prepared, *both, generic).costs is generic
    monkeypatch.setattr(policy, "why_not_here", lambda cpu, gpu: "no device")
    assert choose_costs(prepared, *both, None).origin.startswith("generic, of another board")


def test_a_profile_matches_by_targets_and_devices():
    for name in profiles.names():
        profile = profiles.Profile.load(profiles.path_of(name))
        found = profiles.find_matching(profile.targets, profile.names)
        assert (found is None) == (name == "generic") and (found is None or found[0] == name)
        assert profiles.find_matching(profile.targets, {**profile.names, "gpu": "another"}) is None


def test_a_profile_of_other_schedules_warns(caplog, tmp_path):
    prepared, both = Prepare()(models.conv_chain(2)), tvm_coexec.targets()
    generic = load_generic()
    for name, digest, warns in (("a", "old", True), ("b", schedules_digest(), False), ("c", "", False)):
        path = tmp_path / f"{name}.json"
        replace(generic, provenance=Provenance("2026-01-02T03:04:05", digest)).save(path)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tvm_coexec"):
            chosen = choose_costs(prepared, *both, str(path))
        assert ("was measured with other schedules" in caplog.text) == warns
        assert not warns or ("a.json" in caplog.text and "measured 2026-01-02" in caplog.text)
        assert chosen.costs.provenance.schedules == digest
