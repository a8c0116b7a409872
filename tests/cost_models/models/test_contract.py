"""What every latency model promises, the baselines as well."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.cost_models.kernels import conv, many, pool, product_of, seconds_of
from tests.cost_models.models.graph_fits import KERNEL_NAMES
from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.access import InputAccess, identity
from tvm_coexec.core.kernel_graph import REDUCED, SplitAxis
from tvm_coexec.cost_models import MODELS, describe_shares, load_model
from tvm_coexec.cost_models.features.workload import NUMBERS, Workload, stack

KERNELS = many()
SECONDS = seconds_of(KERNELS)
FITTED = {}
NEEDS = {"sklearn": ("neuralpower", "nnmeter", "spore_lasso"), "xgboost": ("autotvm", "boosted")}
# Plain least squares, or few parameters, leave small kernels far off.
LOOSE = ("linear_flops", "neurosurgeon", "codl", "neuralpower", "paleo")


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.predictors if n in KERNEL_NAMES else ()) for n in sorted(MODELS)]
)
def model(request):
    """Each model, fitted once."""
    if request.param not in FITTED:
        for library, models in NEEDS.items():
            if request.param in models:
                pytest.importorskip(library)
        if request.param in KERNEL_NAMES:
            files = request.getfixturevalue("graph_files")
            FITTED[request.param] = load_model(files[0] / f"{request.param}.kernels")
        else:
            FITTED[request.param] = MODELS[request.param]().fit(KERNELS, SECONDS)
    return FITTED[request.param]


def test_times_are_positive_and_finite(model):
    tiny = [conv(1, 1, 1, 1), product_of(1, 1, 1), pool(1, 2)]
    for kernels in (KERNELS, tiny, [conv(2048, 4096, 112, 7)]):
        found = model.predict(kernels)
        assert found.shape == (len(kernels),) and (found > 0).all() and np.isfinite(found).all()


def test_one_and_many_are_the_same(model):
    together = model.predict(KERNELS)
    one_by_one = [float(model.predict(k)[0]) for k in KERNELS[::17]]
    np.testing.assert_allclose(one_by_one, together[::17], rtol=1e-12)
    mixed = [KERNELS[100], stack(KERNELS[:5]), KERNELS[80]]
    np.testing.assert_allclose(model.predict(mixed), together[[100, 0, 1, 2, 3, 4, 80]], rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2])
def test_more_work_of_the_same_tiles_takes_no_less_time(model, dim):
    kernel = replace(graphs.conv_kernel(0, (-1,)), attrs={"kernel_size": [5, 5]})  # of a class that was fitted
    extent = kernel.axis(dim).extent
    shares = describe_shares(kernel, "cpu", dim, [(0, n) for n in range(1, extent + 1)])
    found = model.predict_cuts(shares)
    aligned = found[[n - 1 for n in range(1, extent + 1) if n % 16 == 0]]
    assert (np.diff(aligned) >= 0).all()
    backwards = describe_shares(kernel, "cpu", dim, [(0, n) for n in range(extent, 0, -1)])
    np.testing.assert_array_equal(model.predict_cuts(backwards)[::-1], found)


def test_partial_sums_are_predicted(model):
    """A share of the reduction is a kernel of the same class with fewer input channels."""
    kernel = replace(graphs.conv_kernel(0, (-1,)), attrs={"kernel_size": [5, 5], "weight_shape": [32, 32, 5, 5]})
    axis = SplitAxis("ic", REDUCED, 32, 1, 4, (InputAccess(1, ((identity(32),),)),), True)
    kernel = replace(kernel, axes=(*kernel.axes, axis))
    found = model.predict_cuts(describe_shares(kernel, "cpu", REDUCED, [(0, 16), (16, 32), (0, 32)]))
    assert found[0] == found[1] and (found > 0).all() and found[2] >= found[0]


def test_is_deterministic(model):
    if model.name not in KERNEL_NAMES:  # of the others files from two processes are compared
        again = type(model)().fit(KERNELS, SECONDS)
        assert again.to_json() == model.to_json()
    shuffled = np.random.default_rng(1).permutation(len(KERNELS))
    assert (model.predict([KERNELS[i] for i in shuffled]) == model.predict(KERNELS)[shuffled]).all()


def test_round_trip_is_exact(model, tmp_path):
    model.save(tmp_path / "model.json")
    loaded = load_model(tmp_path / "model.json")
    assert type(loaded) is type(model) and loaded.to_json() == model.to_json()
    assert (loaded.predict(KERNELS) == model.predict(KERNELS)).all()
    assert (tmp_path / "model.json").stat().st_size - model.nbytes in (0, 1)  # JSON ends with a newline


def test_follows_what_it_was_fitted_on(model):
    error = np.median(np.abs(model.predict(KERNELS) / SECONDS - 1))
    assert error < (5.0 if model.name in LOOSE else 0.1)


def test_unfitted(model):
    with pytest.raises(CoExecError, match="not fitted"):
        type(model)().predict(KERNELS[0])
    with pytest.raises(CoExecError, match="not fitted"):
        type(model)().to_json()


def test_unknown_class(model):
    other = Workload("transposed_conv", ic=4, oc=4, oh=4, ow=4, kh=2, kw=2)
    with pytest.raises(CoExecError, match=r"transposed_conv.*measure some"):
        model.predict(other)
    assert not model.knows(other) and all(model.knows(w) for w in KERNELS)


@pytest.mark.parametrize(
    "kernels,seconds,message",
    [([], [], "no measured kernels"), (KERNELS[:2], [1.0], "2 kernels but 1"), (KERNELS[:1], [0.0], "positive")],
)
def test_bad_samples(model, kernels, seconds, message):
    with pytest.raises(CoExecError, match=message):
        type(model)().fit(kernels, np.array(seconds))


def test_damaged_files(model, tmp_path):
    path = tmp_path / "model.json"
    whole = model.to_json()
    half = json.loads(whole)
    half.pop("options", None)
    foreign = {**json.loads(whole), "version": 99}
    wrong = {**json.loads(whole), "model": "crystal ball"}
    cases = [whole[: len(whole) // 2], "[]", json.dumps(half), json.dumps(foreign), json.dumps(wrong), "{}"]
    state = json.loads(whole)
    if "classes" in state:
        cases.append(json.dumps({**state, "classes": {"conv/nchwc": {"nonsense": None}}}))
    for text in cases:
        path.write_text(text)
        with pytest.raises(CoExecError, match=r"model\.json"):
            load_model(path)
    with pytest.raises(CoExecError, match=r"nowhere\.json"):
        load_model(tmp_path / "nowhere.json")


def test_every_number_of_a_workload_is_plain_json():
    assert json.loads(json.dumps(KERNELS[0].to_json())) == KERNELS[0].to_json()
    assert Workload.from_json(KERNELS[0].to_json()) == KERNELS[0]
    assert set(NUMBERS) < set(Workload.__dataclass_fields__)
    with pytest.raises(CoExecError, match="kernel class 'soup'"):
        Workload.from_json({"kind": "soup"})
    with pytest.raises(CoExecError, match="not a workload"):
        Workload.from_json({"kind": "conv", "oc": "many"})
