"""Time of the passes compared with relay.build.

``relay.build`` is timed on the co-executed module (both targets) and, as a second reference, on the unsplit model for
the CPU alone: the passes take over some of what it does there (constant folding, layouts).
"""

from __future__ import annotations

import time

from benchmarks import _common, _modules

NETWORKS = ("resnet50", "squeezenet", "shufflenet", "inception_v1", "densenet121")
GOAL = 0.10


def measure(name: str) -> dict:
    """One row of the table: CPU seconds of this process, which load of other processes disturbs least."""
    import tvm
    from tvm import relay

    import tvm_coexec
    from tvm_coexec.cost_models import AnalyticCosts

    net = _modules.Network.load(name)
    targets = tvm_coexec.targets(_modules.CPU, _modules.GPU)
    seconds = {}
    with tvm.transform.PassContext(opt_level=3):
        start = time.process_time()
        # with fixed costs, because measuring kernels is not part of the passes
        split = tvm_coexec.partition_for_coexec(net.mod, net.params, profile=AnalyticCosts())
        seconds["passes"] = time.process_time() - start
        start = time.process_time()
        relay.build(split, target=targets)
        seconds["build"] = time.process_time() - start
        start = time.process_time()
        relay.build(net.mod, target=targets[0], params=net.params)
        seconds["unsplit"] = time.process_time() - start
    return {
        "network": name,
        "passes_s": seconds["passes"],
        "build_s": seconds["build"],
        "passes_over_build": seconds["passes"] / seconds["build"],
        "unsplit_cpu_build_s": seconds["unsplit"],
    }


def main() -> None:
    """Measure all networks."""
    args = _common.parse("passes", __doc__, names=NETWORKS)
    bed = _common.TestBed()
    rows = _common.keep_rows(args, "network")
    rows += [measure(name) for name in _common.progress(("squeezenet",) if args.quick else args.names)]
    _common.finish(args, bed, rows, [f"goal: passes_over_build <= {GOAL:g}"])


if __name__ == "__main__":
    main()
