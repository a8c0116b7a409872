"""Kernels of signals, volumes, sequences and quantised models: in the designed sample, described, fitted, predicted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tvm_coexec.cost_models import AnalyticModel
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.measuring.collect.design import SPACES, make_designed_module
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = pytest.mark.llvm

NEW = [s.name for s in SPACES[[s.name for s in SPACES].index("conv1d") :]]
CLASSES = {
    *("conv/direct.1x1.1d", "conv/direct.3d", "transposed_conv/direct", "transposed_conv/direct.3d"),
    *(
        "conv/direct",
        "depthwise_conv/direct",
        "conv/direct.1x1.3d",
        "reduce/direct",
        "reduce/direct.outer",
        "reduce/direct.arg",
    ),
    *("reduce/direct.scan", "reduce/softmax.log", "reduce/softmax.outer", "pool/direct", "pool/direct.1d"),
    *("injective/direct", "injective/moves.part", "injective/moves.resize", "dense/gemm", "dense/gemm.int"),
    *("conv/direct.3x3.int", "conv/direct.1x1.int"),
}
FUNCTIONS = {
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "sigmoid",
    "tanh",
    "erf",
    "power",
    "divide",
    "sin",
    "cos",
    "fixed_point_multiply",
}


@pytest.fixture(scope="module")
def kernels():
    return extract(Prepare()(make_designed_module(400, names=NEW))).kernels


@pytest.mark.slow
def test_each_is_in_the_sample(kernels):
    assert {describe(k, "gpu").key for k in kernels} >= CLASSES
    assert {name for k in kernels for name, _ in k.functions} >= FUNCTIONS
    windows = {(w.kh, w.kw) for k in kernels if (w := describe(k, "gpu")).key == "pool/direct"}
    assert any(kh % 2 and kh > 3 for kh, _ in windows) and any(kh != kw for kh, kw in windows)
    names = Counter(k.name for k in kernels)
    assert names["variance"] and names["multiply+mean"], "layer and RMS normalisation"
    assert any("sigmoid+multiply+strided_slice" in n for n in names), "an LSTM cell"
    assert any(k.in_tensors[0].dtype == "int32" and "fixed_point_multiply" in k.name for k in kernels)
    assert all(v < 0 for k in kernels for v in k.inputs) and not any(k.reason for k in kernels if k.is_heavy)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_each_is_fitted_and_predicted(kernels, device):
    """By a law with a rate for each kind of work, which only models with a term for each can learn."""
    workloads = [describe(k, device) for k in kernels]
    seconds = np.array(
        [
            3e-6 + w.flops / 4e10 + w.special / 2e10 + (w.in_bytes + w.out_bytes + w.weight_bytes) / 8e9
            for w in workloads
        ]
    )
    model = AnalyticModel(fallback=True).fit(workloads, seconds)
    counts = Counter(w.key for w in workloads)
    for w in workloads:
        assert model.samples_of(w) >= min(8, counts[w.key]), w.key
    errors = np.abs(model.predict(workloads) / seconds - 1)
    for key in counts:
        of_class = errors[[w.key == key for w in workloads]]
        assert np.median(of_class) < 0.15, key


def test_few_samples_of_a_variant_are_fitted_with_its_base(kernels):
    pools = [w for k in kernels if (w := describe(k, "gpu")).kind == "pool"]
    plain = [w for w in pools if w.algorithm == "direct"]
    few = [replace(w, algorithm="direct.1d") for w in plain[:3]]
    model = AnalyticModel().fit([*plain, *few], np.array([1e-6 + w.flops / 1e9 for w in [*plain, *few]]))
    assert set(model.classes_) == {"pool/direct"} and model.samples_of(few[0]) == len(plain) + 3
