"""What the operating system has to provide: a C++ compiler, an OpenCL device, Python's venv module.

Missing packages are installed with apt-get where that needs no password; otherwise a message names the command to type.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

from scripts.setup_env.console import Console, SetupError

OPENCL_PACKAGES = ["pocl-opencl-icd", "ocl-icd-libopencl1"]

# Run in a separate process: a broken driver may crash.
_LIST_DEVICES = """
import ctypes, sys
cl = ctypes.CDLL("libOpenCL.so.1")
count = ctypes.c_uint()
if cl.clGetPlatformIDs(0, None, ctypes.byref(count)) or not count.value:
    sys.exit("no OpenCL platform")
platforms = (ctypes.c_void_p * count.value)()
cl.clGetPlatformIDs(count, platforms, None)
for platform in platforms:
    found = ctypes.c_uint()
    if cl.clGetDeviceIDs(ctypes.c_void_p(platform), ctypes.c_ulong(0xFFFFFFFF), 0, None, ctypes.byref(found)):
        continue
    devices = (ctypes.c_void_p * found.value)()
    cl.clGetDeviceIDs(ctypes.c_void_p(platform), ctypes.c_ulong(0xFFFFFFFF), found, devices, None)
    for device in devices:
        name = ctypes.create_string_buffer(256)
        cl.clGetDeviceInfo(ctypes.c_void_p(device), 0x102B, ctypes.c_size_t(256), name, None)
        print(name.value.decode(errors="replace"))
"""


def opencl_devices() -> list[str]:
    """Return the names of the OpenCL devices that any installed driver offers."""
    command = [sys.executable, "-S", "-c", _LIST_DEVICES]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


@cache
def root_prefix() -> tuple[str, ...] | None:
    """Return the prefix that runs a command as root without a password; None if that is not possible."""
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ("sudo", "-n")
    return None


def how_to_install(packages: list[str]) -> str:
    """Return what the user should type to install the packages."""
    if shutil.which("apt-get"):
        return f"sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"
    return f"install your system's counterpart of Debian's {' '.join(packages)}"


def install(console: Console, packages: list[str], purpose: str) -> bool:
    """Install Debian packages if that is possible here, and return whether it was done."""
    prefix = root_prefix()
    if prefix is None or not shutil.which("apt-get"):
        return False
    console.step(f"{purpose}: installing {' '.join(packages)} (apt-get)")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    if prefix:
        prefix = (*prefix, "env", "DEBIAN_FRONTEND=noninteractive")
    # First the package lists, which a fresh machine lacks: without them apt-get reads "g++" as a regular expression and
    # installs the packages that match. A failing source does not matter if the packages are found in others.
    console.attempt([*prefix, "apt-get", "update"], environment)
    return console.attempt(
        [*prefix, "apt-get", "install", "-y", "--no-install-recommends", *packages], environment
    )  # fmt: skip


def ensure_compiler(console: Console) -> None:
    """Make sure that there is a C and a C++ compiler."""

    def present() -> bool:
        return cxx_compiler() is not None and c_compiler() is not None

    for variable in ("CC", "CXX"):
        chosen = os.environ.get(variable, "").split()
        if chosen and not shutil.which(chosen[0]):
            raise SetupError(f"{variable}={os.environ[variable]}: there is no such command; correct it or unset it")
    if os.environ.get("CC") and os.environ.get("CXX"):
        return
    if present() or (install(console, ["g++"], "C++ compiler") and present()):
        return
    raise SetupError(f"no C++ compiler; type: {how_to_install(['g++'])}")


def c_compiler() -> str | None:
    """Return the command of a C compiler."""
    names = [*os.environ.get("CC", "").split()[:1], "cc", "gcc", "clang"]
    return next((name for name in names if shutil.which(name)), None)


def cxx_compiler() -> list[str] | None:
    """Return the command of a C++ compiler, with the options that ``CXX`` has."""
    chosen = os.environ.get("CXX", "").split()
    if chosen and shutil.which(chosen[0]):
        return chosen
    return next(([name] for name in ("c++", "g++", "clang++") if shutil.which(name)), None)


def ensure_opencl(console: Console) -> list[str]:
    """Return the OpenCL devices, after installing pocl if there was none and that is possible.

    Without a device everything but the GPU works, so this is not an error: a message names the command to type.
    """
    found, installed = opencl_devices(), False
    if not found:
        installed = install(console, OPENCL_PACKAGES, "OpenCL")
        found = opencl_devices()
    if found:
        console.step(f"OpenCL: {', '.join(found)}")
    elif installed:
        console.step("OpenCL: no device, although pocl is installed; run clinfo to see why (OCL_ICD_VENDORS, /sys)")
    else:
        console.step(f"OpenCL: no device, nothing can run on a GPU; type: {how_to_install(OPENCL_PACKAGES)}")
    return found
