"""Fixtures of the split-rule tests; `harness` says how they work."""

from __future__ import annotations

import functools
import importlib

import pytest

pytest.importorskip("tvm.relay")

from tests.relay_passes.rules.harness import Splits


@pytest.fixture(scope="session")
def splits() -> Splits:
    """Checks that splits compute what the module computes."""
    return Splits()


@pytest.fixture(scope="session", autouse=True)
def quick_builds():
    """TVM asks its library how it was built for every kernel that it lowers; a third of the time of small builds."""
    te_compiler = importlib.import_module("tvm.relay.backend.te_compiler")
    original = getattr(te_compiler, "libinfo", None)
    if original is None:
        yield
        return
    te_compiler.libinfo = functools.cache(original)
    yield
    te_compiler.libinfo = original
