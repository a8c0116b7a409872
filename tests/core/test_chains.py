"""Chains: how a split travels through kernels, halos, and where values that others read are cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.access import InputAccess, identity
from tvm_coexec.core.chains import chain_dims, chain_shares
from tvm_coexec.core.kernel_graph import REDUCED, Kernel, SplitAxis


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
    with pytest.raises(CoExecError, match=r"kernel 1 .* needs all of kernel 0"):
        chain_dims(graphs.straight(2), [0, 1], "oc")


def test_unknown_axis_names_the_known_ones():
    with pytest.raises(CoExecError, match=r"no axis 'batch' \(available: oc, h"):
        chain_dims(graphs.straight(1), [0], "batch")


@pytest.mark.parametrize("cut", [-2, 33])
def test_cut_outside_the_axis(cut):
    with pytest.raises(CoExecError, match=f"cut {cut} of kernel 0"):
        chain_shares(graphs.straight(1), [0], "h", cut)


def reducing(index: int, inputs: tuple[int, ...], channels: int = 32) -> Kernel:
    """A 1x1 convolution (with a residual when it has a second input) that can also be split along its reduction."""
    kernel = graphs.conv_kernel(index, inputs, channels)
    needs = (InputAccess(1, ((identity(channels),),)), *(InputAccess(0, (), after_join=True) for _ in inputs[1:]))
    return replace(kernel, axes=(*kernel.axes, SplitAxis("ic", REDUCED, channels, 1, 4, needs, True)))


def test_channels_then_reduction_is_one_chain():
    g = graphs.graph(reducing(0, (-1,)), graphs.add_kernel(1, (0,)), reducing(2, (1,)))
    shares = chain_shares(g, [0, 1, 2], "ic", 12)
    assert shares.dims == {0: 1, 1: 1, 2: REDUCED}
    assert [shares.gpu[k] for k in (0, 1, 2)] == [(0, 12)] * 3
    assert [shares.cpu[k] for k in (0, 1, 2)] == [(12, 32)] * 3
    assert shares.cuts == {2: 12}
    axis = g.kernels[2].axis(REDUCED)
    assert axis is g.kernels[2].named_axis("ic") and axis.reduces and not g.kernels[2].named_axis("oc").reduces


def test_value_before_a_reduction_that_is_read_outside_is_cut_along_its_channels():
    g = replace(graphs.graph(reducing(0, (-1,)), reducing(1, (0,)), graphs.conv_kernel(2, (0, 1))), outputs=(2,))
    assert chain_shares(g, [0, 1], "ic", 5).cuts == {1: 5, 0: 5}


def test_cut_of_a_reduction_is_in_input_channels():
    g = graphs.graph(reducing(0, (-1,), 48))  # more input channels than the output has rows
    assert chain_shares(g, [0], "ic", 40).cpu[0] == (40, 48)
    with pytest.raises(CoExecError, match=r"cut 49 of kernel 0 .* between 0 and 48"):
        chain_shares(g, [0], "ic", 49)


def test_partial_sums_feed_no_kernel_of_the_chain():
    g = graphs.graph(reducing(0, (-1,)), reducing(1, (0,)), reducing(2, (1,)))
    with pytest.raises(CoExecError, match=r"kernel 1 .* needs all of kernel 0"):
        chain_dims(g, [0, 1, 2], "ic")
    with pytest.raises(CoExecError, match=r"kernel 0 .* only the last kernel of a chain can be split along 'ic'"):
        chain_dims(graphs.graph(reducing(0, (-1,)), reducing(1, (-1,))), [0, 1], "ic")


def test_what_is_added_after_the_join_stays_out_of_the_chain():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), reducing(1, (0,)), reducing(2, (1, 0)))
    with pytest.raises(CoExecError, match=r"kernel 2 .* adds kernel 0 .* leave kernel 0 out of the chain"):
        chain_dims(g, [0, 1, 2], "ic")
    assert chain_shares(g, [1, 2], "ic", 8).dims == {1: 1, 2: REDUCED}
    assert g.kernels[2].axis(REDUCED).needs[1].apply(0, 8) == (0, 0)
