"""What all models have in common: options, a state, and files."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically

from . import state_files

VERSION = state_files.VERSION


class SavedModel(ABC):
    """A model with a file.

    As in scikit-learn, the constructor stores options, and attributes that fitting sets end with ``_``.

    Attributes
    ----------
    name : str
        Name in files and tables.
    kind : str
        Kind of the file.
    what : str
        What the model is, for messages.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    what: ClassVar[str]

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return options and fitted state: JSON values, and arrays by name under the key ``arrays``."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Make a model from `state`; raise `KeyError`, `TypeError` or `ValueError` for a damaged one."""

    def options(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {n: getattr(self, n) for n in inspect.signature(type(self)).parameters}

    def to_json(self) -> str:
        """Return one line of JSON: version, kind, name and state."""
        return state_files.to_json(self._whole_state())

    def to_bytes(self) -> bytes:
        """Return the content of the model's file: an npz if the state has arrays, else a line of JSON."""
        state = self._whole_state()
        return state_files.to_npz(state) if state_files.ARRAYS in state else f"{state_files.to_json(state)}\n".encode()

    @property
    def nbytes(self) -> int:
        """Size of the model in bytes: of its npz file, or of its JSON."""
        return len(self.to_bytes().removesuffix(b"\n"))

    def save(self, path: str | os.PathLike) -> None:
        """Write the model; the file is replaced atomically.

        The format is that of `to_bytes`, whatever the name ends with (see `state_files`).
        """
        write_atomically(os.fspath(path), self.to_bytes())

    def check_fitted(self) -> None:
        """Raise `CoExecError` if the model is not fitted."""
        if not any(n.endswith("_") and not n.startswith("_") for n in vars(self)):
            raise CoExecError(f"the {self.what} '{self.name}' is not fitted; call fit() or load a file first")

    def _whole_state(self) -> dict[str, Any]:
        self.check_fitted()
        return {"version": VERSION, "kind": self.kind, "model": self.name, **self.state()}
