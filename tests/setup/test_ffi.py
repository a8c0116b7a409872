"""TVM's Python interface: the set-up compiles what the prebuilt package came without, or says why it does not."""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from scripts.setup_env import ffi

# The set-up goes on without them, so they may be missing; not on a machine that has to have everything.
REQUIRED = "llvm" in os.environ.get("TVM_COEXEC_REQUIRE", "")
HEADERS = Path(sysconfig.get_path("include"), "Python.h")

needs_headers = pytest.mark.skipif(
    not HEADERS.exists() and not REQUIRED, reason=f"no {HEADERS}: TVM is called by ctypes"
)

SMALL = "def answer():\n    return 42\n"


def package(folder: Path, source: str | None) -> Path:
    """Write the folders of TVM's Python package, with that source of the extension module."""
    for name in ("_cython", "_cy3"):
        (folder / "tvm/_ffi" / name).mkdir(parents=True)
    if source is not None:
        (folder / "tvm/_ffi/_cython/core.pyx").write_text(source)
    return folder


def compiled(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "tvm/_ffi/_cy3").iterdir())


@needs_headers
@pytest.mark.llvm
def test_the_prebuilt_tvm_of_the_environment_calls_through_cython():
    import tvm

    if "bitblas" not in Path(tvm.__file__).parts:
        pytest.skip("the environment uses a TVM that its user built")
    assert tvm.runtime.Object.__base__.__module__ == "tvm._ffi._cython.core"


@needs_headers
def test_a_module_is_compiled_once_and_kept(tmp_path, console, monkeypatch, capsys):
    monkeypatch.setattr(ffi, "_TRY", f"""
import sys
sys.path.insert(0, {str(tmp_path / "tvm/_ffi/_cy3")!r})
import core
assert core.answer() == 42
""")  # fmt: skip
    folder = package(tmp_path, SMALL)
    assert ffi.compile_ffi(console, sys.executable, folder), console.log.read_text()
    assert compiled(folder) == [f"core{EXTENSION_SUFFIXES[0]}"]
    capsys.readouterr()
    monkeypatch.setattr(ffi, "_compile", None)
    assert ffi.compile_ffi(console, sys.executable, folder)
    assert capsys.readouterr().out == ""


@needs_headers
@pytest.mark.parametrize(
    ("source", "compiler", "reason"),
    [
        (None, None, "the package has no sources of it"),
        ("def answer(:\n", None, "it could not be compiled"),
        (SMALL, "false", "it could not be compiled"),
        (SMALL, None, "the compiled module does not work"),
    ],
    ids=["no sources", "wrong sources", "wrong compiler", "does not work"],
)
def test_what_fails_is_said_and_leaves_nothing(tmp_path, console, monkeypatch, capsys, source, compiler, reason):
    monkeypatch.setattr(ffi, "_TRY", "raise SystemExit(1)")
    if compiler is not None:
        monkeypatch.setenv("CXX", compiler)
    folder = package(tmp_path, source)
    assert not ffi.compile_ffi(console, sys.executable, folder)
    assert compiled(folder) == []
    assert f"stays on ctypes, which is slower: {reason}" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("lacks", ["headers", "compiler"])
def test_without_headers_or_compiler_it_says_what_to_type(tmp_path, console, monkeypatch, capsys, lacks):
    monkeypatch.setattr(ffi.system, "root_prefix", lambda: None)
    if lacks == "compiler":
        monkeypatch.setattr(ffi.system.shutil, "which", lambda name: name if name == "apt-get" else None)
    else:
        monkeypatch.setattr(ffi, "_ASK", ffi._ASK.replace('sysconfig.get_path("include")', "'/nonexistent'"))
    assert not ffi.compile_ffi(console, sys.executable, package(tmp_path, SMALL))
    number = f"{sys.version_info[0]}.{sys.version_info[1]}"
    package_name = {"headers": f"libpython{number}-dev", "compiler": "g++"}[lacks]
    assert f"apt-get install -y {package_name}" in capsys.readouterr().out
