"""What the tests of the set-up share."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.setup_env.console import Console


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "setup.log")
