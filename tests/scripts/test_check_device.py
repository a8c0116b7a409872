"""The check of a device: a whole quick one, and sections that go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import check_device
from scripts.device_check import opencl_driver, supervise, vulkan_driver
from scripts.device_check.report import to_text
from scripts.device_check.supervise import FAILED, OK, SKIPPED, Result

ROOT = Path(__file__).parents[2]
QUICK = ["devices", "compile-small", "mode-buffer", "meeting", "profile", "plan", "timeline"]


def check(folder: Path, *arguments: str, **environment: str) -> tuple[int, dict, str]:
    """Run the script; return its exit status, the report as JSON and as text."""
    command = [sys.executable, str(ROOT / "scripts/check_device.py"), "--output", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **environment), cwd="/")
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    content = json.loads((folder / "report.json").read_text())
    return done.returncode, content, (folder / "report.txt").read_text()


@pytest.mark.opencl
@pytest.mark.slow
def test_quick_check_writes_a_folder_for_a_bug_report(tmp_path):
    code, content, text = check(tmp_path / "out", "--quick")
    sections = {s["name"]: s for s in content["sections"]}
    assert list(sections) == QUICK
    assert {s["state"] for s in sections.values()} == {OK}, text
    assert code == 0 and content["ok"]
    numbers = {name: s["numbers"] for name, s in sections.items()}
    assert numbers["devices"]["devices"][0]["name"] in text and numbers["devices"]["versions"]["tvm"] in text
    (results,) = numbers["mode-buffer"]["rows"]
    assert 0 <= results["coexec_error"] < 1e-4 and 0 <= results["stock_error"] < 1e-4
    assert numbers["mode-buffer"]["stats"]["download_bytes"] > 0  # this mode shares no memory
    assert {r["path"] for r in numbers["meeting"]["rows"]} == {"shared", "copies"}
    assert numbers["profile"]["measured"] >= 6 and not numbers["profile"]["failed"]
    (times,) = numbers["plan"]["rows"]
    assert all(times[f"{device}_ms"] > 0 for device in ("cpu", "gpu", "both"))
    assert "alone: cpu" in text and "last lines of its log" not in text
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"plan.json", "profile.json", "samples.jsonl", "devices.json", "sections"}
    assert written >= {f"timeline_halves.{ending}" for ending in ("html", "json", "trace.json")}
    assert "work" not in written


@pytest.mark.vulkan
@pytest.mark.slow
def test_vulkan_device(tmp_path):
    chosen = ["devices", "compile-small", "mode-buffer", "profile", "timeline"]
    code, content, text = check(tmp_path, "--quick", "--gpu", "vulkan", "--only", *chosen)
    sections = {s["name"]: s for s in content["sections"]}
    assert list(sections) == chosen and {s["state"] for s in sections.values()} == {OK}, text
    numbers = {name: s["numbers"] for name, s in sections.items()}
    assert code == 0 and numbers["devices"]["devices"][0]["platform"] == "wgpu-native" and "Vulkan: loader: " in text
    (results,) = numbers["mode-buffer"]["rows"]
    assert 0 <= results["coexec_error"] < 1e-4 and 0 <= results["stock_error"] < 1e-4
    assert json.loads((tmp_path / "profile.json").read_text())["targets"]["gpu"].startswith("vulkan ")
    assert (tmp_path / "timeline_halves.html").exists()


@pytest.mark.opencl
def test_crash_of_one_section_is_a_result_and_the_others_run(tmp_path):
    fault = {"DEVICE_CHECK_FAULT": "compile-small:crash,meeting:raise"}
    code, content, text = check(
        tmp_path / "out", "--quick", "--only", "devices", "compile-small", "mode-buffer", "meeting", **fault
    )
    states = {s["name"]: s["state"] for s in content["sections"]}
    assert states == {"devices": OK, "compile-small": FAILED, "mode-buffer": SKIPPED, "meeting": FAILED}
    assert code == 1 and not content["ok"]
    assert "the process crashed (SIGSEGV) during: starting" in text
    assert "NOT OK: compile-small, meeting failed" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which sections can run."""
    (tmp_path / "sections").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work/settings.json").write_text('{"quick": true, "gpu": "opencl"}')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "what, limit_s, reason",
    [
        ("hang", 1.0, "it did not end within 1 s and was killed during: starting"),
        ("crash", 60.0, "the process crashed (SIGSEGV) during: starting"),
        ("raise", 60.0, "RuntimeError: a fault that DEVICE_CHECK_FAULT=devices:raise asks for"),
    ],
)
def test_section_that_goes_wrong(folder, what, limit_s, reason):
    stages = []
    environment = dict(os.environ, DEVICE_CHECK_FAULT=f"devices:{what}")
    result = supervise.run("devices", "Devices", folder, limit_s, environment, stages.append)
    assert (result.state, result.reason) == (FAILED, reason)
    assert result.seconds < 30 and any("starting" in line for line in result.log)
    assert reason in to_text({}, [result])


