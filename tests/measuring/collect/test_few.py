"""The few kernels to measure on a new device."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cost_models.kernels import many, seconds_of
from tests.planner import graphs
from tvm_coexec.cost_models import fit_profile
from tvm_coexec.cost_models.dataset import Sample, Samples
from tvm_coexec.measuring.collect.few import choose_few
from tvm_coexec.measuring.collect.sampling_plan import choose_jobs

JOBS = choose_jobs([("residual", graphs.residual()), ("straight", graphs.straight(4))], cuts=3)
HEADER = {"devices": {"cpu": {"target": "llvm", "name": "a core"}, "gpu": {"target": "opencl", "name": "a GPU"}}}


@pytest.fixture(scope="module")
def profiles():
    kernels = many()
    found = []
    for factor in (1.0, 1.5):
        made = Samples(HEADER)
        for device in ("cpu", "gpu"):
            times = factor * seconds_of(kernels, seed=len(device))
            made.samples += [Sample(device, k, float(t)) for k, t in zip(kernels, times, strict=True)]
        found.append(fit_profile(made))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5, 10**4])
@pytest.mark.parametrize("use_profiles", [True, False])
def test_as_many_on_each_device_and_the_same_each_time(profiles, count, use_profiles):
    donors = profiles if use_profiles else []
    found = choose_few(JOBS, count, donors)
    assert found == choose_few(JOBS, count, donors)
    assert [JOBS.index(j) for j in found] == sorted(JOBS.index(j) for j in found)  # in the order of measuring
    for device in ("cpu", "gpu"):
        of_device = [j for j in found if j.piece.device == device]
        every = len([j for j in JOBS if j.piece.device == device])
        assert 1 <= len(of_device) <= min(count, every)
        assert len(of_device) == count or count > 1
    assert len({j.key for j in found}) == len(found)


def test_more_are_the_same_ones_and_others(profiles):
    few, more = (choose_few(JOBS, n, profiles) for n in (3, 6))
    assert {j.key for j in few} < {j.key for j in more}
    assert np.unique([j.kernel.name for j in more]).size > 1
