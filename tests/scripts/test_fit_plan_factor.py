"""``scripts/fit_plan_factor.py``: the calibration of a profile by measured networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_coexec.cost_models import Profile

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "cost_models" / "shipped" / "test_bed.json"


def run(*args: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "fit_plan_factor.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_median_of_networks_with_chains(tmp_path: Path) -> None:
    rows = [
        {"network": "a", "promised_gain": 1.5, "speed_up": 1.25, "promised_off_%": -20.0, "chains": 3},
        {"network": "b", "expected_speed_up": 1.65, "speed_up": 1.5, "promised_off_%": -9.0, "chains": 1},
        {"network": "c", "promised_gain": 1.4, "speed_up": 1.4, "promised_off_%": 3.0, "chains": 2},
        {"network": "d", "promised_gain": 1.25, "speed_up": 0.9, "promised_off_%": -50.0, "chains": 2},
        {"network": "e", "promised_gain": 1.1, "speed_up": 0.99, "promised_off_%": 0.0, "chains": 2},
        {"network": "f", "promised_gain": 2.0, "speed_up": 0.5, "promised_off_%": -80.0, "chains": 0},
        {"network": "g", "failed": "out of memory"},
    ]
    (tmp_path / "r.json").write_text(json.dumps({"rows": rows}))
    out = tmp_path / "p.json"
    done = run(tmp_path / "r.json", "--profile", SHIPPED, "-o", out)
    assert done.returncode == 0, done.stderr
    before, after = Profile.load(SHIPPED), Profile.load(out)
    assert after.plan_factor == pytest.approx(before.plan_factor / 0.91, abs=1e-3)
    assert after.error["plans"] == pytest.approx(0.2)  # d promised to save a fifth and was slower
    assert after.devices["cpu"].to_json() == before.devices["cpu"].to_json()
    done = run(tmp_path / "r.json", "--profile", SHIPPED, "--keep-factor", "-o", out)
    assert done.returncode == 0, done.stderr
    kept = Profile.load(out)
    assert (kept.plan_factor, kept.error["plans"]) == (before.plan_factor, pytest.approx(0.2))


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", '{"rows": []}', "[]"])
def test_results_that_do_not_serve(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    done = run(tmp_path / "r.json", "--profile", SHIPPED, "-o", tmp_path / "p.json")
    assert done.returncode == 1 and done.stderr.startswith("fit_plan_factor: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "p.json").exists()
