"""Plans of one model for the tests of this folder are compiled once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def compiled_once() -> Iterator[None]:
    from tests.builds import compile_equal_modules_once

    with compile_equal_modules_once():
        yield
