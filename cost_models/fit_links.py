"""Fit what crosses between the devices: links, and round trips through the GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .costs import Link, UnifiedMemory
from .models.regression import fit_non_negative, round_digits


def fit_link(copies: list[dict[str, Any]]) -> Link:
    """Fit a link to copies of several sizes: records with ``bytes`` and ``seconds``; coefficients are non-negative."""
    terms, seconds = _terms(copies)
    constant, slope = round_digits(fit_non_negative(terms, seconds))
    return Link(max(constant, 1e-7), slope)


def fit_host_copy(copies: list[dict[str, Any]]) -> Link:
    """Fit copies within the CPU's memory, by absolute errors.

    Large ones take longer for each byte, since they leave the caches, and are those that a plan's time depends on.
    """
    from scipy.optimize import nnls  # large, and most processes fit nothing

    terms, seconds = _terms(copies)
    scale = terms.max(axis=0)
    constant, slope = round_digits(nnls(terms / scale, seconds)[0] / scale)
    return Link(max(constant, 1e-7), slope)


def _terms(copies: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    nbytes = np.array([c["bytes"] for c in copies], float)
    return np.stack([np.ones_like(nbytes), nbytes], 1), np.array([c["seconds"] for c in copies], float)


def wait_beyond_copies(round_trip_s: float, enqueue_s: float, upload: Link, download: Link) -> float:
    """Return the seconds of a round trip of a small tensor that neither its copies nor its launch explain."""
    return max(0.0, round_digits(np.array([round_trip_s - enqueue_s - upload.constant_s - download.constant_s]))[0])


def fit_unified(round_trips: Sequence[Mapping[str, Any]]) -> UnifiedMemory:
    """Divide round trips in unified memory into what comes before the GPU's work and what comes after it.

    Parameters
    ----------
    round_trips : sequence of mapping
        ``memory``, ``seconds`` and ``start_s``, see `Samples.unified`.
    """
    start_s = np.median([r["start_s"] for r in round_trips])
    sync_s = np.median([r["seconds"] - r["start_s"] for r in round_trips])
    start, sync = round_digits(np.maximum(0.0, [start_s, sync_s]))
    return UnifiedMemory(round_trips[-1]["memory"], sync, start)
