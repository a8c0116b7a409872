"""The C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer (one build has both) and ThreadSanitizer.

Nothing is suppressed: what the driver's own code does wrong would show, too, and would have to be named here.
"""

from __future__ import annotations

import pytest

from tests.runtime import native

SANITIZERS = ["address,undefined", "thread"]


@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_unit_tests(sanitize: str) -> None:
    native.run(native.build(sanitize) / "runtime_unit_tests")


@pytest.mark.parametrize("mode", native.MODES)
@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_device_tests(sanitize: str, mode: str) -> None:
    native.run(native.build(sanitize) / "runtime_device_tests", TVM_COEXEC_OPENCL_MEMORY=mode)
