"""``coexec fit`` learns from verified plans: those in the user's cache, those in a file, none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import HEADER
from tvm_coexec.cost_models import Profile
from tvm_coexec.cost_models.plan_cache import append_records
from tvm_coexec.cost_models.plan_records import PlanRecord

pytestmark = pytest.mark.llvm


def plans(measured_s: float) -> list[PlanRecord]:
    alone = PlanRecord("g", "a", "single", "cpu", 0, 1.0, 1.0, 1.0, "costs", "monday")
    return [alone, PlanRecord("g", "b", "coexec", "both", 2, 0.5, measured_s, 1.0, "costs", "monday")]


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """Plans of the same devices in the cache, and of others."""
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path / "cache"))
    append_records({**HEADER, "schedules": "other ones"}, plans(5.0))
    path = append_records(HEADER, plans(0.75))
    assert path is not None
    return path


def factor(coexec, tmp_path, *options: object) -> tuple[float, str]:
    path = tmp_path / "p.json"
    done = coexec("fit", *options, "-o", path)
    assert (done.code, done.err) == (0, "")
    return Profile.load(path).plan_factor, done.out


@pytest.mark.slow
def test_plans_of_the_same_devices_are_learnt_from(coexec, samples_file, kept, tmp_path):
    found, out = factor(coexec, tmp_path, samples_file)
    assert found == 1.5 and "2 verified plans: those with chains take 1.50 times as long as predicted" in out
    assert factor(coexec, tmp_path, samples_file, "--plans", "none")[0] == 1.0
    other = tmp_path / "other.jsonl"
    text = kept.read_text().replace('"measured_s":0.75', '"measured_s":1.0')
    other.write_text(text)
    assert factor(coexec, tmp_path, samples_file, "--plans", other)[0] == 2.0


@pytest.mark.slow
def test_plans_alone_refine_a_profile(coexec, kept, profile_file, tmp_path):
    found, out = factor(coexec, tmp_path, kept, "--refine", profile_file)
    assert found == 1.5 and "2 verified plans" in out
    before, after = (json.loads(p.read_text()) for p in (profile_file, tmp_path / "p.json"))
    assert after.pop("plans") == 1.5 and after["devices"] == before["devices"]


def test_plans_alone_are_no_profile(coexec, kept, tmp_path):
    done = coexec("fit", kept, "-o", tmp_path / "p.json")
    assert done.code == 2 and "has no measured kernel" in done.err


@pytest.mark.slow
def test_no_cache_no_plans(coexec, samples_file, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", "off")
    assert append_records(HEADER, plans(0.75)) is None
    assert factor(coexec, tmp_path, samples_file)[0] == 1.0


def test_a_cache_that_can_not_be_written_costs_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path / "cache"))
    assert append_records(HEADER, plans(0.75)) is None
    assert "measurements of plans are not kept" in caplog.text
