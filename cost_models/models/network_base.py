"""The interface of models of whole networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError

from ..features.graphs import GraphFeatures
from .saved import SavedModel


class NetworkModel(SavedModel):
    """Predicts seconds of whole networks, end to end, from the features of their graphs."""

    kind: ClassVar[str] = "network"
    what: ClassVar[str] = "network model"

    @abstractmethod
    def fit(self, graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> Self:
        """Fit to measured networks.

        Parameters
        ----------
        graphs : sequence of GraphFeatures
        seconds : array, shape (n,)
            Measured times, all positive.

        Returns
        -------
        NetworkModel
            Itself.

        Raises
        ------
        CoExecError
            If there are no networks, a time is not positive, or a package that fitting needs is missing.
        """

    @abstractmethod
    def predict(self, graphs: Sequence[GraphFeatures]) -> np.ndarray:
        """Predict seconds.

        Parameters
        ----------
        graphs : sequence of GraphFeatures

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        CoExecError
            If the model is not fitted.
        """


def check_networks(graphs: Sequence[GraphFeatures], seconds: np.ndarray) -> np.ndarray:
    """Check that there are networks, and that their times are positive, finite and as many.

    Returns
    -------
    array, shape (n,)
        The times.

    Raises
    ------
    CoExecError
        If there are none, or the times are wrong.
    """
    y = np.asarray(seconds, float).reshape(-1)
    if not len(graphs):
        raise CoExecError("there are no measured networks to fit a network model to")
    if len(y) != len(graphs):
        raise CoExecError(f"{len(graphs)} networks but {len(y)} times were given")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise CoExecError("every measured time must be a positive number of seconds")
    return y
