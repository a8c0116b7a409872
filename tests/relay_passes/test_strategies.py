"""Whatever a strategy plans, the built module computes the same: branches on both devices, chains of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tests.planner.random_graphs import RandomCosts
from tvm_coexec.planner import STRATEGIES

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


# Seconds a FLOP of devices on which even small kernels are worth dividing.
SLOW = 3e-9


def branches() -> tvm.IRModule:
    """Two convolutions apart, put side by side, a projection around them, and products at the end: 8 kernels."""
    rng = np.random.default_rng(3)
    x = relay.var("x", shape=(1, 6, 13, 11))
    stem = models.conv(rng, x, 6, 10)
    left = models.conv(rng, stem, 10, 6, kernel=1)
    right = models.conv(rng, stem, 10, 8)
    both = relay.concatenate([left, right], axis=1)
    added = both + models.conv(rng, stem, 10, 14, kernel=1, relu=False)
    flat = relay.nn.batch_flatten(relay.nn.max_pool2d(added, pool_size=(3, 3), strides=(2, 2)))
    wide = relay.nn.relu(relay.nn.dense(flat, models.weights(rng, 40, 14 * 6 * 5)))
    return tvm.IRModule.from_expr(relay.Function([x], relay.nn.dense(wide, models.weights(rng, 9, 40))))


@pytest.fixture(scope="module")
def wanted():
    """Model, inputs, and what one device makes of them."""
    mod = branches()
    inputs = models.input_of(mod)
    return mod, inputs, models.reference(mod, inputs)


@pytest.mark.parametrize("seed", [1, 5])
@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "exhaustive"])
def test_result_is_that_of_one_device(strategy, seed, wanted):
    mod, inputs, want = wanted
    options = {} if strategy == "single" else {"min_gain": 0.0}
    costs = RandomCosts(seed, s_per_flop=SLOW)
    lib = tvm_coexec.build(mod, cpu=models.CPU, strategy=strategy, profile=costs, **options)
    models.assert_same(models.run(lib, inputs, [tvm.cpu(0), tvm.opencl(0)]), want)


def test_the_plans_put_all_there_is_to_the_test(wanted):
    """Else the test above says little."""
    plans = [
        tvm_coexec.plan_of(
            tvm_coexec.partition_for_coexec(
                wanted[0], strategy=s, profile=RandomCosts(n, s_per_flop=SLOW), min_gain=0.0
            )
        )
        for s in ("coexec", "layerwise", "mulayer") for n in (1, 5)
    ]  # fmt: skip
    axes = {c.axis for p in plans for c in p.chains}
    assert {"h", "oc"} <= axes and any(len(c.kernels) > 1 for p in plans for c in p.chains)
    assert any({"gpu", "cpu"} <= {s.device for s in p.segments} for p in plans)
