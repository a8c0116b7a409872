"""Terms against what the loops of a kernel do: bounds of padded windows, blocks of a group's channels."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec.cost_models import AnalyticModel, Workload
from tvm_coexec.cost_models.features.terms import Parts, terms_of
from tvm_coexec.cost_models.features.workload import stack


def _pool(size: int, stride: int, padded: bool, channels: int = 64) -> Workload:
    out = (size - (1 if padded else 3)) // stride + 1
    return Workload(
        "pool", ic=channels, oc=channels, ih=size, iw=size, oh=out, ow=out, kh=3, kw=3, sh=stride, sw=stride,
        in_bytes=4 * channels * size**2, out_bytes=4 * channels * out**2, flops=9.0 * channels * out**2,
    )  # fmt: skip


@pytest.mark.parametrize(
    "kernels", [[_pool(13, 1, True)], [_pool(s, t, s % 2 > 0) for s in range(9, 30) for t in (1, 2)]]
)
def test_windows_beyond_the_columns_are_told_from_others(kernels):
    w = stack(kernels)
    found = np.asarray(terms_of("pool", "direct")["padded"](Parts(w)))
    beyond = np.array([(k.ow - 1) * k.sw + k.kw > k.iw for k in kernels])
    np.testing.assert_array_equal(found > 0, beyond)
    np.testing.assert_allclose(found[beyond], w.macs[beyond])


def test_a_model_learns_that_padded_windows_take_longer():
    pools = [_pool(size, stride, padded) for size in range(8, 60) for stride in (1, 2) for padded in (False, True)]
    beyond = np.array([(k.ow - 1) * k.sw + k.kw > k.iw for k in pools])
    seconds = 1e-10 * np.array([k.macs for k in pools]) * np.where(beyond, 1.8, 1.0)
    model = AnalyticModel(corrections=False).fit(pools, seconds)
    assert np.abs(model.predict(pools) / seconds - 1).max() < 0.02


def test_a_model_learns_that_a_groups_channels_are_blocked_by_their_divisors():
    """17 channels of a group are blocks of one, 16 are one block; of all groups' channels a block of 16 would do."""
    convs = [
        Workload("group_conv", "direct", 1, 16, 256, 16 * each, 14, 14, 14, rows, flops=2.0)
        for each in (13, 14, 15, 16, 17, 18, 19, 20, 24, 28, 31, 32)
        for rows in (7, 14, 28)
    ]
    block = np.array([max(d for d in range(1, 17) if (w.oc // w.groups) % d == 0) for w in convs])
    seconds = 1e-10 * np.array([w.macs for w in convs]) * (0.5 + 2.0 / block)
    model = AnalyticModel(corrections=False).fit(convs, seconds)
    assert np.abs(model.predict(convs) / seconds - 1).max() < 0.02
    assert model.predict(convs[0])[0] == pytest.approx(model.predict(convs)[0])
