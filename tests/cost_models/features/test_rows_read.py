"""The bytes that a share is taken to read are those that its ranges need, whatever kind of map leads to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.planner import graphs
from tvm_coexec.core.access import AccessMap, ClampedMap, InputAccess, MirroredMap, NonEmptyMap
from tvm_coexec.core.kernel_graph import SplitAxis
from tvm_coexec.cost_models import describe, describe_shares

ROWS = 32
NEEDS = {
    "window": ((AccessMap(1, -1, 1, 1, ROWS),),),
    "two paths": ((AccessMap(1, -1, 1, 1, ROWS),), (AccessMap(1, -4, -4, 1, ROWS),)),
    "padding": ((ClampedMap(1, -8, -8, 1, ROWS, 8, 23),),),
    "mirror": ((MirroredMap(1, -6, -6, 1, ROWS, 1),),),
    "transposed": ((NonEmptyMap(1, -1, 0, 4, ROWS),),),
    "padding of a window": ((AccessMap(1, -1, 1, 1, ROWS), ClampedMap(1, -8, -8, 1, ROWS, 8, 23)),),
}


@pytest.mark.parametrize("paths", NEEDS.values(), ids=list(NEEDS))
@pytest.mark.parametrize("op", ["nn.conv2d", "nn.relu"])
def test_bytes_and_rows(op, paths):
    need = InputAccess(2, paths)
    kernel = replace(graphs.conv_kernel(0, (-1,)), op=op, axes=(SplitAxis("h", 2, ROWS, 1, 1, (need,), False),))
    tensor = kernel.in_tensors[0]
    assert tensor.shape[2] == ROWS
    ranges = [(lo, hi) for lo in range(ROWS) for hi in range(lo + 1, ROWS + 1)]
    rows = np.array([need.apply(*r)[1] - need.apply(*r)[0] for r in ranges])
    for device in ("cpu", "gpu"):
        whole, shares = describe(kernel, device), describe_shares(kernel, device, 2, ranges)
        assert shares.in_bytes.tolist() == (tensor.nbytes * rows / ROWS).tolist()
        if whole.kind == "conv":
            assert shares.ih.tolist() == (whole.ih * rows / ROWS).tolist()
