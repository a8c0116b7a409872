"""Records teach a profile the tuned kernels, and nothing about the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cli.conftest import HEADER, conv, law
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import Sample, Samples
from tvm_coexec.cost_models.features.workload import Workload
from tvm_coexec.cost_models.fit_profile import fit_profile
from tvm_coexec.cost_models.fit_tuned import MIN_OWN_TERMS, add_tuned
from tvm_coexec.cost_models.models.boosted import BoostedModel
from tvm_coexec.cost_models.profile import Profile


def untuned() -> Samples:
    rng, samples = np.random.default_rng(0), Samples(HEADER)
    for i in range(60):
        for device in ("cpu", "gpu"):
            w = conv(rng, device)
            samples.samples.append(Sample(device, w, law(device, w), signature=str(i)))
    return samples


@pytest.fixture(scope="module")
def profile() -> Profile:
    return fit_profile(untuned())


def tuned_law(device: str, w: Workload, factor: float) -> float:
    """Tuning speeds up what is computed, and no launch or byte."""
    return law(device, w) - (1 - factor) * w.flops / {"cpu": 2e10, "gpu": 4e10}[device]


def tuned(count: int, factor: float = 0.3, seed: int = 1) -> list[Sample]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        w = conv(rng, "cpu")
        made = replace(w, algorithm=f"{w.algorithm}.tuned", fused=0)
        noise = float(np.exp(0.02 * rng.standard_normal()))
        found.append(Sample("cpu", made, tuned_law("cpu", made, factor) * noise, signature=f"t{i}"))
    return found


def missed(profile: Profile, samples: list[Sample]) -> float:
    predicted = profile.devices["cpu"].predict([s.workload for s in samples])
    return float(np.mean(np.abs(np.log(predicted / np.array([s.seconds for s in samples])))))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "least"), [(2, 1.4), (6, 2.0), (40, 8.0)])
def test_held_out_records_are_predicted_better_than_without(profile, count, least):
    held_out = tuned(60, seed=2)
    taught = add_tuned(profile, tuned(count))
    assert missed(profile, held_out) > 0.5, "an untuned class does not know tuned kernels"
    assert missed(taught, held_out) < missed(profile, held_out) / least
    known = taught.devices["cpu"].classes_["conv/nchwc.tuned"]
    assert known.samples == count
    if count >= MIN_OWN_TERMS:
        assert missed(taught, held_out) < 0.05, "terms of its own: launches and bytes are as before, FLOPs are not"


def test_untuned_kernels_and_the_other_device_are_as_before(profile, tmp_path):
    taught = add_tuned(profile, tuned(20))
    taught.save(tmp_path / "p.json")
    for made in (taught, Profile.load(tmp_path / "p.json")):
        for device in ("cpu", "gpu"):
            plain = [s.workload for s in untuned().of(device)]
            same = made.devices[device].predict(plain)
            assert np.array_equal(same, profile.devices[device].predict(plain))
        assert missed(made, tuned(60, seed=2)) == pytest.approx(missed(taught, tuned(60, seed=2)))
    # a class of which no record is known is predicted as the untuned one
    w = replace(untuned().of("gpu")[0].workload, algorithm="direct.tuned")
    assert taught.devices["gpu"].predict([w]) == profile.devices["gpu"].predict([replace(w, algorithm="direct")])
    other = Workload("conv", "nchwc.1x1", oc=8, ow=8, ic=8, flops=1e6, in_bytes=100, out_bytes=100)
    assert taught.devices["cpu"].predict([other]) == profile.devices["cpu"].predict([other])


def test_later_records_refine_the_class(profile):
    taught = add_tuned(profile, tuned(30, factor=0.3))
    again = add_tuned(taught, tuned(8, factor=0.2, seed=5))
    assert missed(again, tuned(40, factor=0.2, seed=6)) < missed(taught, tuned(40, factor=0.2, seed=6))


def test_a_boosted_profile_is_refused(profile):
    boosted = replace(profile, devices={**profile.devices, "cpu": BoostedModel()})
    with pytest.raises(CoExecError, match="a profile with a 'boosted' model can't learn from tuning records"):
        add_tuned(boosted, tuned(5))
