"""The set-up does nothing the second time, what is needed after a change, and names an unfit interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the set-up depends on, and what a finished set-up leaves behind."""
    for name in ("scripts", "runtime"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python/tvm_coexec/lib").mkdir(parents=True)
    (tmp_path / "python/tvm_coexec/lib/libtvm_coexec_runtime.so").touch()
    # Without pip: should a test here ever start a real set-up by mistake, that fails and changes nothing.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")], check=True)
    code = "import json, scripts.setup_env.__main__ as m; m.STAMP.write_text(json.dumps(m.wanted()))"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment(), check=True)
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TVM_", "PYTHON"))}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"} | changes


def nothing_to_do(checkout: Path, **changes: str) -> bool:
    command = [sys.executable, "-S", "-m", "scripts.setup_env", "--check"]
    return subprocess.run(command, cwd=checkout, env=environment(**changes)).returncode == 0


def test_after_a_finished_setup_nothing_is_done_or_said(checkout):
    done = subprocess.run(["sh", "scripts/setup.sh"], cwd=checkout, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("file", ["setup.py", "CMakeLists.txt", "scripts/setup_env/cuda_stubs/cuda.c"])
def test_a_change_counts_until_it_is_taken_back(checkout, file):
    original = (checkout / file).read_text()
    (checkout / file).write_text(original + "\n")
    assert not nothing_to_do(checkout)
    (checkout / file).write_text(original)
    assert nothing_to_do(checkout)


def test_a_new_source_a_lost_library_and_another_tvm_count(checkout):
    assert nothing_to_do(checkout)
    assert not nothing_to_do(checkout, TVM_HOME="/opt/tvm")
    source = checkout / "runtime/src/new.cc"
    source.touch()
    assert not nothing_to_do(checkout)
    source.unlink()
    (checkout / "python/tvm_coexec/lib/libtvm_coexec_runtime.so").unlink()
    assert not nothing_to_do(checkout)


def test_a_half_finished_setup_counts_as_none(checkout):
    (checkout / ".venv/tvm-coexec-setup.json").write_text('{"environment": ')
    assert not nothing_to_do(checkout)


def test_an_interpreter_that_is_no_environment_is_not_installed_into(checkout):
    # A link to an interpreter without pyvenv.cfg: packages would go to that interpreter, outside the checkout.
    code = "import scripts.setup_env.__main__ as m; print(m.venv_version())"
    command = [sys.executable, "-S", "-c", code]
    found = [subprocess.run(command, cwd=checkout, env=environment(), capture_output=True, text=True, check=True)]
    (checkout / ".venv/pyvenv.cfg").unlink()
    found.append(subprocess.run(command, cwd=checkout, env=environment(), capture_output=True, text=True, check=True))
    assert [done.stdout.strip() for done in found] == [str(sys.version_info[:2]), "(0, 0)"]


def test_an_unfit_interpreter_is_named(checkout):
    (checkout / ".venv/tvm-coexec-setup.json").unlink()
    command = ["sh", "scripts/setup.sh"]
    done = subprocess.run(
        command, cwd=checkout, env=environment(PYTHON="/nonexistent/python"), capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("set-up: /nonexistent/python: Python 3.10 or 3.11 is needed")


def test_a_wrong_tvm_home_is_refused_before_anything_is_made(checkout):
    shutil.rmtree(checkout / ".venv")
    env = environment(TVM_HOME="/nonexistent/tvm", PYTHON=sys.executable)
    done = subprocess.run(["sh", "scripts/setup.sh"], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("set-up: TVM_HOME=/nonexistent/tvm: there is no /nonexistent/tvm/python/tvm")
    assert not (checkout / ".venv").exists()
