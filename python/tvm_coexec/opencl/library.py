"""The runtime's library for other machines: ``make runtime TARGET=...`` puts it next to this machine's."""

from __future__ import annotations

import platform
from pathlib import Path

from tvm_coexec.core.errors import CoExecError

from .load import LIBRARY_NAME, library_path

TARGETS = ("aarch64-linux-gnu", "aarch64-android")
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}


def library_for(triple: str | None = None) -> Path:
    """Return the path of the runtime's library for a machine, to upload to a board or to pack into an application.

    Parameters
    ----------
    triple : str, optional
        As in ``llvm -mtriple=``: ``aarch64-linux-gnu``, ``arm64-linux-android28``; this machine by default.

    Returns
    -------
    Path

    Raises
    ------
    CoExecError
        If it is not built, with the command that builds it, or if it can't be built for such a machine.
    """
    target = target_of(triple) if triple else None
    if target is None:
        path, how = library_path(), "`pip install .` or `make setup`"
    else:
        path, how = library_path().parent / target / LIBRARY_NAME, f"`make runtime TARGET={target}` in the sources"
        if target.endswith("android"):
            how += ", with ANDROID_NDK set to the folder of Android's NDK"
    if not path.exists():
        raise CoExecError(
            f"the runtime's library for {triple or 'this machine'} is missing ({path}): build it with {how}"
        )
    return path


def target_of(triple: str) -> str | None:
    """Return the ``TARGET`` of a triple; None for this machine.

    Raises
    ------
    CoExecError
        If there is no build for such a machine.
    """
    parts = triple.lower().split("-")
    machine, android = _MACHINES.get(parts[0], parts[0]), any(part.startswith("android") for part in parts)
    linux = android or "linux" in parts
    if machine == platform.machine() and linux and not android:
        return None
    if machine == "aarch64" and linux and "musl" not in parts:
        return TARGETS[android]
    raise CoExecError(f"the runtime's library can't be built for {triple}: it can for {' and '.join(TARGETS)}")
