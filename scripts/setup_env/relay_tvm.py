"""Finds a TVM that still has Relay (0.13 to 0.19), or installs the one prebuilt package that has it.

In this order: the source tree in ``TVM_HOME``; the tvm that the user's own Python imports; the pinned package, which
bundles TVM. It is installed with ``--no-deps``, because its other dependencies are not needed here.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.setup_env import system
from scripts.setup_env.console import Console, SetupError

PACKAGE = "bitblas==0.1.0.post1"
PACKAGE_TVM = "bitblas/3rdparty/tvm"  # inside site-packages
OLDEST, NEWEST = (0, 13), (0, 19)
HERE = Path(__file__).parent.resolve()

# soname -> (source, symbol version or None), as the package's libtvm.so requires them.
STUBS = {
    "libcuda.so.1": ("cuda.c", None),
    "libcudart.so.12": ("cudart.c", "libcudart.so.12"),
    "libnvrtc.so.12": ("nvrtc.c", "libnvrtc.so.12"),
}

_PROBE = """
import json, os, sys
try:
    import tvm
except Exception as error:  # OSError if a library is missing, RuntimeError, or any other error of its initialisation
    print(json.dumps({"error": f"it cannot be imported: {error}"})); sys.exit()
found = {"version": getattr(tvm, "__version__", "?"), "file": getattr(tvm, "__file__", None)}
try:
    import tvm.relay
    from tvm._ffi import libinfo
    found["relay"] = True
    found["library"] = libinfo.find_lib_path()[0]
    found["llvm"] = bool(tvm.get_global_func("target.build.llvm", allow_missing=True))
    found["opencl"] = bool(tvm.get_global_func("device_api.opencl", allow_missing=True))
except ImportError:
    found["relay"] = False
print(json.dumps(found))
"""


@dataclass(frozen=True)
class FoundTvm:
    """A TVM with Relay: where its Python code and its library are, and the interpreter that imported it."""

    version: str
    python_dir: Path
    library: Path
    interpreter: str


def probe(interpreter: str, environment: dict[str, str] | None = None) -> dict:
    """Import tvm in an interpreter and return its properties; ``{"error": ...}`` if that fails."""
    command = [interpreter, "-c", _PROBE]
    env = dict(os.environ, **(environment or {}))
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/", timeout=120)
        return json.loads(done.stdout.strip().split("\n")[-1])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {"error": "it cannot be imported"}


def unfit(found: dict) -> str | None:
    """Return why a probed tvm cannot be used, None if it can."""
    if "error" in found:
        return found["error"]
    if not found["relay"]:
        return f"TVM {found['version']} has no Relay"
    numbers = tuple(map(int, re.findall(r"\d+", found["version"])[:2]))
    if not OLDEST <= numbers <= NEWEST:
        return f"TVM {found['version']} is not among 0.13 to 0.19"
    if not found["llvm"]:
        return f"TVM {found['version']} was built without LLVM"
    return None


def users_own(console: Console, interpreters: Iterable[str]) -> FoundTvm | None:
    """Return the tvm of the first interpreter that imports one with Relay."""
    for interpreter in interpreters:
        found = probe(interpreter)
        reason = unfit(found)
        if reason is None:
            return FoundTvm(
                found["version"], Path(found["file"]).parent.parent, Path(found["library"]), interpreter
            )  # fmt: skip
        if "file" in found:
            console.step(f"Relay TVM: {found['file']} is not used: {reason}")
    return None


def home_python(tvm_home: str) -> Path:
    """Return the folder of a source tree that holds the Python package."""
    folder = Path(tvm_home).resolve() / "python"
    if not (folder / "tvm").is_dir():
        raise SetupError(f"TVM_HOME={tvm_home}: there is no {folder / 'tvm'}; unset TVM_HOME to use a prebuilt TVM")
    return folder


def from_home(tvm_home: str, interpreter: str) -> FoundTvm:
    """Return the TVM of a source tree, imported with an interpreter that has what TVM needs.

    Raises
    ------
    SetupError
        If there is none, or it can't be used.
    """
    python_dir = home_python(tvm_home)
    found = probe(interpreter, {"PYTHONPATH": str(python_dir)})
    reason = unfit(found)
    if reason is not None:
        raise SetupError(f"TVM_HOME={tvm_home}: {reason}; build TVM 0.13 to 0.19 with LLVM there, or unset TVM_HOME")
    return FoundTvm(found["version"], python_dir, Path(found["library"]), interpreter)


def install_package(console: Console, venv_python: str, site_packages: Path) -> FoundTvm:
    """Install the prebuilt package and return its TVM."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"no TVM with Relay found, and none is prebuilt for {platform.system()} {platform.machine()}; "
            "build TVM 0.13 to 0.19 from source and set TVM_HOME"
        )
    base = site_packages / PACKAGE_TVM
    if not (base / "build/libtvm.so").exists():
        console.step(f"Relay TVM: fetching {PACKAGE} (82 MB)")
        pip = [venv_python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", PACKAGE]
        console.run(pip, f"installing {PACKAGE} failed: is the package index reachable?")
    return FoundTvm("0.17.dev0", base / "python", base / "build/libtvm.so", venv_python)


def build_stubs(console: Console, folder: Path) -> dict[str, str]:
    """Compile the stand-ins for the CUDA libraries and return their files by soname."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = system.c_compiler()
    if compiler is None:
        raise SetupError(f"no C compiler; type: {system.how_to_install(['g++'])}")
    files = {}
    for soname, (source, version) in STUBS.items():
        command = [compiler, "-shared", "-fPIC", "-O1", f"-Wl,-soname,{soname}", "-o", str(folder / soname)]
        if version is not None:
            script = folder / f"{soname}.map"
            script.write_text(f"{version} {{ global: *; }};\n")
            command.append(f"-Wl,--version-script={script}")
        console.run([*command, str(HERE / "cuda_stubs" / source)], f"compiling the stand-in for {soname} failed")
        files[soname] = str(folder / soname)
    return files


def connect(found: FoundTvm, site_packages: Path, share: Path, stubs: dict[str, str]) -> None:
    """Make ``import tvm`` in the environment find this TVM, and tvmc its configuration."""
    environment = {"TVM_LIBRARY_PATH": str(found.library.parent)}
    if not any((found.library.parent / near / "configs").is_dir() for near in (".", "..")):
        # tvmc looks for configs/host/default.json near the library and stops without it.
        shutil.copytree(HERE / "configs", share / "configs", dirs_exist_ok=True)
        environment["TVM_CONFIGS_JSON_DIR"] = str(share / "configs")
    settings = {"python_dir": str(found.python_dir), "environment": environment, "stubs": stubs}
    (site_packages / "tvm_coexec_boot.json").write_text(json.dumps(settings, indent=1) + "\n")
    shutil.copy(HERE / "boot/tvm_coexec_boot.py", site_packages)
    (site_packages / "tvm_coexec_boot.pth").write_text("import tvm_coexec_boot\n")
