"""A model of the literature that predicts kernels of every class: as planners need it, and in profiles."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cost_models.kernels import conv, elements, many, seconds_of
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import MODELS, load_model
from tvm_coexec.cost_models.features.workload import Workload
from tvm_coexec.cost_models.models.baselines import NNMeter, Paleo
from tvm_coexec.cost_models.models.fallback import FallbackModel
from tvm_coexec.cost_models.models.registry import make_model

KERNELS = [w for w in many() if w.kind != "pool"]
SECONDS = seconds_of(KERNELS)


def small_forests() -> NNMeter:
    pytest.importorskip("sklearn")
    return NNMeter(trees=5)


@pytest.mark.parametrize("make", [Paleo, small_forests])
def test_known_classes_are_the_models_and_others_the_terms(make, tmp_path, caplog):
    model = FallbackModel(make()).fit(KERNELS, SECONDS).for_device("gpu")
    np.testing.assert_array_equal(model.predict(KERNELS), model.model.predict(KERNELS))
    other = Workload("transposed_conv", ic=16, oc=16, oh=14, ow=14, kh=2, kw=2, flops=4e5, in_bytes=1e4, out_bytes=1e4)
    assert 1e-6 < model.predict(other)[0] < 1e-3
    assert "of class transposed_conv/direct on the gpu: predicted by a roofline" in caplog.text
    assert model.samples_of(other) == 0 and model.samples_of(conv()) > 8
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model").silence_warnings()
    together = [*KERNELS[::9], other]
    np.testing.assert_array_equal(loaded.predict(together), model.predict(together))
    assert loaded.to_json() == model.to_json() and loaded.model.name == model.model.name


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_can_be_made_for_a_profile(name):
    for device in ("cpu", "gpu"):
        assert isinstance(make_model(name, device), FallbackModel) == (name not in ("analytic", "boosted"))
    if name == "codl":
        assert make_model(name, "gpu").model.device == "gpu"


def test_an_unknown_model_is_named():
    with pytest.raises(CoExecError, match="no latency model 'oracle'; there are: analytic, boosted"):
        make_model("oracle", "cpu")


@pytest.mark.parametrize("change", [{"inner": {}}, {"substitute": {}}, {"inner": {"model": "fallback"}}])
def test_damaged_files_are_refused(change, tmp_path):
    import json

    model = FallbackModel(Paleo()).fit([*KERNELS, elements()], np.append(SECONDS, 1e-5))
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(model.to_json()), **change}))
    with pytest.raises(CoExecError, match=r"model\.json is damaged"):
        load_model(path)
