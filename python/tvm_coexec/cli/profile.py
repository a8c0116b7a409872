"""``coexec profile``: measure kernels and shares on both devices."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.options import flag

from . import checks, rpc
from .model_argument import add_model

if TYPE_CHECKING:
    from tvm_coexec.cost_models.profile import Profile
    from tvm_coexec.measuring.collect.collection import Options, Summary

ENERGY_KERNELS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser, dest="models", nargs="*")
    parser.add_argument(
        "--zoo", action="append", default=[], metavar="NAME", help="measure a network of the zoo, or 'all' of them"
    )
    parser.add_argument("--cpu", default="llvm", metavar="TARGET", help="CPU target (default: %(default)s)")
    parser.add_argument("--gpu", default="opencl", metavar="TARGET", help="GPU target (default: %(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="write samples to this file; an existing file is continued",
    )
    add = parser.add_argument_group("what to measure").add_argument
    add(
        "--cuts",
        type=checks.count,
        default=2,
        metavar="N",
        help="cuts per axis of a compute-intensive kernel (default: 2)",
    )
    add(
        "--designed",
        type=checks.count,
        default=0,
        metavar="N",
        help="add N kernels of the designed set, which covers the range of shapes",
    )
    add(
        "--adaptive",
        type=checks.count,
        default=0,
        metavar="N",
        help="then add N kernels in rounds, where the errors of a model fitted to the others are (with --designed)",
    )
    add(
        "--few",
        type=checks.count,
        default=0,
        metavar="N",
        help="measure only N of the kernels on each device: those that tell most of a new device",
    )
    add(
        "--from",
        dest="others",
        action="append",
        default=[],
        metavar="FILE",
        help="with --few: profile of another device, from which coexec fit --from will start; may be given again",
    )
    add("--budget", type=checks.positive, metavar="SECONDS", help="start no new kernel after this time")
    add("--no-networks", action="store_true", help="do not time whole networks")
    add("--no-contention", action="store_true", help="do not time kernels while the other device is busy")
    add("--energy", action="store_true", help="measure energy by the machine's own gauge (RAPL or a battery)")
    add(
        "--energy-kernels",
        type=checks.at_least_one,
        metavar="N",
        help=f"kernels per device with which energy is measured (default: {ENERGY_KERNELS})",
    )
    add(
        "--energy-seconds",
        type=checks.positive,
        metavar="SECONDS",
        help="minimum time of a reading of energy (default: 2, by the gauge of a battery 10 or 30)",
    )
    add("--retry", action="store_true", help="measure kernels again that failed before")
    add("--disturbed", action="store_true", help="measure kernels again whose times other processes may have disturbed")
    add(
        "--describe-again", action="store_true", help="measure nothing; only update the descriptions of kernels in FILE"
    )
    add = parser.add_argument_group("how to time").add_argument
    add(
        "--repeats",
        type=checks.at_least_one,
        default=7,
        metavar="N",
        help="repeats per kernel, of which the shortest counts (default: 7)",
    )
    add(
        "--min-repeat-ms",
        type=checks.at_least_one,
        default=3,
        metavar="MS",
        help="minimum time of one repeat (default: 3)",
    )
    add(
        "--timeout",
        type=checks.positive,
        default=120.0,
        metavar="SECONDS",
        help="limit for one compilation (default: 120)",
    )
    add(
        "--processes",
        type=checks.count,
        default=0,
        metavar="N",
        help="number of parallel compilations (default: one per core)",
    )
    add("--test-bed", action="store_true", help="if pocl or lavapipe is the GPU: one core for each device")
    rpc.add_arguments(parser)
    parser.add_argument(
        "--boards",
        type=checks.at_least_one,
        metavar="N",
        help="with --rpc-key: measure on at most N of the key's servers in parallel (default: all that are free)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, and print what was measured."""
    args.interrupted = f"interrupted; run the same command again to continue {args.output}"
    checks.folder_of(args.output)
    server = rpc.server_of(args)
    if args.boards and (server is None or server.tracker is None):
        raise CoExecError("--boards is for servers of a tracker: give --rpc-key as well, or leave it out")
    bed = None
    if args.test_bed:
        if server:
            raise CoExecError("--test-bed is for this machine's devices; leave it out with --rpc and --rpc-key")
        from tvm_coexec import testbed
        from tvm_coexec.targets import kind_of_gpu

        bed = testbed.prepare(kind_of_gpu(args.gpu))
    from tvm_coexec.measuring.collect import collector
    from tvm_coexec.measuring.collect.redescribe import describe_again
    from tvm_coexec.measuring.read_model import load_models, make_designed_model

    names = list(dict.fromkeys([*args.models, *_zoo(args.zoo)]))
    if args.adaptive and not args.designed:
        raise CoExecError("--adaptive starts from designed kernels: give --designed N as well, or leave it out")
    if args.adaptive and args.few:
        raise CoExecError("--adaptive adds kernels and --few leaves some out: leave out one of them")
    if args.others and not args.few:
        raise CoExecError("--from chooses the kernels of --few: give --few N as well, or leave it out")
    for name in ("few", "adaptive", "energy"):
        if getattr(args, name) and args.describe_again:
            raise CoExecError(f"--describe-again measures nothing: leave out {flag(name)}")
    if not names and not args.designed:
        raise CoExecError("nothing to measure: name models, or give --designed N")
    if args.input_shapes and not names:
        raise CoExecError("--input-shapes has no effect without a model: name the model, or leave it out")
    models = load_models(names, args.input_shapes) if names else []
    models += [make_designed_model(args.designed)] if args.designed else []
    if args.describe_again:
        changed, unknown = describe_again(args.output, [(m.name, m.graph()) for m in models])
        print(f"{args.output}: updated the descriptions of {changed} samples; {unknown} belong to other models")
        return 0
    for name in ("energy_kernels", "energy_seconds"):
        if getattr(args, name) and not args.energy:
            raise CoExecError(f"{flag(name)} has no effect without --energy: give it as well, or leave it out")
    options = collector.Options(
        cpu=args.cpu,
        gpu=args.gpu,
        cuts=args.cuts,
        repeats=args.repeats,
        min_repeat_ms=args.min_repeat_ms,
        budget_s=args.budget,
        networks=not args.no_networks,
        contention=not args.no_contention,
        processes=args.processes,
        compile_timeout_s=args.timeout,
        bed=bed,
        server=server,
        boards=args.boards or 0,
        energy=(args.energy_kernels or ENERGY_KERNELS) if args.energy else 0,
        energy_s=args.energy_seconds,
        retry=args.retry,
        noisy=args.disturbed,
        few=args.few,
        profiles=tuple(_load(f) for f in args.others),
    )
    done = collector.collect(models, args.output, options)
    if args.adaptive and not done.left:
        done = _add_adaptive(args, options, done)
    each = f", {done.seconds / done.measured:.2f} s each" if done.measured else ""
    print(
        f"{args.output}: {done.measured} measured in {done.seconds:.0f} s{each}; {done.found} were already in the file"
    )
    for board in done.boards:
        paces = ", ".join(f"{device} {pace:.2f}" for device, pace in board.paces.items())
        why = dict(done.left_out).get(board.address)
        parts = [f"{board.measured} timed", f"pace {paces}" if paces else "", f"left out: {why}" if why else ""]
        print(f"board {board.address}: {'; '.join(filter(None, parts))}")
    for line in done.energy:
        print(line)
    if done.failed:
        print(f"{len(done.failed)} kernels failed and are skipped, for example {done.failed[0]}", file=sys.stderr)
    from tvm_coexec.measuring.host_info import BUSY_CORES

    if done.load > BUSY_CORES:
        text = f"other processes used {done.load:.1f} cores while kernels were timed, so times may be too long"
        print(f"{text}: stop other processes and run the same command with --disturbed", file=sys.stderr)
    if done.left:
        print(f"{done.left} kernels are left: run the same command again to continue", file=sys.stderr)
    return 0


