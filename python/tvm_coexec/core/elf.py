"""What the header of a shared library (ELF, in Linux and Android) says: its machine, and where the file must end.

The system's loader calls a library of another machine "no such file", and maps one that is cut off: the process then
ends by SIGBUS.
"""

from __future__ import annotations

import platform
import re
import struct
import sys
from pathlib import Path
from typing import IO

# The field e_machine, at byte 18, by the names that the first part of a target triple has.
_MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_SAME = {"amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64"}
_MAGIC = b"\x7fELF"
# By the class of the file: the offset and format of e_shoff, and the offset of e_shentsize and e_shnum. Linkers put the
# table of sections at the end.
_TABLE = {1: (32, "I", 46), 2: (40, "Q", 58)}


def machine_of(triple: str) -> str:
    """Return the machine of a target triple: ``aarch64`` of ``arm64-linux-android``."""
    first = triple.split("-")[0].lower()
    if first in _SAME:
        return _SAME[first]
    return "arm" if first.startswith("armv") else "i686" if re.fullmatch(r"i\d86", first) else first


def this_machine() -> str:
    """Return the machine of this process: its interpreter's, since a kernel of 64 bits may run programs of 32."""
    try:
        found = elf_machine(Path(sys.executable))
    except OSError:
        found = ""
    return found or machine_of(platform.machine())


def elf_machine(path: Path) -> str:
    """Return the machine that a shared library is for; empty if it is not an ELF file."""
    with open(path, "rb") as stream:
        return _machine(stream.read(64))


def fault_of(stream: IO[bytes], size: int, machine: str = "") -> str:
    """Return why a machine can't load a shared library.

    Parameters
    ----------
    stream : file
        At its beginning.
    size : int
        Bytes that it has.
    machine : str
        As `machine_of` returns it; by default this machine's.

    Returns
    -------
    str
        A part of a sentence, with what to do; empty if the header shows no reason, and for files that are not ELF.
    """
    head = stream.read(64)
    own, machine = _machine(head), machine or this_machine()
    if head[:4] == _MAGIC and len(head) < 64:
        return f"it is cut off, it has only {size} bytes; compile or copy it again"
    if not own:
        return ""
    if own != machine and machine in _MACHINES.values():
        return f"it is for {own}, not for {machine}; compile the model for that machine"
    order, (at, kind, at_counts) = _order(head), _TABLE[head[4]]
    (table,) = struct.unpack_from(order + kind, head, at)
    entry, count = struct.unpack_from(order + "HH", head, at_counts)
    if table + entry * count > size:
        return f"it is cut off, it has {size} of {table + entry * count} bytes; compile or copy it again"
    return ""


def _machine(head: bytes) -> str:
    if len(head) < 20 or head[:4] != _MAGIC or head[4] not in _TABLE:
        return ""
    (number,) = struct.unpack_from(_order(head) + "H", head, 18)
    return _MACHINES.get(number, f"machine {number}")


def _order(head: bytes) -> str:
    return "<" if head[5] == 1 else ">"
