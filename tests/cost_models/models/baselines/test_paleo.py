"""Paleo's sum: bytes, FLOPs of the algorithm, percent of peak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cost_models.kernels import conv, elements, many
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.device_parameters import DeviceParameters
from tvm_coexec.cost_models.models.baselines.paleo import Paleo, count_flops


def law(kernels, peak, percent, bytes_per_s):
    return np.array([w.flops / (peak * percent.get(w.kind, 1.0)) + w.traffic_bytes / bytes_per_s for w in kernels])


def test_parameters_are_found():
    kernels = many()
    percent = {"conv": 0.5, "dense": 0.25, "depthwise_conv": 0.1}
    seconds = law(kernels, 4e10, percent, 8e9)
    model = Paleo().fit(kernels, seconds)
    np.testing.assert_allclose(model.predict(kernels), seconds, rtol=0.02)
    assert model.s_per_byte_ == pytest.approx(1 / 8e9, rel=0.02)
    given = Paleo(peak_flops_per_s=4e10, bytes_per_s=8e9).fit(kernels, seconds)
    assert given.peak_ == 4e10 and given.percents_["conv/nchwc"] == pytest.approx(0.5, rel=0.03)
    np.testing.assert_allclose(given.predict(kernels), seconds, rtol=0.1)


def test_parameters_of_a_device():
    model = Paleo.of_device(DeviceParameters("gpu", peak_flops_per_s=5e11))
    assert (model.peak_flops_per_s, model.bytes_per_s) == (5e11, None)
    kernels = many()
    fitted = model.fit(kernels, law(kernels, 5e11, {"conv": 0.3}, 1e10))
    assert fitted.peak_ == 5e11 and fitted.percents_["conv/nchwc"] == pytest.approx(0.3, rel=0.05)


def test_winograd_has_less_work():
    direct = conv(64, 64, 56, 3)
    four, two = (replace(direct, algorithm=f"winograd_{n}x{n}") for n in (4, 2))
    assert count_flops(direct) == direct.flops
    # 36 products instead of 144 for sixteen outputs, 16 instead of 36 for four, and transforms
    assert direct.flops / 4 < count_flops(four) < direct.flops / 3
    assert direct.flops / 2.25 < count_flops(two) < direct.flops / 1.8
    assert count_flops(replace(four, special=1e6)) == count_flops(four) + 1e6


def test_copies_take_their_bytes():
    kernels = [elements(n) for n in (10**5, 10**6, 10**4)]
    kernels = [replace(w, flops=0.0) for w in kernels]
    model = Paleo(peak_flops_per_s=1e10, bytes_per_s=4e9).fit(kernels, law(kernels, 1e10, {}, 4e9))
    np.testing.assert_allclose(model.predict(kernels), [w.traffic_bytes / 4e9 for w in kernels], rtol=1e-3)


@pytest.mark.parametrize("options", [{"peak_flops_per_s": 0.0}, {"bytes_per_s": -1.0}, {"bytes_per_s": float("inf")}])
def test_parameters_are_checked(options):
    with pytest.raises(CoExecError, match=f"Paleo's {next(iter(options))} must be a positive number"):
        Paleo(**options)
