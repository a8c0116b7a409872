"""What a kernel reads of tensors that it reads in part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.partial_reads import CONSTANT, PartialRead


def lookup() -> KernelGraph:
    """A kernel that reads rows of its input and of a constant."""
    base = graphs.straight(1)
    size = base.kernels[0].in_bytes
    reads = (PartialRead(0, size, size // 4), PartialRead(CONSTANT, 4096, 8192))
    return replace(base, kernels=(replace(base.kernels[0], partial_reads=reads, functions=(("erf", 12.0),)),))


def test_bytes():
    (kernel,), (plain,) = lookup().kernels, graphs.straight(1).kernels
    assert (kernel.read_bytes, kernel.weight_read_bytes) == (plain.in_bytes // 4, 4096)
    assert (plain.read_bytes, plain.weight_read_bytes) == (plain.in_bytes, plain.weight_bytes)
    assert (kernel.in_bytes, kernel.weight_bytes) == (plain.in_bytes, plain.weight_bytes)  # sizes, as before
    assert kernel.signature() == plain.signature()


def test_files():
    text = lookup().to_json()
    assert KernelGraph.from_json(text) == lookup()
    assert "partial_reads" not in graphs.straight(1).to_json() and "functions" not in graphs.straight(1).to_json()
    line = next(x for x in text.splitlines() if '"partial_reads"' in x)
    front, rest = line[: line.index('"functions"')], line[line.index('"functions"') :]
    for before, after in (("[0,", "[1,"), ("[-1,", "[-2,"), ("8192", "-1"), ('"erf"', "7"), ("12.0", "-3.0")):
        damaged = text.replace(line, front + rest.replace(before, after, 1))
        with pytest.raises(CoExecError, match="kernel graph is damaged: in kernel 0"):
            KernelGraph.from_json(damaged)
