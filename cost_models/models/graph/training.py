"""The loop that fits the parameters of every network here: seeded, bounded in time, the same in every process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_coexec.core.progress import progress

from .ops import Parameters, require_torch

logger = logging.getLogger("tvm_coexec")

_WARM_UP = 0.1  # fraction of the steps in which the rate rises
_MAX_NORM = 1.0  # of the gradient of a step


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes
    ----------
    epochs : int
        Passes over the samples; of many samples fewer, so that there are at most `max_steps`.
    rate : float
        Highest learning rate; it rises in the first tenth of the steps and falls as a cosine to 0.
    batch : int
        Samples of a step.
    decay : float
        Weight decay (AdamW).
    seed : int
        Of the order of samples.
    max_steps : int
    max_fit_s : float
        Seconds after which training ends, with a warning, as the result then depends on the machine's speed.
    """

    epochs: int = 200
    rate: float = 3e-3
    batch: int = 64
    decay: float = 1e-4
    seed: int = 0
    max_steps: int = 8000
    max_fit_s: float = 600.0


Loss = Callable[[Parameters, np.ndarray], Any]  # of tensors, and the positions of the step's samples


def train(parameters: Parameters, loss: Loss, count: int, how: Training, what: str) -> Parameters:
    """Minimise a loss by AdamW on shuffled batches.

    Parameters
    ----------
    parameters : dict of str to array
        Where to start; it is not changed.
    loss : callable
        Takes the parameters as tensors and the positions of the samples of a step; returns a tensor of one number.
    count : int
        Number of samples.
    how : Training
    what : str
        Name of the model, for the progress bar and messages.

    Returns
    -------
    dict of str to array of float32
    """
    torch = require_torch()
    rng = np.random.default_rng(how.seed)
    with single_thread(torch):
        tensors = {n: torch.from_numpy(np.array(a, np.float32)).requires_grad_() for n, a in parameters.items()}
        trained = list(tensors.values())
        optimiser = torch.optim.AdamW(trained, lr=how.rate, weight_decay=how.decay)
        per_epoch = -(-count // how.batch)
        epochs = max(1, min(how.epochs, how.max_steps // per_epoch))
        steps = epochs * per_epoch
        at, start = 0, time.monotonic()
        for _ in progress(range(epochs), f"fitting {what}", "epoch"):
            for rows in _batches(rng, count, how.batch):
                for group in optimiser.param_groups:
                    group["lr"] = how.rate * _schedule(at / max(1, steps - 1))
                optimiser.zero_grad()
                loss(tensors, rows).backward()
                torch.nn.utils.clip_grad_norm_(trained, _MAX_NORM)
                optimiser.step()
                at += 1
            if time.monotonic() - start > how.max_fit_s:
                logger.warning(
                    "fitting %s ended after %d of %d steps, at its limit of %g s", what, at, steps, how.max_fit_s
                )
                break
        return {n: t.detach().numpy().copy() for n, t in tensors.items()}


@contextmanager
def single_thread(torch: Any) -> Iterator[None]:
    """Compute on one thread, so that sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(rng: np.random.Generator, count: int, size: int) -> list[np.ndarray]:
    return np.array_split(rng.permutation(count), -(-count // size))


def _schedule(done: float) -> float:
    if done < _WARM_UP:
        return 0.05 + 0.95 * done / _WARM_UP
    return 0.5 * (1.0 + np.cos(np.pi * (done - _WARM_UP) / (1.0 - _WARM_UP)))
