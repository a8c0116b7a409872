"""Latency models by name, and reading them from files."""

from __future__ import annotations

import os
from typing import Any

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import damage, read_json

from .analytic import AnalyticModel
from .base import LatencyModel
from .baselines import BASELINES
from .boosted import BoostedModel

MODELS: dict[str, type[LatencyModel]] = {m.name: m for m in (AnalyticModel, BoostedModel, *BASELINES)}


def model_from_json(d: dict[str, Any]) -> LatencyModel:
    """Make a latency model from a JSON object; a damaged one raises `KeyError`, `ValueError` or `TypeError`."""
    if d.get("model") not in MODELS:
        raise ValueError(f"there is no latency model '{d.get('model')}'")
    return MODELS[d["model"]].from_state(d)


def load_model(path: str | os.PathLike) -> LatencyModel:
    """Read a file of `LatencyModel.save`.

    Raises
    ------
    CoExecError
        If the file can't be read, is not a latency model, or is damaged; the text names it.
    """
    d = read_json(path, "latency", "latency model")
    try:
        return model_from_json(d)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
        raise CoExecError(f"latency model {os.fspath(path)} is damaged ({damage(err)}); fit it again") from None
