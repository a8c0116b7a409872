"""Every check of device_checks.py in every memory mode that the device has."""

from __future__ import annotations

import functools

import pytest

from tests.runtime import device_checks, process

CODE = """
from tvm_coexec.opencl import runtime
from tests.runtime import device_checks
results = device_checks.run_all()
report({"mode": runtime.devices()[0].memory_mode, "results": results})
"""


# With one worker thread pocl would run everything in order, whatever we ask for; with several it takes every liberty.
WORKERS = {"POCL_MAX_PTHREAD_COUNT": "3", "POCL_AFFINITY": "0"}


@functools.cache
def results(mode: str) -> dict:
    return process.run(CODE, TVM_COEXEC_OPENCL_MEMORY=mode, **WORKERS)


@pytest.mark.opencl
@pytest.mark.parametrize("check", device_checks.names())
@pytest.mark.parametrize("mode", ["buffer", "coarse", "fine", "hostptr"])
def test_check_holds_in_memory_mode(mode: str, check: str) -> None:
    got = results(mode)
    assert got["mode"] == mode
    assert got["results"][check] is None, got["results"][check]
