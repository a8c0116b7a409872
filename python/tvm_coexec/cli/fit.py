"""``coexec fit``: fit a profile of both devices to samples."""

from __future__ import annotations

import argparse
import logging
import os
import time
from dataclasses import replace

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import Sample, Samples, read_samples
from tvm_coexec.cost_models.device_names import devices_of
from tvm_coexec.cost_models.device_parameters import read_parameters
from tvm_coexec.cost_models.energy_records import fit_power
from tvm_coexec.cost_models.models.registry import MODELS
from tvm_coexec.cost_models.plan_cache import read_records
from tvm_coexec.cost_models.plan_records import PlanRecord
from tvm_coexec.cost_models.power import Power, read_readings

from . import accuracy, checks
from .tables import print_table

logger = logging.getLogger("tvm_coexec")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("samples", metavar="SAMPLES", help="a file that `coexec profile` wrote")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="write the profile to this file (JSON)")
    parser.add_argument(
        "--model",
        default="analytic",
        metavar="NAME",
        help=f"latency model of both devices: {', '.join(MODELS)} (default: %(default)s)",
    )
    parser.add_argument("--boosted", action="store_true", help="the same as --model boosted (larger; needs xgboost)")
    parser.add_argument(
        "--description", default="", metavar="TEXT", help="text by which plans and reports name the profile"
    )
    parser.add_argument(
        "--parameters",
        metavar="FILE",
        help='parameters of the devices that are not found on the machine: {"gpu": {"peak_flops_per_s": 1e11}} (JSON)',
    )
    parser.add_argument(
        "--meter",
        metavar="CSV",
        help="readings of a power meter, columns seconds, joules, cpu, gpu... (default: energy in the samples)",
    )
    parser.add_argument(
        "--plans", metavar="FILE", help="verified plans, or 'none' (default: those in the cache for the same devices)"
    )
    parser.add_argument(
        "--records",
        nargs="+",
        default=[],
        metavar="FILE",
        help="tuning records of these devices: logs of AutoTVM or of the auto-scheduler, folders of MetaSchedule",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from",
        dest="others",
        action="append",
        default=[],
        metavar="FILE",
        help="start from another device's profile; few samples are enough; may be given again for more devices",
    )
    start.add_argument("--refine", metavar="FILE", help="refine this device's profile with new samples")


def run(args: argparse.Namespace) -> int:
    """Fit, write the profile, and print how well it fits."""
    from tvm_coexec.cost_models import shipped as profiles
    from tvm_coexec.cost_models.fit_profile import find_other_device, fit_profile, refine_profile, transfer_profile
    from tvm_coexec.cost_models.tuned import load_profile

    checks.folder_of(args.output)
    samples = read_samples(args.samples)
    samples.plans += _plans(args.plans, samples)
    if not samples.usable and not (args.refine and samples.plans):
        raise CoExecError(f"{args.samples} has no measured kernels; run `coexec profile` first")
    if args.boosted and args.model not in ("analytic", "boosted"):
        raise CoExecError(f"--boosted is --model boosted: leave it out, or --model {args.model}")
    model = "boosted" if args.boosted else args.model
    option = "--boosted" if args.boosted else f"--model {model}"
    if model != "analytic" and args.records:
        raise CoExecError(f"--records: only the model 'analytic' learns from tuning records; leave out {option}")
    if model != "analytic" and (args.others or args.refine):
        raise CoExecError(f"{option} can't start from another profile: leave out --from and --refine, or {option}")
    if args.parameters and (args.others or args.refine):
        raise CoExecError("--parameters has no effect with --from and --refine: leave it out")
    parameters = read_parameters(args.parameters) if args.parameters else None
    tuned = _tuned(args.records, samples)
    power = _power(args.meter, samples)
    start = time.perf_counter()
    if args.others:
        profile = transfer_profile([load_profile(profiles.find(f)) for f in args.others], samples)
    elif args.refine:
        old = load_profile(profiles.find(args.refine))
        if other := find_other_device(old, samples):
            raise CoExecError(f"--refine {args.refine} is of other devices than {args.samples} ({other}): use --from")
        profile = refine_profile(old, samples)
    else:
        profile = fit_profile(samples, model, args.description, parameters=parameters)
    if tuned:
        from tvm_coexec.cost_models.fit_tuned import add_tuned

        profile = add_tuned(profile, tuned)
    seconds = time.perf_counter() - start
    profile = replace(profile, power=power or profile.power)
    profile.save(args.output)
    compared = accuracy.compare(profile, [*samples.samples, *tuned])
    print_table([r for c in compared for r in accuracy.rows_of(c)])
    for line in accuracy.weak_classes(compared):
        print(line)
    size, count = os.path.getsize(args.output), len(samples.usable)
    print(f"{args.output}: {size} bytes, fitted in {seconds:.2f} s to {count} samples; errors on these samples")
    if tuned:
        print(f"{len(tuned)} tuned operators from records: classes with the variant 'tuned'")
    if samples.plans:
        count, factor = len(samples.plans), profile.plan_factor
        print(f"{count} verified plans: those with chains take {factor:.2f} times as long as predicted")
    return 0


def _power(meter: str | None, samples: Samples) -> Power | None:
    """Power by readings of a meter, or else by the energy that `coexec profile --energy` measured."""
    if meter is not None:
        return Power.fit(read_readings(meter))
    if not samples.energy:
        return None
    try:
        return fit_power(samples.energy)
    except CoExecError as err:  # the profile serves latency
        logger.warning("the profile will have no power: %s", err)
        return None


def _tuned(paths: list[str], samples: Samples) -> list[Sample]:
    """Samples of tuned kernels, from records of the devices of the samples."""
    if not paths:
        return []
    try:
        from tvm_coexec.tuning.teach import tuned_samples  # reading records needs TVM; fitting does not
    except ImportError as err:
        raise CoExecError(f"--records needs a TVM with Relay ({err}); leave it out, or install one") from None
    targets, _ = devices_of(samples)
    return tuned_samples(paths, targets, "--records")


def _plans(given: str | None, samples: Samples) -> list[PlanRecord]:
    """Verified plans from a file, or else from the user's cache."""
    if given is not None:
        return [] if given == "none" else read_samples(given).plans
    if samples.plans:  # the samples file itself holds verified plans
        return []
    return read_records(samples.header)
