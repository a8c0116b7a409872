"""Builds of the C++ runtime for other machines, which `make runtime TARGET=...` puts next to this machine's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tvm_coexec.core.elf import elf_machine, machine_of
from tvm_coexec.opencl.load import LIBRARY_NAME, library_path


@dataclass(frozen=True)
class Library:
    """A build of the runtime.

    Attributes
    ----------
    path : Path
    machine : str
        Of its ELF header, such as ``aarch64``.
    target : str
        The ``TARGET`` that it was built for; empty for this machine's.
    """

    path: Path
    machine: str
    target: str = ""


def libraries() -> list[Library]:
    """Return the builds that exist, this machine's first."""
    own = library_path()
    found = [Library(own, elf_machine(own))] if own.exists() else []
    for path in sorted(own.parent.glob(f"*/{LIBRARY_NAME}")):
        found.append(Library(path, elf_machine(path), path.parent.name))
    return found


def libraries_for(triple: str) -> list[Library]:
    """Return the builds that may run on a machine, the likeliest first: for Android or not, as the triple is."""
    android = "android" in triple
    fitting = [lib for lib in libraries() if lib.machine == machine_of(triple)]
    return sorted(fitting, key=lambda lib: ("android" in lib.target) != android)


def describe_libraries() -> str:
    """Return the machines that there are builds for, as a part of a sentence."""
    return ", ".join(lib.target or f"{lib.machine} (this machine)" for lib in libraries()) or "none"
