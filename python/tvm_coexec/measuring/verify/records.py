"""What verified plans took, kept in the user's cache for profiles to learn from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tvm

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import SAME, SampleWriter, read_samples
from tvm_coexec.cost_models.plan_records import PlanRecord

from ..cache import cache_folder
from ..host_info import schedules_digest

logger = logging.getLogger("tvm_coexec")


def header_of(devices: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The header of a file of samples for these devices."""
    return {"devices": devices, "tvm": tvm.__version__, "schedules": schedules_digest()}


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


def remember(header: dict[str, Any], records: Iterable[PlanRecord]) -> Path | None:
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


def remembered(header: dict[str, Any]) -> list[PlanRecord]:
    """Records of the same setting as that of a file of samples.

    Raises
    ------
    CoExecError
        When the file is damaged.
    """
    path = path_of(header)
    return read_samples(path).plans if path is not None and path.exists() else []
