"""The designed sample covers all classes, keeps its bounds, and grows without changing."""

from __future__ import annotations

from collections import Counter

import pytest

from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.measuring.collect.design import MAX_MACS, MAX_TENSOR_BYTES, SPACES, count_kernels
from tvm_coexec.measuring.read_model import make_designed_model

pytestmark = pytest.mark.llvm


@pytest.fixture(scope="module")
def kernels():
    return make_designed_model(60).graph().kernels


def test_names_are_unique():
    assert len({s.name for s in SPACES}) == len(SPACES)


@pytest.mark.slow
def test_every_kernel_stands_alone(kernels):
    assert len(kernels) == sum(count_kernels(s, 60) for s in SPACES)
    assert all(v < 0 for k in kernels for v in k.inputs)


def test_all_classes_are_there(kernels):
    found = Counter(describe(k, "gpu").kind for k in kernels)
    convs = {"conv", "depthwise_conv", "group_conv", "transposed_conv"}
    assert set(found) >= convs | {"dense", "batch_matmul", "pool", "reduce", "injective"}
    windows = {(w.kh, w.kw, w.sh) for k in kernels if (w := describe(k, "gpu")).kind == "conv"}
    assert {(1, 1, 1), (3, 3, 1), (1, 1, 2), (3, 3, 2)} <= windows


def test_bounds_are_kept(kernels):
    for k in kernels:
        assert k.flops <= 2.4 * MAX_MACS and max(k.in_bytes, k.out_bytes) <= 4 * MAX_TENSOR_BYTES


@pytest.mark.slow
def test_a_longer_sample_contains_the_shorter_one(kernels):
    more = {k.signature() for k in make_designed_model(120).graph().kernels}
    assert len({k.signature() for k in kernels} - more) == 0
