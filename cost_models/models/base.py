"""The interface that every latency model has, and how models are kept in files."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically

from ..features.terms import divisor
from ..features.workload import Workload, Workloads, groups_of

VERSION = 1
# Kinds whose schedules divide channels and columns into blocks.
_BLOCKED = ("conv", "depthwise_conv", "group_conv", "transposed_conv", "dense", "batch_matmul")


class LatencyModel(ABC):
    """Predicts seconds of kernels on one device.

    The constructor stores options; `fit` learns, and what it learnt has names that end in ``_``.

    Attributes
    ----------
    name : str
        How files and tables call this model.
    """

    name: ClassVar[str]

    @abstractmethod
    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """Learn from measured kernels.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
        seconds : array, shape (n,)
            Measured time of each; all positive.

        Returns
        -------
        LatencyModel
            Itself.
        """

    def for_device(self, device: str) -> Self:
        """Name the device in warnings, where the model has any; returns itself."""
        return self

    def quiet(self) -> Self:
        """Stop warnings of classes that were not measured, where the model has any; returns itself."""
        return self

    def predict(self, kernels: Workloads) -> np.ndarray:
        """Predicted seconds.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
            One workload may stand for many kernels.

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        CoExecError
            When the model is not fitted, or knows nothing of a kernel's class and has no fallback.
        """
        self.check_fitted()
        groups, total = groups_of(kernels)
        out = np.empty(total)
        for w, where in groups:
            out[where] = self.predict_stacked(w)
        return out

    @abstractmethod
    def predict_stacked(self, w: Workload) -> np.ndarray:
        """Predicted seconds of a stacked workload, whose kernels are of one class; raises like `predict`."""

    def predict_cuts(self, shares: Workload) -> np.ndarray:
        """Predicted seconds of a kernel's shares; more work in the same blocks never takes less time.

        Shares whose extents divide into other blocks may differ either way: TVM's schedules compute a prime number of
        channels one by one. Among those that divide alike, noise in what was learnt must not make a larger share look
        faster, or a planner would take it for that.

        Parameters
        ----------
        shares : Workload
            Of one kernel along one axis (see `describe_shares`), in any order.

        Returns
        -------
        array, shape (n,)
        """
        return never_faster(shares, np.array(self.predict(shares), float))

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Options and fitted state as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The model that `state` describes."""

    def to_json(self) -> str:
        """One line of JSON: version, kind, model, state."""
        self.check_fitted()
        return json.dumps(
            {"version": VERSION, "kind": "latency", "model": self.name, **self.state()}, separators=(",", ":")
        )

    @property
    def nbytes(self) -> int:
        """Size of the model's file in bytes."""
        return len(self.to_json().encode())

    def save(self, path: str | os.PathLike) -> None:
        """Write the model; the file is replaced as a whole or not at all."""
        write_atomically(os.fspath(path), self.to_json() + "\n")

    def check_fitted(self) -> None:
        """Raise `CoExecError` when `fit` was never called."""
        if not any(n.endswith("_") and not n.startswith("_") for n in vars(self)):
            raise CoExecError(f"the latency model '{self.name}' is not fitted; call fit() or load a file first")


def never_faster(shares: Workload, seconds: np.ndarray, kernels: np.ndarray | float = 0.0) -> np.ndarray:
    """Seconds of shares, raised where a larger share of the same blocks would take less time.

    Parameters
    ----------
    shares : Workload
    seconds : array, shape (n,)
        Changed in place.
    kernels : array, shape (n,), optional
        Numbers that tell the shares of different kernels apart.
    """
    work = np.broadcast_to(shares.flops + shares.out_bytes, (shares.size,))
    blocks = np.zeros(shares.size) + 1e6 * kernels
    if shares.kind in _BLOCKED:
        blocks += divisor(shares.oc, 16) * 1000.0 + divisor(shares.ow, 28)
    order = np.lexsort((work, blocks))
    sorted_s = seconds[order]
    # each block above the one before, so that one running maximum serves all
    steps = np.concatenate([[0], np.cumsum(np.diff(blocks[order]) != 0)]) * (2.0 * sorted_s.max())
    is_longest = sorted_s + steps >= np.maximum.accumulate(sorted_s + steps)
    longest = np.maximum.accumulate(np.where(is_longest, np.arange(len(order)), 0))
    seconds[order] = sorted_s[longest]
    return seconds


def unknown_class(model: LatencyModel, key: str, known: Sequence[str]) -> CoExecError:
    """What is raised for a kernel of a class that a model was not fitted to."""
    return CoExecError(
        f"the latency model '{model.name}' knows no kernels of class '{key}' "
        f"(it has: {', '.join(sorted(known)) or 'none'}); measure some and fit again"
    )


def check_samples(kernels: Workloads, seconds: np.ndarray) -> tuple[list, np.ndarray]:
    """Stacked workloads and seconds, checked to be as many, positive and finite.

    Raises
    ------
    CoExecError
    """
    groups, total = groups_of(kernels)
    y = np.asarray(seconds, float).reshape(-1)
    if not total:
        raise CoExecError("there are no measured kernels to fit a latency model to")
    if len(y) != total:
        raise CoExecError(f"{total} kernels but {len(y)} times were given")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise CoExecError("every measured time must be a positive number of seconds")
    return groups, y


def folds_by_kernel(names: Sequence[str], k: int) -> np.ndarray:
    """Number of the fold of each sample; samples of one name share a fold. The same names give the same folds."""
    unique, where = np.unique(np.asarray(names), return_inverse=True)
    return (np.random.default_rng(0).permutation(len(unique)) % max(1, min(k, len(unique))))[where]
