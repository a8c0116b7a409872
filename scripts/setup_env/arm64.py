"""``python -m scripts.setup_env.arm64``: what the tests of the runtime for ARM need on a machine of another kind.

A cross compiler and qemu-user are installed as Debian packages. pocl for arm64 with its libraries is only unpacked,
into ``build/arm64``: the package lists and the state of apt that this takes lie there, too, and the system knows no
foreign architecture afterwards. Where any of this is impossible, `lacks` says why, and the tests are skipped.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "arm64"
SYSROOT = FOLDER / "root"
LIBRARIES = SYSROOT / "usr/lib/aarch64-linux-gnu"
STAMP, FAILED = FOLDER / "complete", FOLDER / "failed"
CROSS_COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
TOOLS = {CROSS_COMPILER: "g++-aarch64-linux-gnu", EMULATOR: "qemu-user"}
PACKAGES = ["pocl-opencl-icd", "ocl-icd-libopencl1", "libstdc++6"]
# Dependencies of pocl's packages that it doesn't need for running: compilers, and half of the bytes.
NOT_NEEDED = re.compile(r"binutils|gcc-|cpp|clang-1|llvm-|lib(a|t|l|ub|hwa)san|libobjc|.*-dev$|.*-base$|debconf|perl")
NEEDED = re.compile(r"libclang-common|pocl|ocl-icd")


def lacks() -> str | None:
    """Return why programs for arm64 can't be built and run here; None if they can."""
    if sys.platform != "linux" or platform.machine() == "aarch64":
        return "the emulator is for other Linux machines than ARM's"
    for command, package in TOOLS.items():
        if shutil.which(command) is None:
            return f"no {command} (Debian package {package})"
    if FAILED.exists():
        return f"{FAILED.read_text().strip()} (to try again, remove {FOLDER})"
    if not STAMP.exists():
        return f"pocl for arm64 is not in {FOLDER} (python -m scripts.setup_env.arm64)"
    return None


def apt_options(architecture: str = "arm64") -> list[str]:
    """Return apt-get's options for a system of its own in `FOLDER`."""
    values = {
        "APT::Architecture": architecture, "APT::Architectures": architecture, "APT::Install-Recommends": "0",
        "Dir::State": FOLDER / "state", "Dir::State::status": FOLDER / "state/status", "Dir::Cache": FOLDER / "cache",
        "APT::Sandbox::User": "",
    }  # fmt: skip
    return [part for key, value in values.items() for part in ("-o", f"{key}={value}")]


def choose_packages(simulation: str) -> list[str]:
    """Return the packages that `apt-get --simulate install` would install and that running pocl takes."""
    names = re.findall(r"^Inst (\S+?)(?::\w+)? ", simulation, re.MULTILINE)
    return [name for name in names if NEEDED.match(name) or not NOT_NEEDED.match(name)]


def unpack_packages(console) -> str | None:
    """Download and unpack `PACKAGES` with their dependencies; return why that failed, if it did."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            return f"no {tool}: this needs Debian"
    shutil.rmtree(FOLDER, ignore_errors=True)
    for folder in ("state/lists/partial", "cache/archives/partial", "debs", "root"):
        (FOLDER / folder).mkdir(parents=True)
    (FOLDER / "state/status").touch()
    console.attempt(["apt-get", *apt_options(), "update"])  # a source without arm64 fails, and others may not
    plan = subprocess.run(
        ["apt-get", *apt_options(), "--simulate", "install", *PACKAGES],
        capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"),
    )  # fmt: skip
    if plan.returncode != 0:
        return "the package sources have no pocl for arm64"
    chosen = choose_packages(plan.stdout)
    with (FOLDER / "download.log").open("w") as log:
        command = ["apt-get", *apt_options(), "download", *chosen]
        if subprocess.run(command, cwd=FOLDER / "debs", stdout=log, stderr=log).returncode != 0:
            return f"downloading pocl for arm64 failed (the messages: {log.name})"
    for package in sorted((FOLDER / "debs").glob("*.deb")):
        if not console.attempt(["dpkg-deb", "-x", str(package), str(SYSROOT)]):
            return f"unpacking {package.name} failed"
    for folder in ("debs", "state", "cache"):
        shutil.rmtree(FOLDER / folder)
    (FOLDER / "pocl.icd").write_text(f"{next(LIBRARIES.glob('libpocl.so.?'))}\n")
    (FOLDER / "bin").mkdir()
    # pocl links its kernels with a command `ld`: the cross linker, with the cross compiler's libraries.
    libgcc = subprocess.run([CROSS_COMPILER, "-print-libgcc-file-name"], capture_output=True, text=True, check=True)
    linker = FOLDER / "bin/ld"
    linker.write_text(
        f"#!/bin/sh\nexec aarch64-linux-gnu-ld -L{Path(libgcc.stdout.strip()).parent} -L/usr/aarch64-linux-gnu/lib "
        f'-L{LIBRARIES} "$@"\n'
    )
    linker.chmod(0o755)
    STAMP.touch()
    return None


def emulate(program: Path, *args: str, **env: str) -> list[str]:
    """Return the command that runs a program for arm64 with these environment variables, pocl being its OpenCL."""
    (FOLDER / "pocl_cache").mkdir(exist_ok=True)
    settings = {
        # Not the paths that the emulator would translate: it does so for some system calls only.
        "LD_LIBRARY_PATH": f"{LIBRARIES}:{SYSROOT / 'lib/aarch64-linux-gnu'}",
        "OCL_ICD_VENDORS": str(FOLDER / "pocl.icd"),
        "COMPILER_PATH": str(FOLDER / "bin"),
        "POCL_CACHE_DIR": str(FOLDER / "pocl_cache"),
        **env,
    }
    options = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    return [EMULATOR, "-L", str(SYSROOT), *options, str(program), *args]


def main() -> int:
    """Install what is missing. Not an error if that is impossible: the tests tell."""
    from scripts.setup_env import system
    from scripts.setup_env.console import Console

    if lacks() is None or platform.machine() == "aarch64" or FAILED.exists():
        return 0
    console = Console(ROOT / "build" / "setup_arm64.log")
    missing = [package for command, package in TOOLS.items() if shutil.which(command) is None]
    if missing and not system.install(console, missing, "tests of the runtime for ARM"):
        reason = lacks()
    else:
        console.step("tests of the runtime for ARM: unpacking pocl for arm64 into build/arm64")
        reason = unpack_packages(console) or lacks()
    if reason is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        FAILED.write_text(f"{reason}\n")
        console.step(f"tests of the runtime for ARM will be skipped: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