def _add_adaptive(args: argparse.Namespace, options: Options, done: Summary) -> Summary:
    """Measure more kernels where the errors are, in what is left of the budget; return the summary of both."""
    from tvm_coexec.measuring.collect.adaptive import collect_adaptively

    budget_s = None if options.budget_s is None else max(0.0, options.budget_s - done.seconds)
    more, rounds = collect_adaptively(
        args.output,
        args.designed,
        args.adaptive,
        replace(options, budget_s=budget_s, networks=False, contention=False, energy=0),
    )
    for number, found in enumerate(rounds, 1):
        low, high = (f"{100 * error:.0f} %" for error in found.errors)
        print(f"round {number}: {found.kernels} kernels around {found.centres} with errors from {low} to {high}")
    return replace(
        done,
        measured=done.measured + more.measured,
        left=done.left + more.left,
        failed=done.failed + more.failed,
        load=max(done.load, more.load),
        seconds=done.seconds + more.seconds,
    )


def _load(file: str) -> Profile:
    from tvm_coexec.cost_models import shipped as profiles
    from tvm_coexec.cost_models.tuned import load_profile

    return load_profile(profiles.find(file))


def _zoo(names: list[str]) -> list[str]:
    if not names:
        return []
    from tvm_coexec.models import zoo

    known = zoo.names("all")
    if "all" in names:
        return zoo.names()
    for name in names:
        if name not in known:
            raise CoExecError(f"--zoo {name}: there is no such network; use one of {', '.join(known)}")
    return names
