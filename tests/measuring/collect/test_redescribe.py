"""Updated workloads keep their times; samples of unknown models are not changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.planner.graphs import conv_kernel, graph
from tvm_coexec.cost_models.dataset import Sample, SampleWriter, read_samples
from tvm_coexec.cost_models.features.workload import Workload
from tvm_coexec.measuring.collect.redescribe import describe_again
from tvm_coexec.measuring.collect.sampling_plan import choose_jobs

HEADER = {"devices": {"cpu": {"target": "llvm"}, "gpu": {"target": "opencl"}}, "tvm": "0", "schedules": "s"}
OLD = Workload("other", ow=1)
MEETING = {"record": "meeting", "seconds": 1e-5}


def test_workloads_are_renewed(tmp_path):
    path = str(tmp_path / "s.jsonl")
    net = graph(replace(conv_kernel(0, (-1,)), attrs={"kernel_size": [3, 3], "strides": [1, 1]}))
    jobs = choose_jobs([("net", net)], 1)
    foreign = Sample("cpu", OLD, 1.0, signature="another")
    with SampleWriter(path, HEADER) as writer:
        for n, job in enumerate(jobs):
            writer.write(MEETING)
            device, signature, dim, rows = job.key
            writer.write(Sample(device, OLD, 1.0 + n, 0.1, 3, "net", "conv", signature, dim, rows, 0.5, 2000.0))
        writer.write(foreign)
    with open(path, "a", encoding="utf-8") as f:
        f.write('{"torn')
    assert describe_again(path, [("net", net)]) == (len(jobs), 1)
    read = read_samples(path)
    assert read.samples[-1] == foreign and len(read.round_trips) == len(jobs)
    for n, (job, sample) in enumerate(zip(jobs, read.samples, strict=False)):
        assert sample.workload == job.workload and sample.workload.kind == "conv"
        assert (sample.seconds, sample.key, sample.repeats, sample.load) == (1.0 + n, job.key, 3, 0.5)
    before = Path(path).read_bytes()
    assert describe_again(path, [("net", net)]) == (0, 1)
    assert Path(path).read_bytes() == before
