"""Build and run the C++ tests in unit/ and device/, with or without sanitizers; folders under build/ are kept."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tvm_coexec.vulkan import load as library

ROOT = Path(__file__).resolve().parents[2]
MODES = ["buffer", "coarse", "fine", "hostptr"]
# pocl with several workers, so that missing waits show. It installs a signal stack of its own, which AddressSanitizer
# takes for the one that it has made itself.
ENVIRONMENT = {
    "POCL_MAX_PTHREAD_COUNT": "3",
    "POCL_AFFINITY": "0",
    "ASAN_OPTIONS": "use_sigaltstack=0",
    "LSAN_OPTIONS": f"suppressions={Path(__file__).with_name('driver_leaks.supp')}",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}


# How many objects the driver may lose in a run. An event, a buffer or a kernel that we do not release is allocated by
# the driver, too, but these are lost by the hundred.
MAX_DRIVER_LEAKS = 16


@functools.cache
def lacks(sanitize: str) -> str | None:
    """Return why programs cannot be built with these sanitizers (or at all), or run."""
    if shutil.which("cmake") is None:
        return "no cmake to build the C++ tests with"
    compiler = os.environ.get("CXX", "c++")
    if not sanitize:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "empty.cc"), Path(folder, "empty")
        source.write_text("int main() { return 0; }\n")
        for command in ([compiler, f"-fsanitize={sanitize}", source, "-o", binary], [binary]):
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except OSError as error:
                return f"no compiler to build the C++ tests with: {error}"
            if done.returncode != 0:
                return f"{compiler} -fsanitize={sanitize} does not work here: {done.stderr[-300:]}"
    return None


@functools.cache
def build(sanitize: str = "", *options: str, name: str = "") -> Path:
    """Return the folder with both programs; skip where they cannot be built.

    `options` are CMake's, and `name` that of the folder that they get.
    """
    if (reason := lacks(sanitize)) is not None:
        pytest.skip(reason)
    parts = [part for part in (*sanitize.split(","), name) if part]
    folder = ROOT / "build" / "_".join(["runtime_tests", *parts])
    folder.mkdir(parents=True, exist_ok=True)
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DTVM_COEXEC_BUILD_TESTS=ON"]
    configure += [
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS_DEBUG=-g1 -O1",  # the compiler takes 5 s more, the tests a sixth of the time
        f"-DTVM_COEXEC_SANITIZE={sanitize}",
        *options,
    ]
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes share it
        for command in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def on_vulkan() -> dict[str, str]:
    """Return the environment in which the device tests run on the first Vulkan device."""
    found = library.wgpu_library()
    races = Path(__file__).with_name("driver_races.supp")
    return {
        "TVM_COEXEC_TEST_API": "vulkan",
        "NODEVICE_SELECT": "1",
        "TVM_COEXEC_LIBWGPU": str(found or ""),
        "TSAN_OPTIONS": f"{ENVIRONMENT['TSAN_OPTIONS']} suppressions={races}",
    }


def run(program: Path, *args: str, **env: str) -> str:
    """Run one of the programs; return what it wrote. A sanitizer's report is a failure."""
    return check([str(program), *args], {**ENVIRONMENT, **env})


def check(command: list[str], env: dict[str, str]) -> str:
    """As `run`, of a command line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, env={**os.environ, **env})
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "Sanitizer" not in output and "runtime error" not in output, output[-8000:]
    assert suppressed(output) <= MAX_DRIVER_LEAKS, output[-8000:]
    assert " 0 failed" in done.stdout
    return output


def suppressed(output: str) -> int:
    """Return how many leaked objects LeakSanitizer found and did not report."""
    _, found, table = output.partition("Suppressions used:\n")
    return sum(int(n) for n in re.findall(r"^ +(\d+) +\d+ \S+$", table, re.MULTILINE)) if found else 0
