"""Ranges: halo, union, rounding, and how chains carry a split."""

from __future__ import annotations

import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.kernel_graph import Step, chain_dims, chain_shares, cuts_of, dtype_bytes, round_cut, round_out, union


def test_step_of_a_strided_convolution():
    step = Step(2, -1, 1, 1, 14)  # stride 2, kernel 3, padding 1
    assert step.apply((0, 3)) == (0, 6)
    assert step.apply((3, 7)) == (5, 14)
    assert step.apply((3, 3)) == (0, 0)


def test_step_of_a_concatenated_field_may_need_nothing():
    field = Step(1, -8, -8, 1, 4)  # channels 8..12 of the result
    assert field.apply((0, 8)) == (0, 0)
    assert field.apply((0, 10)) == (0, 2)
    assert field.apply((10, 20)) == (2, 4)


def test_union_and_round_out():
    assert union((0, 0), (3, 5)) == (3, 5)
    assert union((2, 4), (3, 9)) == (2, 9)
    assert round_out((3, 5), 4, 10) == (0, 8)
    assert round_out((9, 10), 4, 10) == (8, 10)


def test_halo_grows_backwards():
    shares = chain_shares(graphs.straight(3), [0, 1, 2], "h", 16)
    assert [shares.gpu[k] for k in (0, 1, 2)] == [(0, 18), (0, 17), (0, 16)]
    assert [shares.cpu[k] for k in (0, 1, 2)] == [(14, 32), (15, 32), (16, 32)]
    assert shares.cuts == {2: 16}


def test_value_read_outside_is_cut_where_the_gpu_stops_computing_it():
    g = graphs.residual()
    shares = chain_shares(g, [0, 1, 2], "h", 16)  # kernel 0 is read by the add outside
    assert shares.cuts == {2: 16, 0: 18}
    assert shares.gpu[0] == (0, 18)
    assert shares.cpu[0] == (14, 32)


def test_residual_block_is_one_chain():
    shares = chain_shares(graphs.residual(), [0, 1, 2, 3, 4], "h", 16)
    assert shares.gpu[3] == (0, 17)
    assert shares.gpu[0] == (0, 19)  # the wider of the block's halo and the shortcut's


def test_channels_do_not_travel_through_a_convolution():
    with pytest.raises(CoExecError, match=r"kernel 1 .* needs the whole of kernel 0"):
        chain_dims(graphs.straight(2), [0, 1], "oc")


def test_unknown_axis_names_the_known_ones():
    with pytest.raises(CoExecError, match="no axis 'batch' to split; it has: oc, h"):
        chain_dims(graphs.straight(1), [0], "batch")


@pytest.mark.parametrize("cut", [-2, 33])
def test_cut_outside_the_axis(cut):
    with pytest.raises(CoExecError, match=f"cut {cut} of kernel 0"):
        chain_shares(graphs.straight(1), [0], "h", cut)


def test_round_cut_keeps_the_ends_and_aligns():
    axis = graphs.straight(1).kernels[0].named_axis("oc")
    assert [round_cut(axis, r) for r in (0.0, 0.3, 0.5, 1.0)] == [0, 8, 16, 32]
    assert cuts_of(axis) == [4, 8, 12, 16, 20, 24, 28]


def test_dtype_bytes():
    assert [dtype_bytes(t) for t in ("float32", "float16", "int8", "bool", "int64", "uint1")] == [4, 2, 1, 1, 8, 1]


def test_fingerprint_depends_on_structure():
    assert graphs.straight(3).fingerprint() == graphs.straight(3).fingerprint()
    assert graphs.straight(3).fingerprint() != graphs.straight(4).fingerprint()
