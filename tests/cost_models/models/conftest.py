"""Files of the models that PyTorch fits, written twice, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def graph_files(tmp_path_factory) -> tuple[Path, Path]:
    """Two folders with the same files (see `graph_fits`)."""
    folders = tuple(tmp_path_factory.mktemp("fits") for _ in range(2))
    for folder in folders:
        command = [sys.executable, "-m", "tests.cost_models.models.graph_fits", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    return folders
