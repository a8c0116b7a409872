"""Arguments that several commands check alike."""

from __future__ import annotations

import argparse
import os

from tvm_coexec.core.errors import CoExecError


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def at_least_one(text: str) -> int:
    """A whole number above 0."""
    value = count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be at least 1")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


def folder_of(path: str) -> None:
    """Raise `CoExecError` when a file can't be written there: better before measuring than after."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise CoExecError(f"can't write {path}: there is no folder {folder}; make it or choose another place")
    if os.path.isdir(path):
        raise CoExecError(f"can't write {path}: it is a folder; name a file in it")
