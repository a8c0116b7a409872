"""How a plain ``import tvm`` finds the TVM that the set-up chose, in a Python started from scratch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.setup_env import relay_tvm
from scripts.setup_env.console import Console

REPORT = """
import json, os, sys
{code}
loaded = open("/proc/self/maps").read()
print(json.dumps({{"tvm": getattr(sys.modules.get("tvm"), "__file__", None),
                   "library_path": os.environ.get("TVM_LIBRARY_PATH"),
                   "configs": os.environ.get("TVM_CONFIGS_JSON_DIR"),
                   "stub": "libcoexec_absent.so.1" in loaded,
                   "ctypes": "ctypes" in sys.modules}}))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site-packages folder with the boot module, connected to an empty package called tvm."""
    folder = tmp_path / "site"
    package = tmp_path / "chosen" / "tvm"
    package.mkdir(parents=True)
    folder.mkdir()
    (package / "__init__.py").write_text("")
    library = tmp_path / "chosen" / "build" / "libtvm.so"
    found = relay_tvm.FoundTvm("0.17", tmp_path / "chosen", library, sys.executable)
    built = relay_tvm.build_stubs(Console(tmp_path / "log"), tmp_path / "stubs")
    stubs = {"libcoexec_absent.so.1": str(tmp_path / "libcoexec_absent.so.1"), "libc.so.6": "/nonexistent/libc.so.6"}
    Path(built["libcuda.so.1"]).rename(stubs["libcoexec_absent.so.1"])
    relay_tvm.connect(found, folder, tmp_path / "share", stubs)
    return folder


def start(site: Path, code: str, **environment: str) -> dict:
    """Run code in a new interpreter without site-packages of its own, after the boot folder's .pth files."""
    code = f"import site; site.addsitedir({str(site)!r})\n" + REPORT.format(code=code)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TVM", "PYTHON"))}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=env | environment, cwd="/", check=True)
    return json.loads(done.stdout)


def test_import_finds_the_chosen_tvm_and_sets_its_environment(site):
    found = start(site, "import tvm")
    chosen = site.parent / "chosen"
    assert found["tvm"] == str(chosen / "tvm" / "__init__.py")
    assert found["library_path"] == str(chosen / "build")
    assert (Path(found["configs"]) / "host" / "default.json").exists()


def test_stub_is_loaded_only_where_the_real_library_is_absent(site):
    # libc.so.6 is there, and its stub's path does not exist: loading the stub would fail.
    assert start(site, "import tvm")["stub"]


def test_nothing_happens_until_tvm_is_imported(site):
    found = start(site, "import json")
    assert found == {"tvm": None, "library_path": None, "configs": None, "stub": False, "ctypes": False}


def test_a_tvm_on_the_path_goes_first(site, tmp_path):
    own = tmp_path / "own" / "tvm"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("")
    found = start(site, "import tvm", PYTHONPATH=str(own.parent))
    assert found["tvm"] == str(own / "__init__.py")
    assert found["library_path"] is None and not found["stub"]


def test_variables_that_the_user_set_are_kept(site):
    assert start(site, "import tvm", TVM_LIBRARY_PATH="/my/build")["library_path"] == "/my/build"


def test_configs_next_to_the_library_are_left_to_tvm(tmp_path):
    (tmp_path / "build").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "site").mkdir()
    found = relay_tvm.FoundTvm("0.17", tmp_path / "python", tmp_path / "build/libtvm.so", sys.executable)
    relay_tvm.connect(found, tmp_path / "site", tmp_path / "share", {})
    settings = json.loads((tmp_path / "site/tvm_coexec_boot.json").read_text())
    assert settings["environment"] == {"TVM_LIBRARY_PATH": str(tmp_path / "build")}


@pytest.mark.slow
@pytest.mark.llvm
def test_tvmc_starts_without_environment_variables():
    # The environment that the tests run in, so the one that the set-up made.
    env = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    command = [sys.executable, "-m", "tvm.driver.tvmc", "compile", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "--target" in done.stdout
