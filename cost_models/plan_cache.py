"""Records of verified plans in the user's cache directory, from which profiles learn the co-run calibration."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tvm_coexec.core.cache import cache_folder
from tvm_coexec.core.errors import CoExecError

from .dataset import SETTING_KEYS, SampleWriter, read_samples
from .plan_records import PlanRecord

logger = logging.getLogger("tvm_coexec")


def path_of(header: dict[str, Any]) -> Path | None:
    """Return the file of the records of a setting; `None` if the user has switched the cache off.

    Parameters
    ----------
    header : dict
        Header of a dataset (see `Samples`).
    """
    folder = cache_folder()
    if folder is None:
        return None
    key = json.dumps([header.get(name) for name in SETTING_KEYS], sort_keys=True)
    return folder / f"plans-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"


def append_records(header: dict[str, Any], records: Iterable[PlanRecord]) -> Path | None:
    """Append records to the file of their setting; only warn if it can't be written.

    Returns
    -------
    Path or None
        The file; `None` if nothing was written.
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
        logger.warning("measurements of plans are not kept: %s", err)
        return None


def read_records(header: dict[str, Any]) -> list[PlanRecord]:
    """Read the records of the setting of a dataset.

    Raises
    ------
    CoExecError
        If the file is damaged.
    """
    path = path_of(header)
    return read_samples(path).plans if path is not None and path.exists() else []
