"""Samples described anew: for when what cost models see of a kernel has changed since it was measured."""

from __future__ import annotations

import json
from dataclasses import replace

from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.cost_models.dataset import Sample, read_samples

from ..pieces import Piece
from .sampling_plan import Job


def describe_again(path: str, graphs: list[tuple[str, KernelGraph]]) -> tuple[int, int]:
    """Write a file of samples with workloads as `describe` makes them now; times stay as they are.

    Parameters
    ----------
    path : str
    graphs : list of (str, KernelGraph)
        The models that were measured.

    Returns
    -------
    (int, int)
        Samples that changed, and samples whose kernels are in none of the models, which stay as they are.

    Raises
    ------
    CoExecError
        When the file can't be read or written.
    """
    samples = read_samples(path)
    kernels = {k.signature(): k for _, graph in graphs for k in graph.kernels}
    changed = unknown = 0
    renewed: list[Sample] = []
    for sample in samples.samples:
        kernel = kernels.get(sample.signature)
        if kernel is None:
            unknown += 1
            renewed.append(sample)
            continue
        piece = Piece(sample.device, kernel.index, sample.dim, sample.rows)
        new = replace(sample, workload=Job(0, sample.network, kernel, piece).workload)
        changed += new.workload.to_json() != sample.workload.to_json()
        renewed.append(new)
    if changed:
        write_atomically(path, "".join(_lines(path, renewed)))
    return changed, unknown


def _lines(path: str, renewed: list[Sample]) -> list[str]:
    """The file's complete lines in their order, samples replaced one after the other."""
    samples = iter(renewed)
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.endswith("\n") and line.strip():
                is_sample = json.loads(line).get("record") == "sample"
                out.append(json.dumps(next(samples).to_json(), separators=(",", ":")) + "\n" if is_sample else line)
    return out
