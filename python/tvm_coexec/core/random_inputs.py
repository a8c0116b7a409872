"""Made-up data for inputs and weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Larger tensors repeat; a prime number, so that no row or plane of a tensor is like the one before.
_PERIOD = 65537


def random_tensor(shape: Sequence[int], dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Data of a shape and type: floats are normally distributed; integers and bools are 0 or 1.

    Integers may be indices or quantised values: 0 and 1 are valid as both. Floats without a pattern find errors that
    zeros hide, and are no denormals, which are slow.

    Parameters
    ----------
    shape : sequence of int
    dtype : str
    rng : numpy.random.Generator
    """
    size = min(_PERIOD, int(np.prod(shape)))
    values = rng.standard_normal(size) if "float" in dtype else rng.integers(0, 2, size)
    return np.resize(values, tuple(shape)).astype(dtype)
