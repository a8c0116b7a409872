"""Small text files of the machine of the devices: this one, or an RPC server's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

LIST, READ = "tvm_coexec.list_folder", "tvm_coexec.read_text"


class BoardFiles(Protocol):
    """Access to the files of a machine."""

    def list(self, folder: str) -> Sequence[str]:
        """Return the names in a folder, sorted; none if it can't be read."""

    def read(self, path: str) -> str:
        """Return a text file without white space at its ends; `OSError` if it can't be read."""


class LocalFiles:
    """Files of this machine."""

    def list(self, folder: str) -> Sequence[str]:
        """See `BoardFiles.list`."""
        try:
            return sorted(os.listdir(folder))
        except OSError:
            return ()

    def read(self, path: str) -> str:
        """See `BoardFiles.read`."""
        return Path(path).read_text(encoding="ascii", errors="replace").strip()


class RemoteFiles:
    """Files of an RPC server, by functions of this package's runtime.

    Parameters
    ----------
    list_folder, read_text : callable
        The server's global functions `LIST` and `READ`; each call takes a round trip.
    """

    def __init__(self, list_folder: Callable[[str], str], read_text: Callable[[str], str]):
        self._list, self._read = list_folder, read_text

    def list(self, folder: str) -> Sequence[str]:
        """See `BoardFiles.list`."""
        return json.loads(self._list(folder))

    def read(self, path: str) -> str:
        """See `BoardFiles.read`."""
        answer: dict[str, Any] = json.loads(self._read(path))
        if "error" in answer:
            raise OSError(None, answer["error"])
        return answer["text"].strip()


def read_number(files: BoardFiles, path: str) -> int:
    """Return the integer in a file.

    Raises
    ------
    OSError
        If the file can't be read: drivers have files for quantities that the hardware does not report.
    ValueError
        If it has no integer.
    """
    return int(files.read(path))


def find_number(files: BoardFiles, path: str) -> int | None:
    """Return the integer in a file; `None` if there is none."""
    try:
        return read_number(files, path)
    except (OSError, ValueError):
        return None
