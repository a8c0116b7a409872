"""``coexec eval``: compare a profile's predictions with measurements."""

from __future__ import annotations

import argparse
import json
import logging

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically
from tvm_coexec.cost_models.dataset import read_samples

from . import accuracy, checks
from .tables import print_table

logger = logging.getLogger("tvm_coexec")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "profile", metavar="PROFILE", help="a file that `coexec fit` wrote, or a shipped profile's name"
    )
    parser.add_argument("samples", metavar="SAMPLES", help="a file that `coexec profile` wrote")
    parser.add_argument("--by", choices=("class", "network"), default="class", help="rows of the table")
    parser.add_argument(
        "--plots", metavar="FOLDER", help="write plots of predictions, errors and a learning curve to this folder"
    )
    parser.add_argument("--json", metavar="FILE", help="write the table and all predictions to this file")


def run(args: argparse.Namespace) -> int:
    """Compare and print the tables."""
    from tvm_coexec.cost_models import shipped as profiles
    from tvm_coexec.cost_models.fit_profile import find_other_device
    from tvm_coexec.cost_models.tuned import load_profile

    if args.json:
        checks.folder_of(args.json)
    if args.plots:
        from .plots import require_matplotlib

        require_matplotlib()
    profile = load_profile(profiles.find(args.profile))
    samples = read_samples(args.samples)
    if other := find_other_device(profile, samples):
        logger.warning("%s and %s are of different devices (%s)", args.profile, args.samples, other)
    if profile.provenance.differs_in_schedules(str(samples.header.get("schedules", ""))):
        logger.warning("%s and %s were measured with different schedules", args.profile, args.samples)
    if not samples.usable:
        raise CoExecError(f"{args.samples} has no measured kernels; run `coexec profile` first")
    compared = accuracy.compare(profile, samples.samples)
    rows = [r for c in compared for r in (accuracy.rows_of(c) if args.by == "class" else accuracy.rows_by_network(c))]
    print_table(rows)
    networks = accuracy.whole_networks(profile, samples)
    if networks:
        print()
        print_table(networks, "whole networks, predicted from the times of their kernels")
    coverage = accuracy.coverage_of(profile, compared)
    print(f"profile: {profile.provenance.to_text() or 'it does not say when it was measured'}")
    if text := coverage.to_text():
        print(text)
    failed = len(samples.samples) - len(samples.usable)
    if failed:
        print(f"{failed} of {len(samples.samples)} samples could not be measured and are left out")
    if args.json:
        kernels = [
            {"device": c.device, "network": s.network, "kernel": s.kernel, "class": s.workload.key, "dim": s.dim,
             "rows": s.rows, "measured_s": s.seconds, "predicted_s": float(p)}
            for c in compared for s, p in zip(c.samples, c.predicted_s, strict=True)
        ]  # fmt: skip
        write_atomically(
            args.json,
            json.dumps(
                {
                    "table": rows,
                    "networks": networks,
                    "origin": profile.provenance.to_json(),
                    "coverage": {"weak_fraction": coverage.weak_fraction, "weak_s": coverage.weak_s},
                    "kernels": kernels,
                },
                indent=1,
            )
            + "\n",
        )
    if args.plots:
        from .plots import draw

        for path in draw(compared, samples, args.plots):
            print(path)
    return 0
