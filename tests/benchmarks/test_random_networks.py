"""Networks of random structure are well-typed, repeatable, and of all kinds of blocks."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llvm


@pytest.mark.slow
def test_networks():
    import tvm
    from tvm import relay

    from benchmarks._random_blocks import IMAGE_BLOCKS, TOKEN_BLOCKS
    from benchmarks._random_networks import random_network

    found = ""
    for seed in range(24):
        net = random_network(seed)
        typed = relay.transform.InferType()(net.mod)
        assert len(typed["main"].checked_type.ret_type.shape) >= 2
        assert {p.name_hint for p in typed["main"].params} == set(net.inputs)
        found += net.name
    assert [b.__name__ for b, _ in (*IMAGE_BLOCKS, *TOKEN_BLOCKS) if f" {b.__name__}" not in found] == []
    one, same, other = (random_network(seed) for seed in (5, 5, 6))
    assert tvm.ir.structural_equal(one.mod, same.mod) and not tvm.ir.structural_equal(one.mod, other.mod)
    assert (one.inputs["x"] == same.inputs["x"]).all()
