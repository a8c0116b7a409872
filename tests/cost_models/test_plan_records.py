"""What profiles learn from verified plans."""

from __future__ import annotations

import json

import pytest

from tests.cost_models.test_profile import HEADER as DEVICES
from tests.cost_models.test_profile import samples
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import Profile
from tvm_coexec.cost_models.dataset import Samples, SampleWriter, read_samples
from tvm_coexec.cost_models.fit_profile import fit_profile, refine_profile
from tvm_coexec.cost_models.plan_records import PlanRecord, fit_plan_factor

HEADER = {**DEVICES, "tvm": "0", "schedules": "s"}


def record(device: str, chains: int, predicted_s: float, measured_s: float, at: str = "monday") -> PlanRecord:
    strategy = "coexec" if device == "both" else "single"
    return PlanRecord("g", f"{device}{chains}", strategy, device, chains, predicted_s, measured_s, 1.0, "costs", at)


ALONE = [record("cpu", 0, 1.0, 1.2), record("gpu", 0, 2.0, 2.4)]


def test_a_factor_is_relative_to_the_single_devices():
    # the costs are 20 % off for the model as a whole; its plans take 1.2 and 1.5 times as long beyond that
    found = [*ALONE, record("both", 2, 0.5, 0.72), record("both", 1, 0.5, 0.9), record("both", 0, 0.5, 9.0)]
    assert fit_plan_factor(found) == pytest.approx(1.35)
    # another run, in which the machine was half as fast, says the same
    slow = [record("cpu", 0, 1.0, 2.4, "tuesday"), record("both", 2, 0.5, 1.62, "tuesday")]
    assert fit_plan_factor([*found, *slow]) == pytest.approx(1.35)


def test_nothing_is_learnt_from_plans_without_chains_or_alone():
    assert fit_plan_factor([]) is None
    assert fit_plan_factor([*ALONE, record("both", 0, 0.5, 0.72)]) is None
    assert fit_plan_factor([record("both", 2, 0.5, 0.72)]) is None


def test_files_keep_them(tmp_path):
    path = str(tmp_path / "plans.jsonl")
    for r in (ALONE, [record("both", 2, 0.5, 0.72)]):
        with SampleWriter(path, HEADER) as writer:
            for one in r:
                writer.write(one)
    read = read_samples(path)
    assert read.plans == [*ALONE, record("both", 2, 0.5, 0.72)] and not read.samples


@pytest.mark.parametrize(
    ("change", "text"),
    [({"device": "npu"}, "device 'npu'"), ({"measured_s": 0.0}, "measured_s 0.0"), ({"chains": "many"}, "many")],
)
def test_damage_names_file_and_line(tmp_path, change, text):
    path = tmp_path / "plans.jsonl"
    path.write_text(json.dumps({"kind": "samples", "version": 1, **HEADER}) + "\n")
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(ALONE[0].to_json() | change) + "\n")
    with pytest.raises(CoExecError, match=r"plans\.jsonl, line 2 is damaged") as caught:
        read_samples(path)
    assert text in str(caught.value)


@pytest.mark.slow
def test_a_profile_learns_and_keeps_the_factor(tmp_path):
    learnt = samples()
    bare = fit_profile(learnt)
    assert bare.plan_factor == 1.0 and '"plans"' not in bare.to_json()
    learnt.plans = [*ALONE, record("both", 2, 0.5, 0.72)]
    profile = fit_profile(learnt)
    assert profile.plan_factor == pytest.approx(1.2)
    path = tmp_path / "p.json"
    profile.save(path)
    assert Profile.load(path).to_json() == profile.to_json()
    # verified plans alone refine a profile, and kernels alone leave the factor as it is
    newer = Samples(HEADER, plans=[*ALONE, record("both", 2, 0.5, 0.9)])
    assert refine_profile(profile, newer).plan_factor == pytest.approx(1.5)
    assert refine_profile(profile, samples(30)).plan_factor == profile.plan_factor
    both = profile, refine_profile(profile, newer)
    kernel_s = [p.devices["cpu"].predict([learnt.samples[0].workload])[0] for p in both]
    assert kernel_s[0] == kernel_s[1]


@pytest.fixture(scope="module")
def fitted() -> dict:
    """A profile without a factor, as its file has it."""
    return json.loads(fit_profile(samples()).to_json())


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0, -1, "fast", float("nan")])
def test_a_damaged_factor_is_refused(fitted, tmp_path, factor):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**fitted, "plans": factor}))
    with pytest.raises(CoExecError, match=r"p\.json is (damaged|not JSON)"):
        Profile.load(path)