def test_hanging_section_shows_where_it_hangs(folder):
    environment = dict(os.environ, DEVICE_CHECK_FAULT="devices:hang")
    result = supervise.run("devices", "Devices", folder, 2.5, environment)
    assert any("inject_fault" in line for line in result.log)


def test_no_time_left_is_not_right(folder, capsys):
    args = check_device.parse(["--minutes", "0.001", "--quick"])
    results = check_device.Run(args, folder, {}).run(check_device.choose(args))
    assert {r.state for r in results} == {SKIPPED}
    assert not check_device.is_right(results) and "--minutes" in results[0].reason


def test_missing_mode_is_not_wrong_but_a_failure_is():
    ok, absent, failed = (
        Result("a", "A"),
        Result("b", "B", supervise.ABSENT, "no such memory"),
        Result("c", "C", FAILED),
    )
    assert check_device.is_right([ok, absent])
    assert not check_device.is_right([absent]) and not check_device.is_right([ok, failed])
    assert "no such memory" in to_text({}, [ok, absent])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--gpu", "cuda"], "invalid choice: 'cuda'"),
        (["--minutes", "0"], "'0' is not a positive number"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--output", __file__], "is a file: name a folder"),
    ],
)
def test_wrong_option(arguments, message, capsys):
    with pytest.raises(SystemExit) as err:
        check_device.parse(arguments)
    assert err.value.code == 2 and message in capsys.readouterr().err


def folders_of_drivers(folder):
    """Return an empty folder of registrations, and one with NVIDIA's driver."""
    vendors, drivers = folder / "vendors", folder / "lib64"
    vendors.mkdir()
    drivers.mkdir()
    (drivers / "libnvidia-opencl.so.1").write_text("")
    return vendors, drivers


def test_driver_that_is_not_registered_is_found(tmp_path):
    vendors, drivers = folders_of_drivers(tmp_path)
    (vendors / "other.icd").write_text("libother.so.1\n")
    found = opencl_driver.find(tmp_path / "written", tmp_path, {"LD_LIBRARY_PATH": "/a"}, vendors, [str(drivers)])
    assert found.environment["OCL_ICD_VENDORS"] == str(tmp_path / "written")
    assert found.environment["LD_LIBRARY_PATH"] == f"/a:{drivers}"
    written = {f.name: f.read_text().strip() for f in (tmp_path / "written").iterdir()}
    assert written == {"other.icd": "libother.so.1", "libnvidia-opencl.icd": str(drivers / "libnvidia-opencl.so.1")}


def test_registered_driver_and_users_choice_are_left_alone(tmp_path):
    vendors, drivers = folders_of_drivers(tmp_path)
    (vendors / "nvidia.icd").write_text("libnvidia-opencl.so.1\n")
    for variables in ({}, {"OCL_ICD_VENDORS": "/mine"}):
        found = opencl_driver.find(tmp_path / "written", tmp_path, variables, vendors, [str(drivers)])
        assert "OCL_ICD_VENDORS" not in found.environment and not (tmp_path / "written").exists()


def test_loader_of_the_archive_is_used_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(opencl_driver, "LOADER", "libOpenCL_absent.so.1")
    without = opencl_driver.find(tmp_path, tmp_path, {}, tmp_path, [])
    assert without.environment == {} and "install libOpenCL_absent.so.1" in without.notes[0]
    (tmp_path / "libOpenCL_absent.so.1").write_text("")
    found = opencl_driver.find(tmp_path, tmp_path, {}, tmp_path, [])
    assert found.environment == {"TVM_COEXEC_LIBOPENCL": str(tmp_path / "libOpenCL_absent.so.1")}


def test_vulkan_driver_without_a_file_is_registered(tmp_path):
    icd = tmp_path / "icd.d"
    icd.mkdir()
    (icd / "other.json").write_text('{"ICD": {"library_path": "libother.so"}}')
    (icd / "damaged.json").write_text("{")
    there = "libc.so.6"  # a library that opens
    found = vulkan_driver.find(tmp_path / "written", {}, [str(icd)], there)
    written = tmp_path / "written/driver.json"
    assert json.loads(written.read_text())["ICD"]["library_path"] == there
    assert found.environment["VK_DRIVER_FILES"] == f"{written}:{icd / 'other.json'}"
    (icd / "there.json").write_text(written.read_text())
    for variables, driver in (({}, there), ({}, "libabsent.so"), ({"VK_ICD_FILENAMES": "/mine"}, there)):
        found = vulkan_driver.find(tmp_path / "again", variables, [str(icd)], driver)
        assert found.environment == {} and not (tmp_path / "again").exists()
    assert "drivers: none is registered" in vulkan_driver.find(tmp_path, {}, [], "libabsent.so").notes
