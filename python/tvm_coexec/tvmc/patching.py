"""Replacing attributes of TVM's modules and objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Overlay:
    """A proxy of an object with some attributes replaced.

    Parameters
    ----------
    base : object
        The object that all other attributes are read from.
    **replaced
        The attributes that differ.
    """

    def __init__(self, base: object, **replaced: object):
        self.__dict__.update(replaced)
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


@contextmanager
def replaced(owner: object, **attributes: object) -> Iterator[None]:
    """Set attributes for the duration of a ``with`` block."""
    before = {name: getattr(owner, name) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
