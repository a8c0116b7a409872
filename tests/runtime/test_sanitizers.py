"""The C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer (one build has both) and ThreadSanitizer.

What the driver itself leaks is suppressed, by library (driver_leaks.supp), as long as it is a few objects; nothing
else is: what the driver's own code does wrong would show, too, and would have to be named here.
"""

from __future__ import annotations

import pytest

from tests.runtime import native

pytestmark = pytest.mark.slow

SANITIZERS = ["address,undefined", "thread"]


@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_unit_tests(sanitize: str) -> None:
    native.run(native.build(sanitize) / "runtime_unit_tests", TVM_COEXEC_WORK_PERCENT="2")


@pytest.mark.parametrize("mode", native.MODES)
@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_device_tests(sanitize: str, mode: str) -> None:
    native.run(native.build(sanitize) / "runtime_device_tests", TVM_COEXEC_OPENCL_MEMORY=mode)


@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_device_tests_on_vulkan(sanitize: str) -> None:
    native.run(native.build(sanitize) / "runtime_device_tests", **native.on_vulkan())


@pytest.mark.parametrize("lost", ["memory", "events"])
def test_a_leak_of_ours_is_reported(lost: str) -> None:
    """Memory that we lose, and objects of the driver that we do not release: these look like the driver's own leaks."""
    program = native.build("address,undefined") / "runtime_device_tests"
    with pytest.raises(AssertionError) as failure:
        native.run(program, "lose", lost)
    output = str(failure.value)
    if lost == "memory":
        assert "LeakSanitizer: detected memory leaks" in output and "lose_memory" in output
    else:
        assert "detected memory leaks" not in output and native.suppressed(output) > native.MAX_DRIVER_LEAKS
