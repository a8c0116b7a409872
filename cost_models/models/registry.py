"""Models by name, and reading them from files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from tvm_coexec.core.errors import CoExecError

from ..device_parameters import DeviceParameters
from .analytic import AnalyticModel
from .base import LatencyModel
from .baselines import BASELINES, CoDL
from .boosted import BoostedModel
from .fallback import FallbackModel
from .graph import GRAPH_KERNEL_MODELS, GRAPH_NETWORK_MODELS, OneKernelModel
from .moved import MovedModel
from .network_base import NetworkModel
from .saved import SavedModel
from .state_files import damaged, decode_arrays, read_state

_KERNEL_MODELS: tuple[type[LatencyModel], ...] = (AnalyticModel, BoostedModel, *BASELINES, *GRAPH_KERNEL_MODELS)
MODELS: dict[str, type[LatencyModel]] = {m.name: m for m in _KERNEL_MODELS}
NETWORK_MODELS: dict[str, type[NetworkModel]] = {m.name: m for m in GRAPH_NETWORK_MODELS}

# What a file may hold: those, one of them that `make_model` has completed, and one of another device.
_READABLE: dict[str, type[LatencyModel]] = {**MODELS, FallbackModel.name: FallbackModel, MovedModel.name: MovedModel}

_Model = TypeVar("_Model", bound=SavedModel)


def make_model(
    name: str,
    device: str,
    max_bytes: int = 4096,
    work_groups: bool = False,
    parameters: DeviceParameters | None = None,
) -> LatencyModel:
    """Make an unfitted latency model that predicts kernels of all classes, as a planner needs.

    Parameters
    ----------
    name : str
        One of `MODELS`.
    device : {"cpu", "gpu"}
    max_bytes : int
        Maximum size of an analytic model.
    work_groups : bool
        See `AnalyticModel`.
    parameters : DeviceParameters, optional
        Of the device, for models that see them.

    Raises
    ------
    CoExecError
        If there is no such model.
    """
    if name == AnalyticModel.name:
        return AnalyticModel(max_bytes, fallback=True, work_groups=work_groups)
    if name == BoostedModel.name:
        return BoostedModel(fallback=True, work_groups=work_groups)
    if name not in MODELS:
        raise CoExecError(f"there is no latency model '{name}'; there are: {', '.join(MODELS)}")
    model = MODELS[name]
    options: dict[str, Any] = {}
    if issubclass(model, CoDL | OneKernelModel):
        options["device"] = device
    if issubclass(model, OneKernelModel) and parameters is not None:
        options["parameters"] = parameters.to_json()
    return FallbackModel(model(**options), work_groups)


def model_from_json(d: dict[str, Any]) -> LatencyModel:
    """Make a latency model from a JSON object; a damaged one raises `KeyError`, `ValueError` or `TypeError`."""
    return model_from_state(decode_arrays(d))


def model_from_state(state: dict[str, Any]) -> LatencyModel:
    """Make a latency model from its state, with arrays as arrays; raises the errors of `model_from_json`."""
    return _make(_READABLE, state, LatencyModel.what)


def load_model(path: str | os.PathLike) -> LatencyModel:
    """Read a file of `LatencyModel.save`, JSON or npz.

    Raises
    ------
    CoExecError
        If the file can't be read, is not a latency model, or is damaged; the text names it.
    """
    return _load(_READABLE, path, LatencyModel.kind, LatencyModel.what)


def load_network_model(path: str | os.PathLike) -> NetworkModel:
    """Read a file of `NetworkModel.save`, JSON or npz; raises the errors of `load_model`."""
    return _load(NETWORK_MODELS, path, NetworkModel.kind, NetworkModel.what)


def _load(known: Mapping[str, type[_Model]], path: str | os.PathLike, kind: str, what: str) -> _Model:
    state = read_state(path, kind, what)
    try:
        return _make(known, state, what)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
        raise damaged(path, what, err) from None


def _make(known: Mapping[str, type[_Model]], state: dict[str, Any], what: str) -> _Model:
    if state.get("model") not in known:
        raise ValueError(f"there is no {what} '{state.get('model')}'")
    return known[state["model"]].from_state(state)
