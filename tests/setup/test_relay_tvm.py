"""Which TVM the set-up takes, and what it says about one that does not do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.setup_env import relay_tvm, system
from scripts.setup_env.console import SetupError


def fake_tvm(folder: Path, version: str, relay: bool, llvm: bool = True) -> Path:
    """Write a package that answers the set-up's questions as a TVM of that kind would."""
    package = folder / "tvm"
    (package / "_ffi").mkdir(parents=True)
    (package / "__init__.py").write_text(
        f"__version__ = {version!r}\ndef get_global_func(name, allow_missing=False):\n    return {llvm}\n"
    )
    (package / "_ffi/__init__.py").write_text("")
    (package / "_ffi/libinfo.py").write_text("def find_lib_path():\n    return ['/opt/tvm/build/libtvm.so']\n")
    if relay:
        (package / "relay.py").write_text("")
    return folder


@pytest.mark.parametrize(
    ("version", "relay", "llvm", "reason"),
    [
        ("0.13.0", True, True, None),
        ("0.19.dev12", True, True, None),
        ("0.20.0", False, True, "has no Relay"),
        ("0.12.0", True, True, "not among 0.13 to 0.19"),
        ("0.17.0", True, False, "without LLVM"),
    ],
)
def test_what_makes_a_tvm_fit(tmp_path, version, relay, llvm, reason):
    found = relay_tvm.probe(sys.executable, {"PYTHONPATH": str(fake_tvm(tmp_path, version, relay, llvm))})
    said = relay_tvm.unfit(found)
    assert said is None if reason is None else reason in said


def test_the_users_tvm_is_taken_from_the_first_interpreter_that_has_relay(tmp_path, console, monkeypatch, capsys):
    newer, fitting = (
        fake_tvm(tmp_path / "newer", "0.21.0", relay=False),
        fake_tvm(tmp_path / "fits", "0.16.0", relay=True),
    )
    commands = []
    for name, path in (("newer", newer), ("fits", fitting)):
        command = tmp_path / f"{name}-python"
        command.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} "$@"\n')
        command.chmod(0o755)
        commands.append(str(command))
    found = relay_tvm.users_own(console, ["/nonexistent/python", *commands])
    assert found == relay_tvm.FoundTvm("0.16.0", fitting, Path("/opt/tvm/build/libtvm.so"), commands[1])
    assert "0.21.0 has no Relay" in capsys.readouterr().out
    assert relay_tvm.users_own(console, commands[:1]) is None


def test_tvm_home_is_used_or_refused_by_name(tmp_path):
    home = tmp_path / "src"
    with pytest.raises(SetupError, match=r"TVM_HOME=.*there is no .*python/tvm"):
        relay_tvm.from_home(str(home), sys.executable)
    fake_tvm(home / "python", "0.20.0", relay=False)
    with pytest.raises(SetupError, match=r"TVM_HOME=.*no Relay.*unset TVM_HOME"):
        relay_tvm.from_home(str(home), sys.executable)
    fake_tvm(tmp_path / "good/python", "0.18.0", relay=True)
    assert relay_tvm.from_home(str(tmp_path / "good"), sys.executable).version == "0.18.0"


def test_without_a_prebuilt_package_the_error_says_to_build(tmp_path, console, monkeypatch):
    monkeypatch.setattr(relay_tvm.platform, "machine", lambda: "aarch64")
    with pytest.raises(SetupError, match=r"aarch64.*build TVM 0.13 to 0.19 from source and set TVM_HOME"):
        relay_tvm.install_package(console, sys.executable, tmp_path)


def test_without_opencl_and_rights_one_line_says_what_to_type(console, monkeypatch, capsys):
    monkeypatch.setenv("OCL_ICD_VENDORS", "/nonexistent")
    assert system.opencl_devices() == []
    monkeypatch.setattr(system, "root_prefix", lambda: None)
    monkeypatch.setattr(system.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert system.ensure_opencl(console) == []
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("sudo apt-get update && sudo apt-get install -y pocl-opencl-icd ocl-icd-libopencl1")


def test_without_compiler_one_line_says_what_to_type(console, monkeypatch):
    monkeypatch.setattr(system, "root_prefix", lambda: None)
    monkeypatch.setattr(system.shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match=r"^no C\+\+ compiler; type: install .* g\+\+$"):
        system.ensure_compiler(console)


@pytest.mark.parametrize("variable", ["CC", "CXX"])
def test_a_compiler_that_is_not_there_is_named(console, monkeypatch, variable):
    monkeypatch.setenv(variable, "/nonexistent/compiler -O2")
    with pytest.raises(SetupError, match=f"^{variable}=/nonexistent/compiler -O2: there is no such command"):
        system.ensure_compiler(console)


@pytest.mark.parametrize("update_works", [True, False])
def test_installing_fetches_the_package_lists_first(console, monkeypatch, update_works):
    calls = []

    def attempt(command, _environment):
        calls.append(command[1])
        return update_works or command[1] != "update"

    monkeypatch.setattr(system, "root_prefix", lambda: ())
    monkeypatch.setattr(system.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(console, "attempt", attempt)
    assert system.install(console, ["g++"], "C++ compiler")
    assert calls == ["update", "install"]


def test_a_failing_step_shows_the_end_of_the_log_and_one_line(console, capsys):
    command = [sys.executable, "-c", "print(*range(1000), sep='\\n'); raise SystemExit(3)"]
    with pytest.raises(SetupError, match=r"^no luck \(the whole log: .*setup.log\)$"):
        console.run(command, "no luck")
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "999" and len(shown) == 25
