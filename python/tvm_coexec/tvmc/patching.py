"""Putting something of ours in the place of one thing of TVM's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Overlay:
    """An object that is another one except for some attributes.

    Parameters
    ----------
    base : object
        What answers everything else.
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
    """Set attributes for the time of a ``with`` block."""
    before = {name: getattr(owner, name) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
