"""``pip install .`` and ``pip install -e .``: the mapped folders, the runtime library, seen from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "lib", "*.egg-info", "tests", "benchmarks")

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the sources, so that building changes nothing here."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("checkout") / "tvm-coexec", ignore=LEFT_OUT))


def new_environment(folder: Path) -> Path:
    """Make a virtual environment that sees this one's packages, but not its tvm-coexec, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    here = Path(sysconfig.get_path("purelib"))
    site = next(folder.glob("lib/python3*/site-packages"))
    # A path line gives the packages; this environment's own .pth files are not read through it, so take over what
    # makes tvm importable and leave out the editable install.
    (site / "a_packages.pth").write_text(f"{here}\n")
    for file in here.glob("*.pth"):
        if not file.name.startswith(("__editable__", "distutils")):
            shutil.copy(file, site / f"b_{file.name}")
    return folder / "bin" / "python"


@pytest.fixture(scope="module", autouse=True)
def compile_without_optimising(tmp_path_factory) -> Iterator[None]:
    """The library is loaded here, but nothing runs in it."""
    launcher = tmp_path_factory.mktemp("launcher") / "launcher.sh"
    launcher.write_text(
        '#!/bin/sh\nfor a; do\n  shift\n  case "$a" in -O[23]) a=-O0 ;; esac\n  set -- "$@" "$a"\ndone\nexec "$@"\n'
    )
    launcher.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMAKE_CXX_COMPILER_LAUNCHER", str(launcher))
        yield


def pip_install(python: Path, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "--disable-pip-version-check",
        "install",
        "--no-deps",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = dict(os.environ, PATH=path, PIP_NO_INDEX="1")
    done = subprocess.run(
        [*command, "--no-build-isolation", *arguments], capture_output=True, text=True, env=env, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run(python: Path, code: str) -> str:
    """Run code from outside the checkout."""
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WHERE = """
import tvm_coexec, tvm_coexec.relay_passes, tvm_coexec.cost_models
for module in (tvm_coexec, tvm_coexec.relay_passes, tvm_coexec.cost_models):
    print(module.__file__)
"""
RUNTIME = """
import tvm_coexec.opencl.runtime
print(tvm_coexec.opencl.runtime.library_path())
"""
METADATA = """
import importlib.metadata, tvm_coexec
found = importlib.metadata.distribution("tvm-coexec")
print(found.version, tvm_coexec.__version__, found.metadata.get("License-Expression") or found.metadata["License"])
"""
NEW_MODULES = """
from tvm_coexec.cost_models import zz_more
from tvm_coexec.relay_passes import zz_new
print(zz_new.VALUE, zz_more.VALUE)
"""


def source_version(checkout: Path) -> str:
    """The version that the sources state, without an install."""
    command = [sys.executable, "setup.py", "--quiet", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout, check=True)
    return done.stdout.split()[-1]


def test_editable_install_reads_the_checkout(checkout, tmp_path):
    python = new_environment(tmp_path / "venv")
    pip_install(python, "-e", str(checkout))
    files = [
        checkout / "python/tvm_coexec/__init__.py",
        checkout / "relay_passes/__init__.py",
        checkout / "cost_models/__init__.py",
    ]
    assert run(python, WHERE).split() == list(map(str, files))
    library = Path(run(python, RUNTIME))
    assert library.is_relative_to(checkout) and library.exists()
    assert run(python, METADATA).split() == [source_version(checkout)] * 2 + ["Apache-2.0"]
    # New files, and new folders, are there without installing again.
    (checkout / "relay_passes/zz_new.py").write_text("VALUE = 7\n")
    (checkout / "cost_models/zz_more").mkdir()
    (checkout / "cost_models/zz_more/__init__.py").write_text("VALUE = 8\n")
    try:
        assert run(python, NEW_MODULES) == "7 8"
    finally:
        (checkout / "relay_passes/zz_new.py").unlink()
        shutil.rmtree(checkout / "cost_models/zz_more")


def test_plain_install_needs_no_checkout(checkout, tmp_path):
    python = new_environment(tmp_path / "venv")
    pip_install(python, str(checkout))
    site = next((tmp_path / "venv").glob("lib/python3*/site-packages/tvm_coexec"))
    files = [site / "__init__.py", site / "relay_passes/__init__.py", site / "cost_models/__init__.py"]
    assert run(python, WHERE).split() == list(map(str, files))
    assert Path(run(python, RUNTIME)) == site / "lib/libtvm_coexec_runtime.so"
    assert (site / "lib/libtvm_coexec_runtime.so").exists()
    assert run(python, METADATA).split() == [source_version(checkout)] * 2 + ["Apache-2.0"]
    assert (site / "py.typed").exists()
    assert list(site.parent.glob("tvm_coexec-*.dist-info/**/LICENSE"))
    # Every module of the checkout is there, under its mapped name.
    for source, target in (("python/tvm_coexec", ""), ("relay_passes", "relay_passes"), ("cost_models", "cost_models")):
        for module in (checkout / source).rglob("*.py"):
            assert (site / target / module.relative_to(checkout / source)).exists(), f"{module} was not installed"
    assert (tmp_path / "venv/bin/tvmc").exists()


def test_without_a_compiler_one_line_says_so(checkout):
    env = dict(os.environ, CXX="/nonexistent/c++")
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=env)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("tvm-coexec: no C++17 compiler found (looked for /nonexistent/c++)")
