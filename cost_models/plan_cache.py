"""What verified plans took, kept in the user's cache for profiles to learn from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tvm_coexec.core.cache import cache_folder
from tvm_coexec.core.errors import CoExecError

from .dataset import SAME, SampleWriter, read_samples
from .plan_records import PlanRecord

logger = logging.getLogger("tvm_coexec")


def path_of(header: dict[str, Any]) -> Path | None:
    """The file of the plans of a setting; `None` when the user wants no cache.

    Parameters
    ----------
    header : dict
        Of a file of samples (see `Samples`).
    """
    folder = cache_folder()
    if folder is None:
        return None
    key = json.dumps([header.get(name) for name in SAME], sort_keys=True)
    return folder / f"plans-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"


def append_records(header: dict[str, Any], records: Iterable[PlanRecord]) -> Path | None:
    """Append records to their file; a file that can't be written costs a warning, not the plan.

    Returns
    -------
    Path or None
        Where they are.
    """
    try:
        path = path_of(header)
        if path is None:
            return None
        with SampleWriter(str(path), header) as writer:
            for record in records:
                writer.write(record)
        return path
    except (CoExecError, OSError) as err:
        logger.warning("what was measured of the plans is not kept: %s", err)
        return None


def read_records(header: dict[str, Any]) -> list[PlanRecord]:
    """Records of the same setting as that of a file of samples.

    Raises
    ------
    CoExecError
        When the file is damaged.
    """
    path = path_of(header)
    return read_samples(path).plans if path is not None and path.exists() else []
