"""A profile from samples: models, links, contention, networks; files; and as costs of a plan."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.cost_models.kernels import many, seconds_of
from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Power, Profile, fit_profile, load_costs, refine_profile, transfer_profile
from tvm_coexec.cost_models.costs import UnifiedMemory
from tvm_coexec.cost_models.dataset import Sample, Samples
from tvm_coexec.cost_models.fit_profile import fit_network_correction
from tvm_coexec.planner import make_plan

KERNELS = many()
HEADER = {"devices": {"cpu": {"target": "llvm", "name": "a core"}, "gpu": {"target": "opencl", "name": "a GPU"}}}


def samples(count: int | None = None) -> Samples:
    made = Samples(HEADER)
    for device, factor in (("cpu", 1.0), ("gpu", 0.7)):
        times = factor * seconds_of(KERNELS, seed=len(device))
        pairs = list(zip(KERNELS, times, strict=True))[:: len(KERNELS) // count if count else 1]
        made.samples += [Sample(device, k, float(t), signature=str(i)) for i, (k, t) in enumerate(pairs)]
    for name, constant, slope in (("upload", 2e-5, 1e-10), ("download", 3e-5, 2e-10), ("host_copy", 1e-6, 1e-10)):
        made.links += [{"link": name, "bytes": b, "seconds": constant + b * slope} for b in (4e3, 1e5, 1e6, 4e6)]
    made.round_trips = [9e-5, 10e-5, 14e-5]  # with an upload and a download
    made.unified = [{"memory": "shared", "seconds": 3.5e-5, "start_s": 1.5e-5}]
    made.contention = [
        {"device": d, "workload": {}, "alone_s": 1e-3, "together_s": t * 1e-3}
        for d, t in (("cpu", 1.1), ("cpu", 1.2), ("cpu", 1.3), ("gpu", 0.9))
    ]
    made.networks = [
        {"network": str(n), "device": "cpu", "kernels": n, "sum_s": s, "seconds": 1e-4 + 2e-6 * n + 1.05 * s}
        for n, s in ((10, 1e-3), (50, 2e-3), (30, 9e-3), (100, 4e-3), (70, 1e-2), (20, 5e-3))
    ]
    return made


@pytest.fixture(scope="module")
def profile() -> Profile:
    return fit_profile(samples())


@pytest.mark.slow
def test_everything_that_samples_tell(profile):
    assert profile.upload.seconds(1e6) == pytest.approx(2e-5 + 1e-4, rel=0.01)
    assert profile.download.constant_s == pytest.approx(3e-5, rel=0.01)
    assert profile.sync_s == pytest.approx(5e-5, rel=0.01)  # the median, less the copies
    assert profile.unified == UnifiedMemory("shared", pytest.approx(2e-5), pytest.approx(1.5e-5))
    assert profile.slowdown("cpu") == pytest.approx(1.2) and profile.slowdown("gpu") == 1.0
    assert profile.networks["cpu"].seconds(40, 5e-3) == pytest.approx(1e-4 + 8e-5 + 5.25e-3, rel=0.02)
    assert 0 < profile.error["cpu"] < 0.15 and "a GPU" in profile.description
    assert all(m.nbytes <= 8192 for m in profile.devices.values())


def test_file_is_exact_and_small(profile, tmp_path):
    path = tmp_path / "p.json"
    loaded = Profile.load(_saved(profile, path))
    assert loaded.to_json() == profile.to_json() and len(profile.to_json()) < 2 * 8192 + 1500
    with_power = replace(loaded, power=Power(1.0, {"cpu": 2.0, "gpu": 3.0}))
    again = load_costs(_saved(with_power, path))
    assert isinstance(again, Profile) and again.energy_j(2.0, {"cpu": 1.0, "gpu": 0.5}) == pytest.approx(5.5)
    with pytest.raises(CoExecError, match="have no power"):
        profile.energy_j(1.0, {})


def test_profiles_from_before_the_synchronisation_had_a_field_cost_the_same(profile, tmp_path):
    """There it is in the constant of the download."""
    d = json.loads(profile.to_json())
    d["links"]["download"][0] += d.pop("sync")
    path = tmp_path / "old.json"
    path.write_text(json.dumps(d))
    old, g = Profile.load(path), graphs.residual()
    assert old.sync_s == 0 < profile.sync_s
    for strategy in ("coexec", "codl", "mulayer"):
        plans = [make_plan(g, p, strategy=strategy, min_gain=0.0) for p in (old, profile)]
        assert plans[0].to_json() == plans[1].to_json()


@pytest.mark.slow
def test_copies_of_tvms_own_runtime(profile, tmp_path):
    both = samples()
    for name in ("upload", "download"):
        both.tvm_links += [{"link": name, "bytes": b, "seconds": 8e-5 + b * 3e-10} for b in (4e3, 1e5, 1e6, 4e6)]
    fitted = Profile.load(_saved(fit_profile(both), tmp_path / "both.json"))
    assert fitted.runtime == "own" and fitted.upload == profile.upload
    on_tvm = fitted.on_runtime("tvm")
    assert on_tvm.upload.seconds(1e6) == pytest.approx(3.8e-4, rel=0.01) and "measured" in on_tvm.description
    assert isinstance(on_tvm, Profile) and on_tvm.whole_s("cpu", graphs.residual().kernels[0]) > 0
    assert "estimated" in profile.on_runtime("tvm").description
    # measured where TVM's own runtime is in use
    theirs = samples()
    theirs.header = HEADER | {"runtime": "tvm"}
    fitted = Profile.load(_saved(fit_profile(theirs), tmp_path / "theirs.json"))
    assert fitted.runtime == "tvm" and fitted.on_runtime("tvm") is fitted
    assert fitted.on_runtime("own").runtime == "own" and fitted.on_runtime("own").upload == fitted.upload
    plan = make_plan(graphs.residual(), profile, runtime="tvm", min_gain=0.0)
    assert plan.runtime == "tvm" and Plan.from_json(plan.to_json()).runtime == "tvm"
    with pytest.raises(CoExecError, match="missing or invalid runtime 'stock'"):
        Plan.from_json(plan.to_json().replace('"runtime": "tvm"', '"runtime": "stock"'))


def _saved(profile: Profile, path) -> str:
    profile.save(path)
    return str(path)


def test_shares_are_monotone_and_meet_the_whole(profile):
    kernel = graphs.conv_kernel(0, (-1,))
    for dim in (1, 2):
        times = profile.shares_s("gpu", kernel, dim, [(0, n) for n in range(0, 33)])
        assert times[0] == 0 and times[-1] == pytest.approx(profile.whole_s("gpu", kernel))
        eighths = times[8::8]
        assert all(a <= b for a, b in itertools.pairwise(eighths))
    assert len(profile.shares_s("cpu", kernel, 2, [])) == 0


def test_network_correction_is_in_every_kernel(profile):
    kernel = graphs.conv_kernel(0, (-1,))
    bare = Profile(profile.devices)
    assert profile.whole_s("cpu", kernel) == pytest.approx(2e-6 + 1.05 * bare.whole_s("cpu", kernel), rel=0.02)
    assert profile.whole_s("gpu", kernel) == bare.whole_s("gpu", kernel)  # the GPU's networks were not measured


def test_few_networks_give_a_factor_alone():
    fitted = fit_network_correction([5, 9], [1e-3, 2e-3], [1.2e-3, 2.4e-3])
    assert (fitted.a_s, fitted.b_s) == (0, 0) and fitted.c == pytest.approx(1.2)


@pytest.mark.slow
def test_boosted_profile(tmp_path):
    pytest.importorskip("xgboost")
    boosted = fit_profile(samples(), "boosted")
    loaded = Profile.load(_saved(boosted, tmp_path / "b.json"))
    assert loaded.devices["cpu"].name == "boosted"
    np.testing.assert_array_equal(loaded.devices["cpu"].predict(KERNELS), boosted.devices["cpu"].predict(KERNELS))
    with pytest.raises(CoExecError, match="can't be transferred or refined"):
        refine_profile(boosted, samples())


def test_moved_and_refined(profile):
    slower = samples(30)
    slower.samples = [Sample(s.device, s.workload, 2 * s.seconds, signature=s.signature) for s in slower.samples]
    kernel = graphs.conv_kernel(0, (-1,))
    moved, refined = transfer_profile(profile, slower), refine_profile(profile, slower)
    assert moved.whole_s("gpu", kernel) == pytest.approx(2 * profile.whole_s("gpu", kernel), rel=0.2)
    assert 1.0 < refined.whole_s("gpu", kernel) / profile.whole_s("gpu", kernel) < 1.9
    assert "another device" in moved.description


def test_a_moved_profile_knows_its_own_error(profile):
    few = samples(30)
    scattered = np.exp(np.random.default_rng(1).normal(0, 0.6, len(few.samples)))
    few.samples = [
        replace(s, seconds=s.seconds * (float(f) if s.device == "gpu" else 1.0), network=f"net{i % 5}")
        for i, (s, f) in enumerate(zip(few.samples, scattered, strict=True))
    ]
    measured_plans = replace(profile, error=profile.error | {"plans": 0.05})
    error = transfer_profile(measured_plans, few).error
    assert error["gpu"] > 2 * profile.error["gpu"]  # which no model of shapes predicts
    assert profile.error["cpu"] <= error["cpu"] < 2 * profile.error["cpu"]
    assert error["plans"] == 0.05
    few.samples = [s for s in few.samples if s.device == "cpu"]
    assert transfer_profile(profile, few).error["gpu"] == profile.error["gpu"]


@pytest.mark.parametrize(
    "change",
    [
        *({"devices": {}}, {"links": {}}, {"error": 3}, {"networks": {"cpu": ["x"]}}, {"version": 7}, {"power": 1}),
        *({"enqueue": -1.0}, {"sync": float("inf")}, {"links": {"upload": [1e-5, -1e-9]}}),
        *({"links": {n: [-1e-5, 1e-9] for n in ("upload", "download", "host_copy")}}, {"unified": ["shared", -1e-5]}),
    ],
)
def test_damaged_files(profile, tmp_path, change):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**json.loads(profile.to_json()), **change}))
    with pytest.raises(CoExecError, match=r"p\.json"):
        load_costs(path)


@pytest.mark.slow
def test_a_device_without_samples():
    only = samples()
    only.samples = [s for s in only.samples if s.device == "cpu"]
    with pytest.raises(CoExecError, match="no measured kernel of the gpu"):
        fit_profile(only)
