"""Weights of several programs that are equal, so that a file holds them once. Plain data, no TVM.

A weight of one program may be a weight of another one, or begin or end with one: the share of a split along the
outermost axis of the weights. Then only the rest is stored again. Slices of other axes are not contiguous in the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

# A piece ends at a multiple of this many bytes, so that the next one is aligned as compiled code expects.
ALIGNMENT = 128
_EDGE = 64  # bytes by which a weight that begins or ends with another one is found


class WeightPool:
    """Weights by name, searched by content."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._by_content: dict[tuple[int, bytes], str] = {}
        self._by_head: dict[bytes, list[str]] = {}
        self._by_tail: dict[bytes, list[str]] = {}

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
        if flat.nbytes >= _EDGE:
            self._by_head.setdefault(flat[:_EDGE].tobytes(), []).append(name)
            self._by_tail.setdefault(flat[-_EDGE:].tobytes(), []).append(name)

    def find(self, array: np.ndarray) -> str | None:
        """Return the name of a weight with the bytes of an array; `None` if there is none."""
        return self._equal(_bytes_of(array))

    def find_part(self, array: np.ndarray) -> tuple[str, int, int]:
        """Find the largest weight that an array begins or ends with.

        Parameters
        ----------
        array : numpy.ndarray

        Returns
        -------
        name : str
            Empty if there is none.
        start, stop : int
            The bytes of the array that are those of the weight.
        """
        flat = _bytes_of(array)
        found = ("", 0, 0)
        for index, edge in ((self._by_head, flat[:_EDGE]), (self._by_tail, flat[-_EDGE:])):
            for name in index.get(edge.tobytes(), []):
                n = self._arrays[name].nbytes
                start = 0 if index is self._by_head else flat.nbytes - n
                cut = n if start == 0 else start
                fits = found[2] - found[1] < n < flat.nbytes and cut % ALIGNMENT == 0
                if fits and np.array_equal(self._arrays[name], flat[start : start + n]):
                    found = (name, start, start + n)
        return found

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
        For each program, the one or two stored weights that each of its weights consists of.
    added : dict of str to numpy.ndarray
        Weights to store in addition, named ``<program>.<weight>``; the rest of a weight as bytes.
    """
    pool = WeightPool()
    for name, array in stored.items():
        pool.add(name, array)
    made_of: dict[str, dict[str, list[str]]] = {}
    added: dict[str, np.ndarray] = {}
    for program, weights in programs:
        made_of[program] = {}
        for name, array in weights.items():
            if (same := pool.find(array)) is not None:
                made_of[program][name] = [same]
                continue
            flat, own = _bytes_of(array), f"{program}.{name}"
            part, start, stop = pool.find_part(array)
            added[own] = array if not part else flat[stop:] if start == 0 else flat[:start]
            pool.add(own, added[own])
            made_of[program][name] = [own] if not part else [part, own] if start == 0 else [own, part]
    return made_of, added


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view("uint8")


def _content(flat: np.ndarray) -> tuple[int, bytes]:
    return flat.nbytes, hashlib.blake2b(flat.data, digest_size=16).digest()
