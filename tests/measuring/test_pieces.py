"""Pieces are built as a co-executed module has them."""

from __future__ import annotations

import pytest

import tvm_coexec
from tests import models
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import REDUCED
from tvm_coexec.measuring.pieces import KernelBuilder, Piece
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = pytest.mark.llvm


@pytest.fixture(scope="module")
def builder():
    prepared = Prepare()(models.conv_chain(2))
    return KernelBuilder(prepared, extract_with_calls(prepared), *tvm_coexec.targets())


def shape(func) -> tuple[int, ...]:
    return tuple(int(d) for d in func.checked_type.ret_type.shape)


@pytest.mark.parametrize(
    ("piece", "want"),
    [
        (Piece("cpu", 0), (1, 8, 14, 14)),
        (Piece("gpu", 1), (1, 8, 14, 14)),
        (Piece("gpu", 0, 1, (0, 4)), (1, 4, 14, 14)),
        (Piece("cpu", 0, 1, (2, 8)), (1, 6, 14, 14)),
        (Piece("gpu", 1, 2, (0, 6)), (1, 8, 6, 14)),
        (Piece("cpu", 1, 2, (6, 14)), (1, 8, 8, 14)),
        (Piece("gpu", 0, REDUCED, (0, 4)), (1, 8, 14, 14)),
        (Piece("cpu", 1, REDUCED, (4, 8)), (1, 8, 14, 14)),
    ],
)
def test_a_piece_computes_its_rows(builder, piece, want):
    func = builder.function(piece)
    assert shape(func) == want
    packed = "contrib_conv2d_NCHWc" in str(func)
    assert packed == (piece.device == "cpu")


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_partial_sum_is_the_anchor_alone(builder, device):
    """Neither the addition of the parts nor what follows it is measured with a share."""
    func = builder.function(Piece(device, 1, REDUCED, (0, 3) if device == "gpu" else (3, 8)))
    (x,) = func.params
    assert [int(d) for d in x.checked_type.shape] == [1, 3 if device == "gpu" else 5, 14, 14]
    assert "add(" not in str(func) and "relu" not in str(func)


def test_a_share_reads_its_halo(builder):
    (x,) = builder.function(Piece("gpu", 1, 2, (0, 6))).params
    assert [int(d) for d in x.checked_type.shape] == [1, 8, 7, 14]


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        (Piece("gpu", 0, 1, (4, 8)), "rows 4 to 8 of 8 are not a share of the gpu"),
        (Piece("cpu", 0, 1, (0, 8)), "rows 0 to 8 of 8 are not a share of the cpu"),
        (Piece("cpu", 0, 0, (0, 1)), "can't be split along dimension 0"),
    ],
)
def test_what_no_plan_could_ask_for_is_refused(builder, piece, text):
    with pytest.raises(CoExecError, match=text):
        builder.function(piece)
