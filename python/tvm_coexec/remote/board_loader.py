"""Sessions of AutoTVM's candidates on chosen boards only, and which board measured a candidate.

Worker processes of TVM import this file, so it needs little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm.autotvm.measure.measure_methods import default_module_loader

from .session import choosing

_NOTE = ".board"


@dataclass(frozen=True)
class BoardLoader:
    """Opens a candidate's session as AutoTVM does, but not on boards that are left out; notes on which one.

    The note is a file next to the candidate's library: a process that measures a candidate is killed if it takes too
    long, and then tells nothing.

    Parameters
    ----------
    left_out : frozenset of str
        ``HOST:PORT`` of boards.
    """

    left_out: frozenset[str]

    @contextmanager
    def __call__(self, remote_kwargs: dict[str, Any], build_result: Any) -> Iterator[Any]:
        """Open a session and load the library there; as TVM's `default_module_loader`."""
        note = _note_of(build_result)

        def accept(address: str) -> bool:
            if address in self.left_out:
                return False
            note.write_text(address, encoding="utf-8")
            return True

        with choosing(accept), default_module_loader()(remote_kwargs, build_result) as loaded:
            yield loaded


def read_address(built: Any) -> str:
    """Return ``HOST:PORT`` of the board that a candidate was last sent to; empty if it was not."""
    try:
        return _note_of(built).read_text(encoding="utf-8")
    except (OSError, AttributeError):  # a candidate that was not built has no file
        return ""


def _note_of(built: Any) -> Path:
    return Path(built.filename + _NOTE)
