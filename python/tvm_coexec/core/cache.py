"""The folder in the user's cache where measurements are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Where measurements are kept, made if it is not there; `None` when the user wants no cache."""
    base = os.environ.get("TVM_COEXEC_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tvm_coexec"
    )
    if base == "off":
        return None
    folder = Path(base) / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
