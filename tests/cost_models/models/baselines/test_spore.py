"""SPORE: sparse polynomials are found, and stay small."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cost_models.kernels import conv
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.models.baselines.spore import SporeFoba, SporeLasso

KERNELS = [
    conv(ic, oc, size, 3) for ic in (8, 24, 56, 64, 100) for oc in (8, 16, 48, 96) for size in (7, 14, 20, 28, 56)
]


def law(kernels):
    return np.array([2e-6 + w.macs / 1e10 + 3e-9 * w.oc * w.oh for w in kernels])


@pytest.fixture(params=[SporeLasso, SporeFoba])
def spore(request):
    if request.param is SporeLasso:
        pytest.importorskip("sklearn")
    return request.param


def test_a_law_of_two_terms_is_found(spore):
    seconds = law(KERNELS) * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(KERNELS)))
    model = spore().fit(KERNELS, seconds)
    error = np.abs(model.predict(KERNELS) / law(KERNELS) - 1)
    assert np.median(error) < 0.03 and error.max() < 0.3
    (state,) = model.classes_.values()
    assert 1 <= len(state["scale"]) <= 5 and max(len(m) for m, _ in state["terms"]) <= 3
    assert model.nbytes < 4000


def test_few_samples_have_their_mean(spore):
    model = spore().fit(KERNELS[:3], np.array([1.0, 1.0, 1.0]))
    assert model.predict(KERNELS[:5]).tolist() == [1.0] * 5


def test_plain_squares_are_of_seconds(spore):
    seconds = law(KERNELS)
    seconds[np.argmin(seconds)] *= 2  # far off for relative errors, and next to no time
    largest = np.argsort(seconds)[-10:]
    wide = spore(relative=False).fit(KERNELS, seconds).predict([KERNELS[i] for i in largest])
    np.testing.assert_allclose(wide, seconds[largest], rtol=0.02)


def test_options_are_checked(spore):
    with pytest.raises(CoExecError, match="at least 1"):
        spore(degree=0)
    model = spore(degree=1, most=2).fit(KERNELS, law(KERNELS))
    (state,) = model.classes_.values()
    assert len(state["scale"]) <= 2 and max(len(m) for m, _ in state["terms"]) <= 1
