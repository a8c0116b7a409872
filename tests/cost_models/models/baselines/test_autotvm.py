"""AutoTVM's model: rounds of trees, ranks, and updates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.cost_models.kernels import conv, elements, many, seconds_of
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import load_model
from tvm_coexec.cost_models.models.baselines.autotvm import AutoTVM

pytest.importorskip("xgboost")
KERNELS = many()
SECONDS = seconds_of(KERNELS)


def median_error(model, kernels=KERNELS, seconds=SECONDS):
    return np.median(np.abs(model.predict(kernels) / seconds - 1))


@pytest.mark.parametrize("objective", ["regression", "rank"])
def test_fits_and_ranks(objective):
    model = AutoTVM(objective, trees=80).fit(KERNELS, SECONDS)
    assert len(model.trees_.nodes) == 80
    assert stats.kendalltau(model.rank(KERNELS), SECONDS).statistic > 0.9
    assert stats.kendalltau(model.predict(KERNELS), SECONDS).statistic > 0.9
    assert median_error(model) < (0.05 if objective == "regression" else 0.3)


@pytest.mark.parametrize("objective", ["regression", "rank"])
def test_files_of_both(objective, tmp_path):
    model = AutoTVM(objective, trees=20).fit(KERNELS, SECONDS)
    model.save(tmp_path / "m.json")
    loaded = load_model(tmp_path / "m.json")
    np.testing.assert_array_equal(loaded.predict(KERNELS), model.predict(KERNELS))
    again = AutoTVM(objective, trees=20).fit(KERNELS, SECONDS)
    assert again.to_json() == model.to_json() == loaded.to_json()


def test_a_round_of_other_times_corrects_the_model():
    model = AutoTVM(trees=80).fit(KERNELS, SECONDS)
    loaded = AutoTVM.from_state(model.state())
    twice = 2 * SECONDS
    assert median_error(loaded, KERNELS, twice) > 0.4
    assert loaded.update(KERNELS, twice) is loaded and len(loaded.trees_.nodes) == 160
    assert median_error(loaded, KERNELS, twice) < 0.05
    # with the samples of earlier rounds: it ends between both
    assert len(model.update(KERNELS, twice).trees_.nodes) == 80
    ratio = np.median(model.predict(KERNELS) / SECONDS)
    assert 1.2 < ratio < 1.7


def test_new_samples_of_a_region_improve_it():
    small = [i for i, w in enumerate(KERNELS) if w.kind != "conv" or w.oh < 50]
    large = [i for i, w in enumerate(KERNELS) if i not in small]
    model = AutoTVM(trees=80).fit([KERNELS[i] for i in small], SECONDS[small])
    wanted, truth = [KERNELS[i] for i in large], SECONDS[large]
    before = median_error(model, wanted, truth)
    new = np.arange(len(large)) % 3 > 0
    model.update([w for w, n in zip(wanted, new, strict=True) if n], truth[new])
    everything = [*(KERNELS[i] for i in small), *(w for w, n in zip(wanted, new, strict=True) if n)]
    once = AutoTVM(trees=80).fit(everything, np.append(SECONDS[small], truth[new]))
    assert median_error(model, everything, once.predict(everything)) < 0.02
    rest = [w for w, n in zip(wanted, new, strict=True) if not n]
    assert median_error(model, rest, truth[~new]) < before


def test_errors():
    with pytest.raises(CoExecError, match="learns by regression or rank, not 'luck'"):
        AutoTVM("luck")
    with pytest.raises(CoExecError, match="not fitted"):
        AutoTVM().update(KERNELS, SECONDS)
    model = AutoTVM(trees=5).fit([conv(), conv(8)], np.array([1.0, 2.0]))
    with pytest.raises(CoExecError, match="injective"):
        model.update([elements()], np.array([1.0]))
