"""The C++ unit tests in unit/, of everything that needs neither TVM nor a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime import native

pytestmark = pytest.mark.slow

UNIT = Path(__file__).parent / "unit"


@pytest.mark.parametrize("group", sorted(path.stem.removesuffix("_test") for path in UNIT.glob("*_test.cc")))
def test_group(group: str) -> None:
    native.run(native.build() / "runtime_unit_tests", group)
