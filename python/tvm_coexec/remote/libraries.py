"""Builds of the C++ runtime for other machines, which `make runtime TARGET=...` puts next to this machine's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tvm_coexec.opencl.load import LIBRARY_NAME, library_path

# The field e_machine of the ELF header, at byte 18, by the names that the first part of a target triple has.
_MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_SAME = {"amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64", "armv7l": "arm", "armv7a": "arm"}


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


def machine_of(triple: str) -> str:
    """Return the machine of a target triple: ``aarch64`` of ``arm64-linux-android``."""
    first = triple.split("-")[0].lower()
    return _SAME.get(first, first)


def elf_machine(path: Path) -> str:
    """Return the machine that a shared library is for; empty if it is not an ELF file."""
    with open(path, "rb") as f:
        head = f.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")


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
