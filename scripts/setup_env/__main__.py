"""``python -m scripts.setup_env``: set up ``.venv``. ``--check`` only tests (exit status) if it is current.

The set-up is repeated only when something that it depends on changes: the package's requirements, this folder,
TVM_HOME. A change of only the C++ sources just rebuilds the runtime.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2].resolve()
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tvm-coexec-setup.json"
LIBRARY = ROOT / "python/tvm_coexec/lib/libtvm_coexec_runtime.so"
BUILD_TOOLS = ["setuptools>=70.1,<81", "cmake>=3.18"]  # as in pyproject.toml; kept for quick rebuilds of the runtime


def digest(files: list[Path]) -> str:
    """Hash files, and the environment variables that select a TVM."""
    found = hashlib.sha256()
    for name in ("TVM_HOME", "TVM_LIBRARY_PATH"):
        found.update(f"{name}={os.environ.get(name, '')}\n".encode())
    for file in sorted(files):
        found.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return found.hexdigest()


def wanted() -> dict[str, str]:
    """Return the stamp of an up-to-date environment."""
    here = [file for file in Path(__file__).parent.rglob("*") if file.suffix in (".py", ".c", ".h", ".json")]
    runtime = [file for file in (ROOT / "runtime").rglob("*") if file.suffix in (".cc", ".h")]
    return {
        "environment": digest([ROOT / "setup.py", ROOT / "pyproject.toml", *here]),
        "runtime": digest([ROOT / "CMakeLists.txt", *runtime]),
    }


def stamped() -> dict[str, str]:
    """Return the stamp of the last set-up; empty if its interpreter or library is missing."""
    if not PYTHON.exists():
        return {}
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if LIBRARY.exists() else {key: value for key, value in stamp.items() if key != "runtime"}


def interpreters() -> list[str]:
    """Return the user's interpreters without duplicates, in order of preference."""
    if os.environ.get("PYTHON"):
        return [os.environ["PYTHON"]]
    names = [f"{os.environ[name]}/bin/python" for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    names += ["python3", "python", sys.executable, "python3.11", "python3.10"]
    names += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[01]*/bin/python")), reverse=True)
    paths = [path for path in map(shutil.which, names) if path is not None and not Path(path).is_relative_to(VENV)]
    return list(dict.fromkeys(paths))


def version(interpreter: str) -> tuple[int, int]:
    """Return an interpreter's version; (0, 0) if it does not start."""
    command = [interpreter, "-c", "import sys; print(*sys.version_info[:2])"]
    done = subprocess.run(command, capture_output=True, text=True)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else (0, 0)


def venv_version() -> tuple[int, int]:
    """Return the version of the environment's Python; (0, 0) if there is none.

    It must identify itself as an environment; otherwise packages would be installed into its base interpreter.
    """
    command = [str(PYTHON), "-c", "import sys; print(sys.prefix)"]
    if not PYTHON.exists() or not (VENV / "pyvenv.cfg").exists():
        return (0, 0)
    prefix = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return version(str(PYTHON)) if prefix and os.path.realpath(prefix) == os.path.realpath(VENV) else (0, 0)


def make_venv(console, interpreter: str) -> None:
    """Create the virtual environment, unless one of the same Python exists."""
    from scripts.setup_env import system
    from scripts.setup_env.console import SetupError

    number = version(interpreter)
    if venv_version() == number:
        return
    console.step(f"virtual environment .venv (Python {number[0]}.{number[1]}, {interpreter})")
    shutil.rmtree(VENV, ignore_errors=True)
    command = [interpreter, "-m", "venv", str(VENV)]
    if console.attempt(command):
        return
    package = f"python{number[0]}.{number[1]}-venv"  # not part of Debian's Python package
    shutil.rmtree(VENV, ignore_errors=True)
    if not system.install(console, [package], "venv") or not console.attempt(command):
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(f"{interpreter} cannot make virtual environments; type: {system.how_to_install([package])}")


def site_packages() -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def install_everything(console) -> None:
    """The whole set-up."""
    from scripts.setup_env import ffi, relay_tvm, system
    from scripts.setup_env.console import SetupError

    home = os.environ.get("TVM_HOME")
    if home:
        relay_tvm.home_python(home)  # refuse a wrong one before anything is created
    system.ensure_compiler(console)
    own = None if home else relay_tvm.users_own(console, interpreters())
    fitting = [name for name in interpreters() if version(name) in ((3, 10), (3, 11))]
    if own is not None and version(own.interpreter) >= (3, 10):
        fitting = [own.interpreter]
    elif not os.environ.get("PYTHON"):  # an existing environment of a supported Python is kept
        fitting.sort(key=lambda name: version(name) != venv_version())
    if not fitting:
        raise SetupError("Python 3.10 or 3.11 is needed; install one, or: make setup PYTHON=/path/to/python3.11")
    make_venv(console, fitting[0])
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install"]
    console.step("Python packages")
    console.run([*pip, *BUILD_TOOLS], "installing the build tools failed: is the package index reachable?")
    console.step("C++ runtime and the package itself")
    console.run(
        [*pip, "--no-build-isolation", "-e", f"{ROOT}[all]"],
        "installing the package failed",
        {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"},
    )
    packages, share, stubs = site_packages(), VENV / "share/tvm-coexec", {}
    if home:
        tvm = relay_tvm.from_home(home, str(PYTHON))
    elif own is not None:
        tvm = own
    else:
        tvm = relay_tvm.install_package(console, str(PYTHON), packages)
        stubs = relay_tvm.build_stubs(console, share / "cuda_stubs")
    relay_tvm.connect(tvm, packages, share, stubs)
    reason = relay_tvm.unfit(relay_tvm.probe(str(PYTHON)))
    if not stubs and any(soname in (reason or "") for soname in relay_tvm.STUBS):
        # If the user's Python imports it, CUDA's libraries are already available.
        relay_tvm.connect(tvm, packages, share, relay_tvm.build_stubs(console, share / "cuda_stubs"))
        reason = relay_tvm.unfit(relay_tvm.probe(str(PYTHON)))
    if reason is not None:
        raise SetupError(f"the TVM in {tvm.python_dir} does not work in .venv: {reason}")
    console.step(f"Relay TVM: {tvm.version} ({tvm.python_dir})")
    if tvm.python_dir.is_relative_to(packages):  # a TVM of the user's own is not written to
        ffi.compile_ffi(console, str(PYTHON), tvm.python_dir)
    system.ensure_opencl(console)
    console.run([str(PYTHON), "-c", "import tvm_coexec"], "the package is installed but can't be imported")


def build_runtime(console) -> None:
    """Rebuild the C++ runtime where an editable install looks for it."""
    console.step("C++ runtime")
    console.run(
        [str(PYTHON), "setup.py", "--quiet", "build_ext", "--inplace"],
        "building the C++ runtime failed",
        {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"},
    )


def main() -> int:
    target, last = wanted(), stamped()
    if "--check" in sys.argv[1:]:
        return int(target != last)
    from scripts.setup_env.console import Console, SetupError

    os.chdir(ROOT)
    console = Console(ROOT / "build" / "setup.log")
    try:
        if target["environment"] != last.get("environment"):
            STAMP.unlink(missing_ok=True)
            install_everything(console)
        elif target["runtime"] != last.get("runtime"):
            build_runtime(console)
        STAMP.write_text(json.dumps(target, indent=1) + "\n")
        console.step("ready")
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
