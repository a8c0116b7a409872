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
