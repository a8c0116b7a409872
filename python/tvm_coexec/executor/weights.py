"""Weights of several programs that are equal, so that a file holds them once. Plain data, no TVM.

A weight of one program may be a weight of another one, or two of them one after the other: both shares of a split along
the outermost axis of the weights. Slices of other axes are not contiguous in the whole and are stored again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

# A piece ends at a multiple of this many bytes, so that the next one is aligned as compiled code expects.
ALIGNMENT = 128
_HEAD = 64  # bytes by which a weight that begins with another one is found


class WeightPool:
    """Weights by name, searched by content."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._by_content: dict[tuple[int, bytes], str] = {}
        self._by_head: dict[bytes, list[str]] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a weight; of equal ones the first is found.

        Parameters
        ----------
        name : str
        array : numpy.ndarray
        """
        flat = _bytes_of(array)
        self._arrays[name] = flat
        self._by_content.setdefault(_content(flat), name)
        if flat.nbytes >= _HEAD:
            self._by_head.setdefault(flat[:_HEAD].tobytes(), []).append(name)

    def find(self, array: np.ndarray) -> tuple[str, ...]:
        """Return the names of one or two weights whose bytes, one after the other, are those of an array.

        Parameters
        ----------
        array : numpy.ndarray

        Returns
        -------
        tuple of str
            Empty if there are none.
        """
        flat = _bytes_of(array)
        if (found := self._equal(flat)) is not None:
            return (found,)
        for first in self._by_head.get(flat[:_HEAD].tobytes(), []):
            n = self._arrays[first].nbytes
            if n < flat.nbytes and n % ALIGNMENT == 0 and np.array_equal(self._arrays[first], flat[:n]):
                second = self._equal(flat[n:])
                if second is not None:
                    return first, second
        return ()

    def _equal(self, flat: np.ndarray) -> str | None:
        name = self._by_content.get(_content(flat))
        return name if name is not None and np.array_equal(self._arrays[name], flat) else None


def share_weights(
    stored: Mapping[str, np.ndarray], programs: Iterable[tuple[str, Mapping[str, np.ndarray]]]
) -> tuple[dict[str, dict[str, list[str]]], dict[str, np.ndarray]]:
    """Find what weights of other programs are made of.

    Parameters
    ----------
    stored : mapping of str to numpy.ndarray
        Weights of the main program, all of which are stored.
    programs : iterable of (str, mapping of str to numpy.ndarray)
        Names and weights of the others.

    Returns
    -------
    made_of : dict of str to dict of str to list of str
        For each program, the stored weights that each of its weights consists of.
    added : dict of str to numpy.ndarray
        Weights to store in addition, named ``<program>.<weight>``.
    """
    pool = WeightPool()
    for name, array in stored.items():
        pool.add(name, array)
    made_of: dict[str, dict[str, list[str]]] = {}
    added: dict[str, np.ndarray] = {}
    for program, weights in programs:
        made_of[program] = {}
        for name, array in weights.items():
            found = list(pool.find(array))
            if not found:
                found = [f"{program}.{name}"]
                added[found[0]] = array
                pool.add(found[0], array)
            made_of[program][name] = found
    return made_of, added


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view("uint8")


def _content(flat: np.ndarray) -> tuple[int, bytes]:
    return flat.nbytes, hashlib.blake2b(flat, digest_size=16).digest()
