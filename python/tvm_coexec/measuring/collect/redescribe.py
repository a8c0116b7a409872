"""Update the workloads of a dataset after `describe` has changed."""

from __future__ import annotations

import json
from dataclasses import replace

from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.cost_models.dataset import Sample, read_samples

from ..pieces import Piece
from .sampling_plan import Job


def describe_again(path: str, graphs: list[tuple[str, KernelGraph]]) -> tuple[int, int]:
    """Rewrite a dataset with the workloads that `describe` returns now; times are kept.

    Parameters
    ----------
    path : str
    graphs : list of (str, KernelGraph)
        Name and kernel graph of the measured models.

    Returns
    -------
    (int, int)
        Number of samples that changed, and of samples whose kernels are in none of the models, which are kept.

    Raises
    ------
    CoExecError
        If the file can't be read or written.
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
        write_atomically(path, "".join(_replace_samples(path, renewed)))
    return changed, unknown


def _replace_samples(path: str, renewed: list[Sample]) -> list[str]:
    """Return the complete lines of the file, with samples replaced in order."""
    samples = iter(renewed)
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.endswith("\n") and line.strip():
                is_sample = json.loads(line).get("record") == "sample"
                out.append(json.dumps(next(samples).to_json(), separators=(",", ":")) + "\n" if is_sample else line)
    return out
