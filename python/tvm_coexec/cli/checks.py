"""Checks of arguments that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.options import flag


def count(text: str) -> int:
    """Parse an integer >= 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer >= 0")
    return int(text)


def at_least_one(text: str) -> int:
    """Parse an integer >= 1."""
    value = count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be an integer >= 1")
    return value


def positive(text: str) -> float:
    """Parse a number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


# Endings of file names that tell viewers what is in them.
_ENDINGS = {"png": (".png",), "html": (".html", ".htm")}


def outputs(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise `CoExecError` if a file that was asked for can't be written, or if two are the same file."""
    found: dict[str, str] = {}
    for name in names:
        path = getattr(args, name)
        if not path:
            continue
        folder_of(path)
        ending = os.path.splitext(path)[1].lower()
        if ending not in ("", *_ENDINGS.get(name, (ending,))):
            raise CoExecError(f"{flag(name)} {path}: the file would not be a {ending[1:]} file; name it *.{name}")
        first = found.setdefault(os.path.realpath(path), name)
        if first != name and (os.path.isfile(path) or not os.path.exists(path)):  # a device takes several
            raise CoExecError(f"{flag(first)} and {flag(name)} name the same file, {path}: give each one of its own")


def folder_of(path: str) -> None:
    """Raise `CoExecError` if a file can't be written to that path, so that it fails before the measuring, not after."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise CoExecError(f"can't write {path}: there is no folder {folder}; create it or choose another path")
    if os.path.isdir(path):
        raise CoExecError(f"can't write {path}: it is a folder; name a file in it")
