"""When and with which schedules a profile was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import pytest

from tests.cost_models.test_profile import HEADER, samples
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import Profile, fit_profile, refine_profile
from tvm_coexec.cost_models.dataset import Samples
from tvm_coexec.cost_models.provenance import Provenance

KNOWN = {"started": "2026-11-20T08:30:00", "schedules": "abcdef0123456789", "tvm": "0.17"}
NOW = datetime(2026, 11, 27, 9, 0)


def dated():
    made = samples(20)
    made.header = HEADER | KNOWN
    made.references = {"cpu": 0.00112345, "gpu": 0.0021}
    return made


@pytest.mark.slow
def test_of_samples_and_files(tmp_path):
    profile = fit_profile(dated())
    assert profile.provenance == Provenance(
        KNOWN["started"], KNOWN["schedules"], KNOWN["tvm"], {"cpu": 0.001123, "gpu": 0.0021}
    )
    profile.save(tmp_path / "p.json")
    loaded = Profile.load(tmp_path / "p.json")
    assert loaded.provenance == profile.provenance and loaded.to_json() == profile.to_json()
    assert loaded.on_runtime("tvm").provenance == profile.provenance


@pytest.mark.slow
def test_profiles_of_earlier_releases_have_none(tmp_path):
    profile = replace(fit_profile(samples(20)), provenance=Provenance())
    assert "origin" not in json.loads(profile.to_json())
    profile.save(tmp_path / "p.json")
    loaded = Profile.load(tmp_path / "p.json")
    assert loaded.provenance.to_text() == "" and loaded.provenance.age_days() is None
    assert not loaded.provenance.differs_in_schedules("abc")


@pytest.mark.slow
def test_refined_by_samples_and_by_plans():
    first, newer = fit_profile(dated()), dated()
    newer.header = newer.header | {"started": "2026-11-25T00:00:00"}
    assert refine_profile(first, newer).provenance.measured_at == "2026-11-25T00:00:00"
    plans_only = Samples(newer.header)
    assert refine_profile(first, plans_only).provenance == first.provenance


@pytest.mark.slow
def test_text():
    origin = fit_profile(dated()).provenance
    assert origin.to_text(NOW) == (
        "measured 2026-11-20 (7 days ago); schedules abcdef012345; TVM 0.17; "
        "reference kernel cpu 1.123 ms, gpu 2.100 ms"
    )
    assert "(1 day ago)" in origin.to_text(datetime(2026, 11, 21, 9)) and origin.age_days(datetime(2020, 1, 1)) == 0
    assert origin.differs_in_schedules("other") and not origin.differs_in_schedules(KNOWN["schedules"])
    assert not origin.differs_in_schedules("")


@pytest.mark.slow
@pytest.mark.parametrize(
    "origin",
    [{"measured_at": "yesterday"}, {"reference_s": {"cpu": -1.0}}, {"where": "here"}, ["abc"], {"reference_s": [1.0]}],
)
def test_damage_is_named(origin, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(json.loads(fit_profile(samples(20)).to_json()) | {"origin": origin}))
    with pytest.raises(CoExecError, match=r"p\.json is damaged"):
        Profile.load(path)
