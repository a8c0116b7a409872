"""Co-execution on TVM's own OpenCL runtime, from C++ and over RPC, compared with each device alone and with Python.

TVM's own runtime is imitated (``TVM_COEXEC_OPENCL_COPIES=blocking``): each copy waits for all of the GPU's work. The
C++ example, and a stock RPC server to which the runtime is uploaded, run files that Python runs as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks import _common, _modules, _outside
from benchmarks._compare import compare_with_alone
from benchmarks.models import NETWORKS

BLOCKING = {"TVM_COEXEC_OPENCL_COPIES": "blocking"}
FROM_OUTSIDE = ("squeezenet", "mobilenet", "resnet50")
GOALS = {"least": 0.98, "mean": 1.25, "c++_off_%": 2.0, "rpc_off_%": 5.0, "create_beyond_ms": 20.0}


def measure_blocking(name: str, profile: str, turns: int) -> dict:
    """One network on the imitated runtime, planned for it; in a process of its own, since a driver is opened once."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.runtimes",
        "--child",
        name,
        "--profile",
        profile,
        "--turns",
        str(turns),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **BLOCKING})
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure_here(name: str, profile: str, turns: int) -> dict:
    bed = _common.TestBed()
    net = _modules.Network.load(name)
    both, plan = _modules.build_coexecuted(net, "both", profile=profile, runtime="tvm")
    alone = _modules.plan_alone(net, profile=profile, runtime="tvm")
    made = compare_with_alone(net, both, bed, turns, _modules.CPU)
    return made.row | {
        "expected_speed_up": alone.expected_s / plan.expected_s,
        "chains": len(plan.chains),
        "max_rel_error": _modules.relative_error(made.outputs["both"][0], net.reference),
        "waited_s": made.waited_s,
    }


def main() -> None:
    """Measure the networks on the imitated runtime, and three of them from outside Python."""
    args = _common.parse("runtimes", __doc__, names=NETWORKS, own=_own_arguments)
    if args.own.child:
        print(json.dumps(_measure_here(args.own.child, args.own.profile, args.own.turns)))
        return
    bed = _common.TestBed()
    names = ("squeezenet",) if args.quick else args.names
    rows, outside = _common.keep_rows(args, "network"), _keep_outside(args)
    with tempfile.TemporaryDirectory() as folder:
        program = _outside.build_program(folder)
        for name in _common.progress(names):
            rows.append(measure_blocking(name, args.own.profile, 3 if args.quick else args.own.turns))
            if name in FROM_OUTSIDE:
                net = _modules.Network.load(name, reference=False)
                outside.append(_outside.measure(net, bed.bed, args.own.profile, program, bed.pin))
            print(_common.table(rows[-1:]), flush=True)
            _common.write(args, bed.setting(), rows, _notes(args, rows), {_OUTSIDE: outside})  # if it is interrupted
    _common.finish(args, bed, rows, _notes(args, rows), details={_OUTSIDE: outside})


_OUTSIDE = "the same file run by Python, the C++ example and a stock RPC server: median ms, the best of three rounds"


def _keep_outside(args: _common.Arguments) -> list[dict]:
    details = {} if args.quick else _common.read_earlier(args)[1]
    return [row for row in details.get(_OUTSIDE, []) if row["network"] not in args.names]


def _notes(args: _common.Arguments, rows: list[dict]) -> list[str]:
    gains = [r["speed_up"] for r in rows]
    return [
        "table below: TVM's own OpenCL runtime, imitated; median wall-clock ms as in benchmarks/models, each device "
        "alone on it as well",
        f"geometric mean of speed_up {statistics.geometric_mean(gains):.2f} (goal {GOALS['mean']}), the least "
        f"{min(gains):.2f} (goal {GOALS['least']})",
        f"goals from outside Python: equal bits; C++ within {GOALS['c++_off_%']:g} %, RPC, by the server's clock, "
        f"within {GOALS['rpc_off_%']:g} %, without copies in the runs; creating the executor at most "
        f"{GOALS['create_beyond_ms']:g} ms beyond TVM's own",
        f"planned with the profile '{args.own.profile}'",
    ]


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    text = "costs for planning: a profile's name or file, or 'measure' (default: test_bed)"
    parser.add_argument("--profile", default="test_bed", metavar="PROFILE", help=text)
    parser.add_argument("--turns", type=int, default=9, metavar="N", help="turns of a network (default: 9)")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)


if __name__ == "__main__":
    main()
