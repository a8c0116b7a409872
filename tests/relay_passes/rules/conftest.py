"""Fixtures of the split-rule tests; `harness` says how they work."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relay")

from tests.relay_passes.rules.harness import Splits


@pytest.fixture(scope="session")
def splits() -> Splits:
    """Checks that splits compute what the module computes."""
    return Splits()
