"""The default model: classes, corrections, size, fallback, and where it is robust."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cost_models.kernels import conv, elements, many, product_of, seconds_of
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import AnalyticModel, Profile, shipped
from tvm_coexec.cost_models.features.terms import Parts, all_terms, largest_divisor, round_up, terms_of
from tvm_coexec.cost_models.features.workload import KINDS, stack
from tvm_coexec.cost_models.models.adjust import refine_model
from tvm_coexec.cost_models.models.correction import Correction
from tvm_coexec.cost_models.models.residual_trees import ResidualTrees

KERNELS = many()


def error(model, kernels, seconds) -> float:
    return float(np.mean(np.abs(model.predict(kernels) / seconds - 1)))


def test_finds_the_terms_that_times_are_made_of():
    shapes = [(ic, oc, s, k) for ic in (5, 16, 50) for oc in (9, 20, 31, 64, 100) for s in (9, 14, 30) for k in (1, 3)]
    kernels = [conv(*shape) for shape in shapes]

    def seconds(w):
        return 1e-5 + 3e-11 * round_up(w.oc, 8) * w.ic * w.kh * w.kw * w.oh * w.ow + 1e-10 * w.in_bytes

    model = AnalyticModel(corrections=False).fit(kernels, np.array([seconds(k) for k in kernels]))
    found = model.classes_["conv/nchwc"].terms
    assert error(model, kernels, np.array([seconds(k) for k in kernels])) < 0.01
    assert found["oc8"] == pytest.approx(3e-11, rel=0.1)
    for far in (conv(128, 250, 56, 3), conv(200, 41, 20, 1)):
        assert model.predict(far)[0] == pytest.approx(seconds(far), rel=0.1)


def test_one_formula_for_numbers_and_arrays():
    for kind in KINDS:
        ws = [
            conv(24, 40, 13, 3, algorithm="nchwc.3x3", kind=kind),
            conv(7, 5, 28, 1, algorithm="nchwc.3x3", kind=kind),
        ]
        together = Parts(stack(ws))
        for name, term in terms_of(kind, "nchwc.3x3").items():
            one = [term(Parts(w)) for w in ws]
            np.testing.assert_allclose(np.broadcast_to(term(together), (2,)), one, rtol=1e-12, err_msg=name)
            assert min(one) >= 0 and name in all_terms(kind)


@pytest.mark.parametrize("extent", [1, 7, 12, 97, 4095, 4096, 5040, 99991])
def test_largest_divisor(extent):
    want = max(d for d in range(1, 17) if extent % d == 0)
    assert largest_divisor(extent, 16) == want and largest_divisor(np.array([float(extent)]), 16)[0] == want


def test_outliers_do_not_move_it():
    seconds = seconds_of(KERNELS, noise=0.01)
    spoilt = seconds.copy()
    spoilt[::12] *= 8
    model = AnalyticModel().fit(KERNELS, spoilt)
    good = [i for i in range(len(KERNELS)) if i % 12]
    assert error(model, [KERNELS[i] for i in good], seconds[good]) < 0.05


def test_small_kernels_count_as_much_as_large_ones():
    kernels = [elements(n) for n in np.geomspace(10, 1e8, 60).astype(int)]
    seconds = np.array([2e-6 + 1e-10 * k.in_bytes for k in kernels])
    assert error(AnalyticModel().fit(kernels, seconds), kernels, seconds) < 0.02


@pytest.mark.slow
def test_corrections_earn_their_place():
    kernels = [k for k in KERNELS if k.kind == "conv"]
    noise = seconds_of(kernels, noise=0.1)
    bent = seconds_of(kernels, noise=0.01) * np.array([(k.ic / 8) ** 0.2 * (k.oh / 7) ** -0.1 for k in kernels])
    plain, corrected = AnalyticModel(corrections=False).fit(kernels, bent), AnalyticModel().fit(kernels, bent)
    assert corrected.classes_["conv/nchwc"].correction is not None
    assert error(corrected, kernels, bent) < 0.7 * error(plain, kernels, bent)
    # noise alone is no reason for trees, or for some that change little
    found, without = AnalyticModel().fit(kernels, noise), AnalyticModel(corrections=False).fit(kernels, noise)
    truth = seconds_of(kernels, noise=0.0)
    assert error(found, kernels, truth) < error(without, kernels, truth) + 0.02


def test_tame_outside_the_fitted_range():
    kernels = [k for k in KERNELS if k.kind == "conv"]
    bent = seconds_of(kernels) * np.array([(k.ic / 8) ** 0.3 for k in kernels])
    model = AnalyticModel().fit(kernels, bent)
    far = [conv(ic, 64, 28, 3) for ic in (64, 640, 6400, 64000)]
    ratio = model.predict(far) / AnalyticModel(corrections=False).fit(kernels, bent).predict(far)
    assert (ratio < 2).all() and (ratio > 0.5).all()


@pytest.mark.parametrize("limit", [1500, 2500, 4096])
def test_stays_within_its_size(limit):
    model = AnalyticModel(limit).fit(KERNELS, seconds_of(KERNELS, noise=0.2))
    assert model.nbytes <= max(limit, AnalyticModel(corrections=False).fit(KERNELS, seconds_of(KERNELS, 0.2)).nbytes)


def test_few_samples_of_an_algorithm_share_the_terms_of_their_kind():
    others = [conv(ic, 32, 14, 3, algorithm="winograd") for ic in (8, 16, 24)]
    kernels = [k for k in KERNELS if k.kind == "conv"] + others
    model = AnalyticModel().fit(kernels, seconds_of(kernels))
    assert "conv/winograd" not in model.classes_ and "conv" in model.classes_
    assert error(model, others, seconds_of(kernels)[-3:]) < 0.3
    # an algorithm that was never seen is predicted as the kind's best known one
    assert model.predict(conv(8, 8, 14, 3, algorithm="direct"))[0] > 0


@pytest.mark.slow
def test_unknown_class_by_the_roofline_says_so(caplog):
    kernels = [k for k in KERNELS if k.kind == "conv"]
    seconds = seconds_of(kernels)
    with pytest.raises(CoExecError, match=r"was not fitted to kernels of class 'dense/gemm'.*measure some"):
        AnalyticModel().fit(kernels, seconds).predict(product_of())
    model = AnalyticModel(fallback=True).fit(kernels, seconds)
    with caplog.at_level(logging.WARNING, logger="tvm_coexec"):
        assert model.predict(product_of())[0] > 0
        model.predict(product_of(8))
    assert [r.message for r in caplog.records if "dense/gemm" in r.message] and len(caplog.records) == 1


@pytest.mark.parametrize("few", [0, 2, 7])
def test_special_functions_of_classes_that_were_measured_without_them(few):
    """A convolution with GELU takes what GELU takes in an elementwise kernel, even if no sample has one.

    Or few samples, which are slow for another reason.
    """
    plain = [replace(k, special=0.0, special_on_cores=0.0) for k in KERNELS if k.kind == "conv"]
    elementwise = [
        replace(elements(n), algorithm="direct", special=times * n, special_on_cores=0.0)
        for n in (1000, 30_000, 200_000, 1_000_000)
        for times in (0.0, 20.0, 60.0)
    ]
    rate = 4e-11
    slow = [replace(k, special=10.0 * k.out_bytes) for k in plain[:few]]
    kernels = [*plain, *elementwise, *slow]
    seconds = seconds_of(kernels) + [rate * k.special for k in kernels]
    seconds[len(kernels) - few :] *= 5.0
    model = AnalyticModel(corrections=False).fit(kernels, seconds)
    assert model.samples_of(plain[0]) == len(plain) + few
    dearer = replace(plain[0], special=1e6)
    added_s = float((model.predict(dearer) - model.predict(plain[0]))[0])
    assert added_s == pytest.approx(rate * 1e6, rel=0.2)


def test_profiles_of_earlier_releases_keep_their_form_and_their_polynomials():
    """One that is shipped is such: the same numbers from the file, one kernel like many, and after a refinement."""
    path = Path(shipped.find("generic"))
    parts = json.loads(path.read_text())["devices"]
    for device, model in Profile.load(path).devices.items():
        assert json.loads(model.to_json())["classes"] == parts[device]["classes"]
        corrected = [k for k, c in model.classes_.items() if isinstance(c.correction, Correction)]
        assert corrected
        kernels = [k for k in KERNELS if k.kind == "conv"]
        kernels = [replace(k, algorithm=corrected[0].split("/")[1]) for k in kernels] + kernels
        together = model.predict(kernels)
        np.testing.assert_allclose([model.predict(k)[0] for k in kernels], together, rtol=1e-12)
        refined = refine_model(model, kernels[:20], 1.1 * together[:20])
        again = AnalyticModel.from_state(json.loads(json.dumps(refined.state())))
        assert (again.predict(kernels) == refined.predict(kernels)).all()
        assert any(isinstance(c.correction, Correction) for c in again.classes_.values())


def test_shipped_profiles_with_trees_are_written_as_they_are():
    """A file is that of the model, to the character, and within its size."""
    path = Path(shipped.find("test_bed"))
    parts = json.loads(path.read_text())["devices"]
    for device, model in Profile.load(path).devices.items():
        assert json.loads(model.to_json()) == parts[device] and model.nbytes <= 4096
        assert any(isinstance(c.correction, ResidualTrees) for c in model.classes_.values())


def test_a_new_model_is_packed_and_stays_so_after_a_refinement():
    seconds = seconds_of(KERNELS) * np.array([1.4 if k.oc > 30 else 1.0 for k in KERNELS])
    model = AnalyticModel().fit(KERNELS, seconds)
    assert isinstance(model.classes_["conv/nchwc"].correction, ResidualTrees)
    refined = refine_model(model, KERNELS[:20], 1.1 * seconds[:20])
    again = AnalyticModel.from_state(json.loads(json.dumps(refined.state())))
    assert again.to_json() == refined.to_json() and (again.predict(KERNELS) == refined.predict(KERNELS)).all()


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"terms": ["soup"]}, {"terms": []}, {"trees": {"nodes": "x"}}, {"trees": None}])
def test_damaged_packed_models(change):
    seconds = seconds_of(KERNELS) * np.array([1.4 if k.oc > 30 else 1.0 for k in KERNELS])
    state = json.loads(json.dumps(AnalyticModel().fit(KERNELS, seconds).state()))
    with pytest.raises((ValueError, KeyError, TypeError, IndexError)):
        AnalyticModel.from_state({**state, **change})
