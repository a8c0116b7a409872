"""Every latency model by name, and how one is read from a file."""

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
    """The latency model that a JSON object describes; raises what a damaged one makes (`KeyError`, `ValueError`...)."""
    if d.get("model") not in MODELS:
        raise ValueError(f"there is no latency model '{d.get('model')}'")
    return MODELS[d["model"]].from_state(d)


def load_model(path: str | os.PathLike) -> LatencyModel:
    """Read what `LatencyModel.save` wrote.

    Raises
    ------
    CoExecError
        Naming the file, when it can't be read, is something else, or is damaged.
    """
    d = read_json(path, "latency", "latency model")
    try:
        return model_from_json(d)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
        raise CoExecError(f"latency model {os.fspath(path)} is damaged ({damage(err)}); fit it again") from None
