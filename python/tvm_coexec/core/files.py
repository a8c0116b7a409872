"""Reading and writing whole files: JSON with a kind and a version, and atomic replacement."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from .errors import CoExecError


def damage(err: Exception) -> str:
    """Describe what is wrong with a file, given the error of reading a field."""
    return f"it lacks {err}" if isinstance(err, KeyError) else str(err)


def read_text(path: str | os.PathLike, what: str) -> str:
    """Read a text file; `CoExecError` names the file if it can't be read."""
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except (OSError, UnicodeDecodeError) as err:
        raise CoExecError(f"can't read {what} {os.fspath(path)}: {getattr(err, 'strerror', None) or err}") from None


def read_json(path: str | os.PathLike, kind: str, what: str, version: int = 1) -> dict[str, Any]:
    """Read the JSON object in a file of the given kind and version.

    Raises
    ------
    CoExecError
        If the file can't be read, is not JSON, or is of another kind or version; the text names the file.
    """
    path = os.fspath(path)
    text = read_text(path, what)
    try:
        d = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as err:
        raise CoExecError(f"{what} {path} is not JSON ({err}); fit it again or give another file") from None
    if not isinstance(d, dict) or d.get("kind") != kind or d.get("version") != version:
        raise CoExecError(f"{what} {path} is not a {what} of version {version}; fit it again or give another file")
    return d


def _refuse_constant(name: str) -> float:
    """Refuse the constants that Python's reader accepts in addition to JSON's."""
    raise ValueError(f"{name} is no JSON number")


def write_atomically(path: str, content: str | bytes) -> None:
    """Write a file so that readers see the old or the new content; `CoExecError` names an unwritable path."""
    folder = os.path.dirname(os.path.abspath(path))
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # /dev/stdout or a pipe can't be replaced
            with open(path, "wb") as f:
                f.write(data)
            return
        fd, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".")
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(data)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as err:
        raise CoExecError(f"can't write {path}: {err.strerror or err}; choose another path") from None
