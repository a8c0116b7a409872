"""``coexec fit``: a profile of both devices from samples."""

from __future__ import annotations

import argparse
import os
import time

from ..cost_models.samples import read_samples
from ..errors import CoExecError
from . import accuracy, checks
from .tables import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("samples", metavar="SAMPLES", help="what `coexec profile` wrote")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the profile (JSON)")
    parser.add_argument("--boosted", action="store_true", help="add boosted residuals (larger; needs xgboost)")
    parser.add_argument("--description", default="", metavar="TEXT", help="what plans say of the profile")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from", dest="other", metavar="FILE", help="another device's profile; few samples are enough")
    start.add_argument("--refine", metavar="FILE", help="this device's profile, to be refined by new samples")


def run(args: argparse.Namespace) -> int:
    """Fit, write, and show how well it fits."""
    from ..cost_models.profile import Profile

    checks.folder_of(args.output)
    samples = read_samples(args.samples)
    if not samples.usable:
        raise CoExecError(f"{args.samples} has no measured kernel; run `coexec profile` first")
    if args.boosted and (args.other or args.refine):
        raise CoExecError("--boosted fits anew; leave out --from and --refine, or --boosted")
    start = time.perf_counter()
    if args.other:
        profile = Profile.load(args.other).transferred(samples)
    elif args.refine:
        profile = Profile.load(args.refine).refined(samples)
    else:
        profile = Profile.fit(samples, boosted=args.boosted, description=args.description)
    seconds = time.perf_counter() - start
    profile.save(args.output)
    print_table([r for c in accuracy.compare(profile, samples.samples) for r in accuracy.rows_of(c)])
    size, count = os.path.getsize(args.output), len(samples.usable)
    print(f"{args.output}: {size} bytes, fitted in {seconds:.2f} s to {count} samples, whose errors these are")
    return 0
