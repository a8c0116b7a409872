"""A cache folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "profiles"
