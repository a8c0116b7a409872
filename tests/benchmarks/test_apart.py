"""Cases in processes of their own."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import _apart, _common, never_slower


@pytest.mark.slow
def test_rows_and_failures_come_back():
    def run(case: str) -> dict:
        return _apart.measure_apart("never_slower", ["--child", case])

    assert run("plan") == {"rows": []}
    assert "invalid literal" in run("plan,x")["failed"]
    assert "unrecognized" in _apart.measure_apart("never_slower", ["--no-such-option"])["failed"]
    assert _apart.measure_apart("never_slower", ["--child", "plan"], limit_s=0.01) == {"failed": "not done after 0 s"}


@pytest.mark.parametrize(
    ("goes_on", "keeps", "kept", "wanted"),
    [(True, False, ["a", "c"], ["b", "d"]), (False, True, ["c"], ["a", "b", "d"]), (False, False, [], ["a", "b", "d"])],
)
def test_earlier_rows(tmp_path, goes_on, keeps, kept, wanted):
    file = tmp_path / "rows.json"
    rows = [{"network": "a", "ms": 1.0}, {"network": "b", "failed": "it"}, {"network": "c", "ms": 2.0}]
    file.write_text(json.dumps({"rows": rows}))
    args = _common.Arguments("test", False, str(file), [], argparse.Namespace(goes_on=goes_on))
    found, names = _apart.earlier_rows(args, "network", ["a", "b", "d"], keeps=keeps)
    assert [r["network"] for r in found] == kept and names == wanted


def test_slower_ones_are_counted_from_two_percent():
    rows = [{"network": n, "speed_up": s} for n, s in (("a", 0.97), ("b", 0.985), ("c", 1.4), ("d", 0.9))]
    assert [r["network"] for r in never_slower.count_slower(rows)] == ["d", "a"]


def test_gains_of_plans():
    plans = [{"promised_gain": 1 + n / 10, "chains": 2, "device": "both"} for n in range(1, 12)]
    plans += [{"promised_gain": 1.0, "chains": 0, "device": d} for d in ("cpu", "cpu", "gpu")]
    text = never_slower.describe_gains(plans)
    assert text.startswith("14 planned: 11 have chains; of the others 2 on cpu, 1 on gpu; promised gains 1.10 to 2.10")
    assert "10 % at most 1.20, half at most 1.60, 90 % at most 2.00" in text
    assert never_slower.describe_gains([]) == "0 planned: 0 have chains"
