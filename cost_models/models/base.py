"""The interface of latency models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError

from ..features.terms import largest_divisor
from ..features.workload import Workload, Workloads, group_by_class
from .saved import SavedModel

# Kinds whose schedules divide channels and columns into blocks.
_BLOCKED = ("conv", "depthwise_conv", "group_conv", "transposed_conv", "dense", "batch_matmul")


class LatencyModel(SavedModel):
    """Predicts seconds of kernels on one device."""

    kind: ClassVar[str] = "latency"
    # Whether fitting takes so long that a cross-validation has few folds.
    is_slow_to_fit: bool = False
    what: ClassVar[str] = "latency model"

    @abstractmethod
    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """Fit to measured kernels.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
        seconds : array, shape (n,)
            Measured times, all positive.

        Returns
        -------
        LatencyModel
            Itself.
        """

    def for_device(self, device: str) -> Self:
        """Set the device's name for warnings; return the model itself."""
        return self

    def knows(self, w: Workload) -> bool:
        """Whether the model was fitted to kernels of a workload's class, so that `predict` raises no error."""
        return True

    def samples_of(self, w: Workload) -> int | None:
        """Return the number of samples that the predictions of a workload's class rest on.

        0 if the class was not measured and others stand for it; `None` if the model does not count them.
        """
        return None

    def silence_warnings(self) -> Self:
        """Switch off warnings about unknown classes; return the model itself."""
        return self

    def predict(self, kernels: Workloads) -> np.ndarray:
        """Predict seconds.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
            A workload may be stacked.

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        CoExecError
            If the model is not fitted, or a kernel's class is unknown and there is no fallback.
        """
        self.check_fitted()
        groups, total = group_by_class(kernels)
        out = np.empty(total)
        for w, where in groups:
            out[where] = self.predict_stacked(w)
        return out

    @abstractmethod
    def predict_stacked(self, w: Workload) -> np.ndarray:
        """Predict seconds of a stacked workload, shape (n,); raises the errors of `predict`."""

    def predict_cuts(self, shares: Workload) -> np.ndarray:
        """Predict seconds of a kernel's shares, monotonic in their work.

        Shares that divide into other blocks may be faster or slower: TVM's schedules have blocks of one for a prime
        number of channels. Among shares with equal blocks, noise of the fit must not make a larger share look faster,
        which a planner would exploit.

        Parameters
        ----------
        shares : Workload
            Of one kernel along one axis (see `describe_shares`), in any order.

        Returns
        -------
        array, shape (n,)
        """
        return make_monotonic(shares, np.array(self.predict(shares), float))


def make_monotonic(shares: Workload, seconds: np.ndarray, kernels: np.ndarray | float = 0.0) -> np.ndarray:
    """Raise the seconds of shares that would take less time than a smaller share with equal blocks.

    Parameters
    ----------
    shares : Workload
    seconds : array, shape (n,)
        Changed in place.
    kernels : array, shape (n,), optional
        Number of the kernel of each share.

    Returns
    -------
    array, shape (n,)
        `seconds`.
    """
    work = np.broadcast_to(shares.flops + shares.out_bytes, (shares.size,))
    blocks = np.zeros(shares.size) + 1e6 * kernels
    if shares.kind in _BLOCKED:
        blocks += largest_divisor(shares.oc, 16) * 1000.0 + largest_divisor(shares.ow, 28)
    order = np.lexsort((work, blocks))
    sorted_s = seconds[order]
    # offsets between blocks, so that one running maximum serves all
    steps = np.concatenate([[0], np.cumsum(np.diff(blocks[order]) != 0)]) * (2.0 * sorted_s.max())
    is_longest = sorted_s + steps >= np.maximum.accumulate(sorted_s + steps)
    longest = np.maximum.accumulate(np.where(is_longest, np.arange(len(order)), 0))
    seconds[order] = sorted_s[longest]
    return seconds


def unknown_class_error(model: LatencyModel, key: str, known: Sequence[str]) -> CoExecError:
    """Make the error for a kernel of a class that the model was not fitted to."""
    return CoExecError(
        f"the latency model '{model.name}' was not fitted to kernels of class '{key}' "
        f"(it has: {', '.join(sorted(known)) or 'none'}); measure some and fit again"
    )


def check_samples(kernels: Workloads, seconds: np.ndarray) -> tuple[list, np.ndarray]:
    """Stack workloads and check that times are positive, finite and as many.

    Returns
    -------
    groups : list of (Workload, array of int)
        As `group_by_class` returns them.
    seconds : array, shape (n,)

    Raises
    ------
    CoExecError
        If there are no kernels, or the times are wrong.
    """
    groups, total = group_by_class(kernels)
    y = np.asarray(seconds, float).reshape(-1)
    if not total:
        raise CoExecError("there are no measured kernels to fit a latency model to")
    if len(y) != total:
        raise CoExecError(f"{total} kernels but {len(y)} times were given")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise CoExecError("every measured time must be a positive number of seconds")
    return groups, y


def assign_folds(names: Sequence[str], k: int) -> np.ndarray:
    """Return the fold of each sample; samples with equal names share a fold. Deterministic."""
    unique, where = np.unique(np.asarray(names), return_inverse=True)
    return (np.random.default_rng(0).permutation(len(unique)) % max(1, min(k, len(unique))))[where]
