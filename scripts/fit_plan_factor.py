r"""Set a profile's co-run calibration by networks that were measured with plans of that profile.

``coexec fit --plans`` takes it from verified plans. This script takes it from benchmarks, which time more networks: it
multiplies a profile's calibration by the median, over networks with chains, of measured over promised time. The time
that a plan must promise to save (``error.plans`` of the profile) is such that no measured plan that promises more was
slower than one device.

    python scripts/fit_plan_factor.py benchmarks/results/never_slower.json benchmarks/results/models_test_bed.json \
        --profile cost_models/shipped/test_bed.json -o cost_models/shipped/test_bed.json

With ``--keep-factor`` only the least saving is set, so that the plans of the results, and what they promise, stay those
of the profile.

Results that were planned with another profile, or with another calibration, give a wrong factor.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import Profile

PROMISED = ("promised_gain", "expected_speed_up")  # names of the column in benchmarks/never_slower and models


def ratios(rows: Iterable[Mapping]) -> list[float]:
    """Return measured over promised time of the rows of networks with chains."""
    return [1.0 / (1.0 + row["promised_off_%"] / 100.0) for row in _with_chains(rows)]


def least_saving(rows: Iterable[Mapping]) -> float:
    """Return the largest part of one device's time that a plan promised to save and did not; 0 if none was slower."""
    promised = [next(row[n] for n in PROMISED if row.get(n)) for row in _with_chains(rows) if row["speed_up"] < 1.0]
    return math.ceil(1000 * (1.0 - 1.0 / max(promised, default=1.0))) / 1000


def _with_chains(rows: Iterable[Mapping]) -> list[Mapping]:
    return [r for r in rows if r.get("chains") and r.get("speed_up") and r.get("promised_off_%") is not None]


def main() -> None:
    """Read results and write the profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="JSON files of the two benchmarks")
    parser.add_argument("--profile", required=True, metavar="FILE", help="profile that the networks were planned with")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="profile with the new calibration")
    parser.add_argument("--keep-factor", action="store_true", help="set the least saving only")
    args = parser.parse_args()
    try:
        profile = Profile.load(args.profile)
        rows = [row for path in args.results for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
        found = ratios(rows)
        if not found:
            raise CoExecError(f"{args.results[0]} has no measured network with chains: run benchmarks.never_slower")
        median = statistics.median(found)
        factor = profile.plan_factor if args.keep_factor else round(profile.plan_factor * median, 3)
        error = {**profile.error, "plans": least_saving(rows)}
        dataclasses.replace(profile, plan_factor=factor, error=error).save(args.output)
    except (OSError, ValueError, KeyError, TypeError) as err:
        sys.exit(f"fit_plan_factor: a file of results can't be read: {err}")
    except CoExecError as err:
        sys.exit(f"fit_plan_factor: {err}")
    print(f"{len(found)} networks: calibration {profile.plan_factor:g} -> {factor:g}, least saving {error['plans']:g}")


if __name__ == "__main__":
    main()
