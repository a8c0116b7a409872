"""Output files that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from types import TracebackType

from tvm_coexec.core.errors import CoExecError


class StagedFiles:
    """Files written to temporary folders, and moved to their final paths when the ``with`` block ends without an error.

    Each temporary folder is next to the final path, so that moving is a rename. Other files written into that folder
    (tvmc writes dumps next to the archive) are moved as well. An unwritable path is found before any work is done.
    """

    def __init__(self) -> None:
        self._aside: dict[str, str] = {}  # final folder -> temporary folder
        self._files: set[str] = set()

    def __enter__(self) -> StagedFiles:
        return self

    def stage(self, path: str, into_device: bool = False) -> str:
        """Return the temporary path to write to for the final path `path`.

        Parameters
        ----------
        path : str
            The final path.
        into_device : bool
            Whether `path` may be a device or a pipe such as ``/dev/stderr``, which is written directly.

        Raises
        ------
        CoExecError
            If no file can be written to that path.
        """
        final = os.path.realpath(path)
        if os.path.exists(final):
            mode = os.stat(final).st_mode
            if stat.S_ISDIR(mode):
                raise CoExecError(f"can't write {path}: it is a folder; name a file in it")
            if not stat.S_ISREG(mode):
                if into_device:
                    return final
                raise CoExecError(f"can't write {path}: it is not a regular file; name another file")
        if final in self._files:
            raise CoExecError(f"two outputs have the same file, {path}: give each one of its own")
        self._files.add(final)
        folder = os.path.dirname(final)
        if not os.path.exists(folder):
            raise CoExecError(f"can't write {path}: there is no folder {folder}; create it or choose another path")
        if folder not in self._aside:
            try:
                self._aside[folder] = tempfile.mkdtemp(prefix=".tvmc-", dir=folder)
            except OSError as err:
                raise CoExecError(f"can't write {path}: {err.strerror}; choose another path") from None
        return os.path.join(self._aside[folder], os.path.basename(final))

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for folder, aside in self._aside.items():
                    for name in sorted(os.listdir(aside)):
                        os.replace(os.path.join(aside, name), os.path.join(folder, name))
        except OSError as problem:
            raise CoExecError(f"can't write {problem.filename2}: {problem.strerror}; choose another path") from None
        finally:
            for aside in self._aside.values():
                shutil.rmtree(aside, ignore_errors=True)
