"""``coexec fit`` and ``coexec eval`` on samples with a known law."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import HEADER
from tests.cost_models.test_energy_records import TRUE, records
from tests.planner.graphs import straight
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import DeviceParameters, Power
from tvm_coexec.cost_models.dataset import SampleWriter, read_samples
from tvm_coexec.cost_models.profile import Profile
from tvm_coexec.planner import make_plan


@pytest.mark.slow
def test_fit_writes_a_profile_and_says_how_well_it_fits(coexec, samples_file, tmp_path):
    path = tmp_path / "device.json"
    done = coexec("fit", samples_file, "-o", path)
    assert (done.code, done.err) == (0, "")
    rows = {tuple(line.split()[:2]): line.split() for line in done.out.splitlines()}
    assert rows["cpu", "conv/nchwc"][2] == "60" and rows["gpu", "pool/direct"][2] == "20"
    assert float(rows["cpu", "all"][3]) > 90
    assert f"{path.stat().st_size} bytes" in done.out and "160 samples" in done.out
    profile = Profile.load(path)
    w = read_samples(samples_file).of("cpu")[1]
    assert profile.devices["cpu"].predict([w.workload])[0] == pytest.approx(w.seconds, rel=0.1)


@pytest.mark.slow
def test_a_description_is_kept(profile_file):
    assert Profile.load(profile_file).description == "two made-up devices"


def test_another_profile_can_be_moved_and_refined(coexec, samples_file, profile_file, tmp_path):
    for option in ("--from", "--refine"):
        path = tmp_path / f"new{option}.json"
        done = coexec("fit", samples_file, option, profile_file, "-o", path)
        assert done.code == 0, done.err
        assert Profile.load(path).devices


def test_several_profiles_can_be_moved_and_the_result_refined(coexec, samples_file, profile_file, tmp_path):
    path, again = tmp_path / "moved.json", tmp_path / "refined.json"
    done = coexec("fit", "--from", profile_file, "--from", profile_file, samples_file, "-o", path)
    assert done.code == 0, done.err
    moved = Profile.load(path)
    assert {len(m.donors) for m in moved.devices.values()} == {2}
    assert "from 2 other devices' profiles" in moved.description
    done = coexec("fit", "--refine", path, samples_file, "-o", again)
    assert done.code == 0, done.err
    assert len(Profile.load(again).devices["cpu"].ratios_) == 2 * len(moved.devices["cpu"].ratios_)
    plan = make_plan(straight(4), moved)
    assert plan.segments and plan.expected_s > 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["paleo", "neurosurgeon", "nnmeter"])
def test_every_model_makes_a_profile_that_plans(coexec, samples_file, tmp_path, model):
    if model == "nnmeter":
        pytest.importorskip("sklearn")
    path = tmp_path / "device.json"
    done = coexec("fit", samples_file, "--model", model, "-o", path)
    assert (done.code, done.err) == (0, ""), done.err
    assert "160 samples" in done.out
    profile = Profile.load(path)
    assert {m.model.name for m in profile.devices.values()} == {model} and 0 <= profile.error["gpu"] < 1
    done = coexec("eval", path, samples_file)
    assert done.code == 0 and "coverage: all of the predicted time" in done.out, done.err
    plan = make_plan(straight(4), profile)  # of classes that the samples lack
    assert plan.segments and plan.expected_s > 0


def test_eval_warns_where_the_samples_are_of_other_devices(coexec, samples_file, profile_file):
    assert "of different devices" not in coexec("eval", profile_file, samples_file).err
    done = coexec("eval", "test_bed", samples_file)
    assert done.code == 0 and "are of different devices (cpu target 'llvm -keys=cpu" in done.err


def test_eval_shows_errors_by_class_and_network(coexec, samples_file, profile_file):
    done = coexec("eval", profile_file, samples_file)
    assert done.code == 0 and "1 of 161 samples could not be measured" in done.out
    classes = {line.split()[1] for line in done.out.splitlines() if line.startswith(("cpu", "gpu"))}
    assert classes == {"conv/nchwc", "conv/direct", "pool/direct", "whole", "shares", "all"}
    done = coexec("eval", profile_file, samples_file, "--by", "network")
    assert {line.split()[1] for line in done.out.splitlines() if line.startswith("cpu")} == {"net0", "net1"}


def test_eval_reckons_with_all_samples(coexec, samples_file, profile_file, tmp_path):
    path = tmp_path / "eval.json"
    done = coexec("eval", profile_file, samples_file, "--json", path)
    assert done.code == 0, done.err
    found = json.loads(path.read_text())
    assert len(found["kernels"]) == 160
    rows = {(r["device"], r["class"]): r for r in found["table"]}
    errors = [abs(k["predicted_s"] / k["measured_s"] - 1) * 100 for k in found["kernels"] if k["device"] == "gpu"]
    assert rows["gpu", "all"]["MAPE %"] == pytest.approx(sum(errors) / len(errors))
    assert rows["gpu", "all"]["within 10 %"] == pytest.approx(100 * sum(e <= 10 for e in errors) / len(errors))


@pytest.mark.slow
def test_eval_shows_whole_networks(coexec, samples_file, tmp_path):
    samples, path, out = tmp_path / "s.jsonl", tmp_path / "device.json", tmp_path / "eval.json"
    networks = [
        {"record": "network", "network": f"n{i}", "device": "cpu", "kernels": 10 * i, "sum_s": 0.01 * i,
         "seconds": 0.0115 * i}
        for i in (1, 2, 3)
    ]  # fmt: skip
    samples.write_text(Path(samples_file).read_text() + "".join(json.dumps(n) + "\n" for n in networks))
    assert coexec("fit", samples, "-o", path).code == 0
    done = coexec("eval", path, samples, "--json", out)
    assert done.code == 0 and "whole networks, predicted from the times of their kernels" in done.out
    rows = json.loads(out.read_text())["networks"]
    assert [r["network"] for r in rows] == ["n1", "n2", "n3"]
    assert rows[1]["predicted ms"] == pytest.approx(23.0, rel=0.01) and abs(rows[1]["error %"]) < 1


@pytest.mark.slow
def test_fit_says_which_classes_are_weak(coexec, samples_file, tmp_path):
    lines = Path(samples_file).read_text().splitlines(keepends=True)
    few = [s for s in lines[1:] if '"pool"' not in s] + [s for s in lines[1:] if '"pool"' in s][:6]
    samples = tmp_path / "s.jsonl"
    samples.write_text(lines[0] + "".join(few))
    done = coexec("fit", samples, "-o", tmp_path / "d.json")
    assert done.code == 0 and "pool/direct has" in done.out and "add some with coexec profile --designed" in done.out


@pytest.mark.slow
def test_plots_are_drawn(coexec, samples_file, profile_file, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "plots"
    done = coexec("eval", profile_file, samples_file, "--plots", folder)
    assert done.code == 0, done.err
    for name in ("predicted", "errors", "learning"):
        data = (folder / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 5000 and str(folder / f"{name}.png") in done.out


@pytest.mark.slow
def test_learning_needs_no_shape_twice(samples_file):
    from tvm_coexec.cli.plots import learning_curve

    curve = learning_curve(read_samples(samples_file))
    sizes = sorted({n for _, n in curve})
    assert sizes[0] < sizes[-1] == 60 and {d for d, _ in curve} == {"cpu", "gpu"}
    assert curve["cpu", 60]["within 10 %"] > 80


def test_errors_are_one_line(coexec, samples_file, profile_file, tmp_path):
    other = tmp_path / "other.json"
    other.write_text("{}")
    empty = tmp_path / "empty.jsonl"
    empty.write_text(Path(samples_file).read_text().splitlines()[0] + "\n")
    cases = [
        (("fit", tmp_path / "none", "-o", other), "can't read samples"),
        (("fit", empty, "-o", tmp_path / "p.json"), "has no measured kernel"),
        (("fit", samples_file, "-o", tmp_path / "no" / "p.json"), "there is no folder"),
        (("fit", samples_file, "-o", tmp_path), "it is a folder"),
        (
            ("fit", samples_file, "--boosted", "--from", profile_file, "-o", tmp_path / "p.json"),
            "--boosted can't start from",
        ),
        (("fit", samples_file, "--model", "oracle", "-o", tmp_path / "p.json"), "there is no latency model 'oracle'"),
        (("fit", samples_file, "--model", "paleo", "--boosted", "-o", other), "--boosted is --model boosted"),
        (
            ("fit", samples_file, "--model", "paleo", "--refine", profile_file, "-o", tmp_path / "p.json"),
            "--model paleo can't start from another profile",
        ),
        (("fit", samples_file, "--from", tmp_path / "none", "-o", tmp_path / "p.json"), "none: give a file of `coexec"),
        (("fit", samples_file, "--refine", "test_bed", "-o", tmp_path / "p.json"), "is of other devices than"),
        (("eval", "genric", samples_file), "there is no profile genric: give a file of `coexec fit`, or one of"),
        (("fit", samples_file, "--bosted", "-o", tmp_path / "p.json"), "unknown option --bosted"),
        (("fit", samples_file), "the following arguments are required: -o/--output; see coexec fit --help"),
        (("eval", other, samples_file), "other.json is not a profile"),
        (("eval", profile_file, other), "not a file of samples"),
        (("eval", profile_file, empty), "has no measured kernel"),
        (("eval", profile_file, samples_file, "--plots", profile_file), "can't make the folder"),
    ]
    for argv, text in cases:
        done = coexec(*argv)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1, (argv, done)
        assert done.err.startswith(f"coexec {argv[0]}: ")
    assert not (tmp_path / "p.json").exists()


def test_eval_names_the_origin_and_the_coverage_of_a_profile(coexec, samples_file, profile_file, tmp_path):
    path, other = tmp_path / "eval.json", tmp_path / "other.json"
    done = coexec("eval", profile_file, samples_file, "--json", path)
    assert "profile: schedules s; TVM 0\n" in done.out and "different schedules" not in done.err
    assert "coverage: all of the predicted time rests on kernel classes that were measured well" in done.out
    found = json.loads(path.read_text())
    assert found["origin"] == {"schedules": "s", "tvm": "0"} and found["coverage"]["weak_fraction"] == 0
    d = json.loads(Path(profile_file).read_text())
    d["origin"]["schedules"] = "t"
    classes = d["devices"]["gpu"]["classes"]
    classes["pool/direct"] = re.sub(r"^\d+", "3", classes["pool/direct"])  # its samples
    other.write_text(json.dumps(d))
    done = coexec("eval", other, samples_file)
    assert "were measured with different schedules" in done.err
    assert "with fewer than 8 samples (gpu pool/direct " in done.out
    del d["origin"]
    other.write_text(json.dumps(d))
    assert "it does not say when it was measured" in coexec("eval", other, samples_file).out


@pytest.mark.slow
def test_parameters_of_the_devices_are_in_the_profile(coexec, samples_file, tmp_path):
    given, path, samples = (tmp_path / n for n in ("given.json", "p.json", "s.jsonl"))
    header, _, rest = Path(samples_file).read_text().partition("\n")
    found = {"cpu": {"kind": "cpu", "cores": 4}, "gpu": {"kind": "gpu", "cores": 2, "clock_hz": 6e8}}
    samples.write_text(json.dumps({**json.loads(header), "parameters": found}) + "\n" + rest)
    given.write_text(json.dumps({"gpu": {"peak_flops_per_s": 1e11, "cores": 3}}))
    assert coexec("fit", samples, "--parameters", given, "-o", path).code == 0
    profile = Profile.load(path)
    assert profile.parameters == {
        "cpu": DeviceParameters("cpu", cores=4),
        "gpu": DeviceParameters("gpu", peak_flops_per_s=1e11, cores=3, clock_hz=6e8),
    }
    assert coexec("fit", samples_file, "-o", path).code == 0
    assert Profile.load(path).parameters == {} and '"parameters"' not in path.read_text()
    path.write_text(profile.to_json().replace('"cores":3', '"wheels":3'))
    with pytest.raises(CoExecError, match=r"p\.json is damaged .*wheels"):
        Profile.load(path)
    given.write_text(json.dumps({"gpu": {"wheels": 4}}))
    done = coexec("fit", samples, "--parameters", given, "-o", path)
    assert done.code == 2 and "given.json" in done.err and "wheels" in done.err
    done = coexec("fit", samples, "--parameters", given, "--refine", path, "-o", path)
    assert done.code == 2 and "--parameters has no effect" in done.err


@pytest.mark.slow
def test_measured_energy_is_in_the_profile(coexec, samples_file, tmp_path):
    """By `coexec profile --energy`; readings of a meter come before it; a gauge may not see a device."""

    def write(name: str, power: Power) -> Path:
        path = tmp_path / name
        shutil.copy(samples_file, path)
        with SampleWriter(str(path), HEADER) as writer:
            for record in records(power):
                writer.write(record)
        return path

    out, meter = tmp_path / "p.json", tmp_path / "meter.csv"
    samples = write("energy.jsonl", TRUE)
    assert coexec("fit", samples, "-o", out).code == 0
    power = Profile.load(out).power
    assert power is not None and power.idle_w == pytest.approx(3.0, rel=0.01)
    assert power.watts("gpu/conv") == pytest.approx(9.0, rel=0.02)
    meter.write_text("seconds,joules,cpu,gpu\n1,0.5,,\n1,2.5,1,\n1,4.5,,1\n1,6.5,1,1\n")
    assert coexec("fit", samples, "--meter", meter, "-o", out).code == 0
    assert Profile.load(out).power.idle_w == pytest.approx(0.5, rel=0.01)
    done = coexec("fit", write("blind.jsonl", replace(TRUE, busy_w={"cpu": 6.0, "gpu": 0.0})), "-o", out)
    assert done.code == 0 and Profile.load(out).power is None
    assert "the profile will have no power: RAPL (package-0) shows no more power while the gpu works" in done.err
