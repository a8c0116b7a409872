"""The C++ tests in device/: cl/ and exec/ on a real device, without TVM; threads, and faults on demand."""

from __future__ import annotations

import pytest

from tests.runtime import native

pytestmark = pytest.mark.slow


def test_on_vulkan() -> None:
    native.run(native.build() / "runtime_device_tests", **native.on_vulkan())


@pytest.mark.parametrize("mode", native.MODES)
def test_in_memory_mode(mode: str) -> None:
    native.run(native.build() / "runtime_device_tests", TVM_COEXEC_OPENCL_MEMORY=mode)


def test_with_flags() -> None:
    """Where the device has none that are faster, the tests of them are left out otherwise."""
    native.run(native.build() / "runtime_device_tests", TVM_COEXEC_OPENCL_MEMORY="fine", TVM_COEXEC_OPENCL_WAIT="flag")
