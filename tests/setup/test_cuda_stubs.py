"""The stand-ins for the CUDA libraries: they load, carry the right names and versions, and report no device."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess

import pytest

from scripts.setup_env import relay_tvm
from scripts.setup_env.console import Console

NO_DEVICE, INSUFFICIENT_DRIVER, NVRTC_INTERNAL_ERROR = 100, 35, 11


@pytest.fixture(scope="module")
def stubs(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stubs")
    return relay_tvm.build_stubs(Console(folder / "log"), folder)


def dynamic_symbols(file: str, which: str) -> set[str]:
    """Return a library's symbols as nm prints them: name, or name@version."""
    if shutil.which("nm") is None:
        pytest.skip("no nm on this machine (binutils)")
    listing = subprocess.run(["nm", "-D", which, file], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].replace("@@", "@") for line in listing.splitlines()}


def test_functions_report_no_device(stubs):
    assert ctypes.CDLL(stubs["libcuda.so.1"]).cuLaunchKernel() == NO_DEVICE
    assert ctypes.CDLL(stubs["libcudart.so.12"]).cudaGetDeviceCount() == INSUFFICIENT_DRIVER
    assert ctypes.CDLL(stubs["libnvrtc.so.12"]).nvrtcCompileProgram() == NVRTC_INTERNAL_ERROR


def test_error_names_are_strings(stubs):
    # TVM prints these; a number in the place of a string would crash it.
    name = ctypes.c_char_p()
    assert ctypes.CDLL(stubs["libcuda.so.1"]).cuGetErrorName(NO_DEVICE, ctypes.byref(name)) == 0
    assert name.value == b"CUDA_ERROR_NO_DEVICE"
    for soname, function in (("libcudart.so.12", "cudaGetErrorString"), ("libnvrtc.so.12", "nvrtcGetErrorString")):
        text = getattr(ctypes.CDLL(stubs[soname]), function)
        text.restype = ctypes.c_char_p
        assert b"no CUDA" in text(1)


def test_symbols_carry_the_library_version(stubs):
    assert "cuLaunchKernel" in dynamic_symbols(stubs["libcuda.so.1"], "--defined-only")
    assert "cudaMalloc@libcudart.so.12" in dynamic_symbols(stubs["libcudart.so.12"], "--defined-only")
    assert "nvrtcGetPTX@libnvrtc.so.12" in dynamic_symbols(stubs["libnvrtc.so.12"], "--defined-only")


@pytest.mark.llvm
def test_every_symbol_that_tvm_wants_is_there(stubs):
    from tvm._ffi import libinfo

    wanted = {
        symbol
        for symbol in dynamic_symbols(libinfo.find_lib_path()[0], "--undefined-only")
        if re.match(r"(cu[A-Z]|cuda[A-Z]|nvrtc[A-Z])", symbol)
    }
    if not wanted:
        pytest.skip("this TVM is not linked against CUDA")
    offered = set().union(*(dynamic_symbols(file, "--defined-only") for file in stubs.values()))
    assert wanted <= offered
