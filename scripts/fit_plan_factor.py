r"""Set a profile's co-run calibration by networks that were measured with plans of that profile.

``coexec fit --plans`` takes it from verified plans. This script takes it from benchmarks, which time more networks: it
multiplies a profile's calibration by the median, over networks with chains, of promised over measured speed-up. What a
plan must promise at least (``error.plans`` of the profile) is such that all of these networks keep some gain.

    python scripts/fit_plan_factor.py benchmarks/results/never_slower.json benchmarks/results/models_test_bed.json \
        --profile cost_models/shipped/test_bed.json -o cost_models/shipped/test_bed.json

Results that were planned with another profile, or with another calibration, give a wrong factor.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import Profile

PROMISED = ("promised_gain", "expected_speed_up")  # names of the column in benchmarks/never_slower and models


def ratios(rows: Iterable[Mapping]) -> list[float]:
    """Return promised over measured speed-up of the rows of networks with chains."""
    found = []
    for row in rows:
        promised = next((row[name] for name in PROMISED if row.get(name)), None)
        if promised is not None and row.get("chains") and row.get("speed_up"):
            found.append(promised / row["speed_up"])
    return found


def main() -> None:
    """Read results and write the profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="JSON files of the two benchmarks")
    parser.add_argument("--profile", required=True, metavar="FILE", help="profile that the networks were planned with")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="profile with the new calibration")
    args = parser.parse_args()
    try:
        profile = Profile.load(args.profile)
        rows = [row for path in args.results for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
        found = ratios(rows)
        if not found:
            raise CoExecError(f"{args.results[0]} has no measured network with chains: run benchmarks.never_slower")
        median = statistics.median(found)
        factor = round(profile.plan_factor * median, 3)
        margin = round(max(0.0, 1.0 - median / max(found)), 3)
        error = {**profile.error, "plans": margin}
        dataclasses.replace(profile, plan_factor=factor, error=error).save(args.output)
    except (OSError, ValueError, KeyError, TypeError) as err:
        sys.exit(f"fit_plan_factor: a file of results can't be read: {err}")
    except CoExecError as err:
        sys.exit(f"fit_plan_factor: {err}")
    print(f"{len(found)} networks: calibration {profile.plan_factor:g} -> {factor:g}, least gain {margin:g}")


if __name__ == "__main__":
    main()
