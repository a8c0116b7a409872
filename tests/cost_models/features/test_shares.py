"""Shares of many kernels at once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner import goldens
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.features.shares import KernelShares, describe_shares, stack_shares
from tvm_coexec.cost_models.features.workload import NUMBERS


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("network", ["shufflenet", "inception_v1", "mobilenet"])
def test_shares_of_many_kernels_are_those_of_each(network: str, device: str) -> None:
    random = np.random.default_rng(0)
    by_class: dict[str, list[KernelShares]] = {}
    for kernel in goldens.load_graph(network).kernels:
        for axis in kernel.axes:
            ends = np.sort(random.integers(0, axis.extent + 1, (1 + axis.extent % 5, 2)), axis=1)
            ends[:, 1] += ends[:, 0] == ends[:, 1]
            ranges = ends - (ends[:, 1:] > axis.extent)
            whole = describe(kernel, device)
            by_class.setdefault(whole.key, []).append(KernelShares(kernel, whole, axis, ranges))
    assert len(by_class) > 3
    for many in by_class.values():
        stacked = stack_shares(many)
        start = 0
        for kernel, whole, axis, ranges in many:
            alone = describe_shares(kernel, device, axis.dim, ranges, whole)
            here = slice(start, start + len(ranges))
            for name in NUMBERS:
                expected = np.broadcast_to(np.asarray(getattr(alone, name), float), (len(ranges),))
                np.testing.assert_array_equal(getattr(stacked, name)[here], expected, err_msg=f"{kernel.name} {name}")
            start = here.stop
        assert start == stacked.size
