"""Turn a table of RK3399 convolutions into samples that ``coexec fit`` reads: the source of the generic profile.

    python scripts/rk3399_samples.py conv2d_cpu_gpu.csv -o rk3399.jsonl
    coexec fit rk3399.jsonl -o cost_models/shipped/generic.json --description "..."

The table has the best records of TVM's public TopHub logs for the CPU and the Mali-T860 of that board, one shape per
row: ``N, IC, IH, IW, OC, KH, KW, stride, pad, depthwise, cpu_ms, mali_ms``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._latency_data import read_rk3399
from tvm_coexec.cost_models.dataset import Sample, SampleWriter

DEVICES = {
    "cpu": {"target": "llvm", "name": "RK3399 CPU"},
    "gpu": {"target": "opencl", "name": "RK3399 Mali-T860"},
}
# The algorithms that TVM's strategies choose without records; the table does not name those of its records.
ALGORITHMS = {"cpu": "nchwc", "gpu": "direct"}


def main() -> None:
    """Read, convert, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("table", type=Path, metavar="CSV")
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    args = parser.parse_args()
    measured = read_rk3399(args.table)
    with SampleWriter(args.output, {"devices": DEVICES, "tvm": "", "schedules": ""}) as writer:
        for device, name in (("cpu", "cpu"), ("gpu", "mali")):
            m = measured[name]
            for workload, seconds, group in zip(m.workloads, m.seconds, m.groups, strict=True):
                algorithm = workload.algorithm.replace("tuned", ALGORITHMS[device])
                described = replace(workload, algorithm=algorithm)
                writer.write(Sample(device, described, float(seconds), network="TopHub", signature=f"rk3399-{group}"))


if __name__ == "__main__":
    main()
