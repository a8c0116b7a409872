"""Headers of shared libraries."""

from __future__ import annotations

import io
import struct

import pytest

from tvm_coexec.core.elf import elf_machine, fault_of, machine_of, this_machine

OWN = this_machine()
NUMBERS = {"i686": 3, "arm": 40, "x86_64": 62, "aarch64": 183, "riscv64": 243}
SIZE = 5000


def library(machine: str, bits: int = 64, order: str = "<", sections: int = 10) -> bytes:
    """A file of `SIZE` bytes, of which the last are its table of sections."""
    word, entry = ("Q", 64) if bits == 64 else ("I", 40)
    head = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    head += struct.pack(order + "HHI", 3, NUMBERS[machine], 1)
    head += struct.pack(order + 3 * word, 0, 64, SIZE - sections * entry if sections else 0)
    head += struct.pack(order + "IHHHHHH", 0, 64, 56, 1, entry, sections, 1)
    return head + bytes(SIZE - len(head))


def fault(data: bytes, machine: str = "") -> str:
    return fault_of(io.BytesIO(data), len(data), machine)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("machine", "bits"), [("x86_64", 64), ("aarch64", 64), ("arm", 32), ("i686", 32)])
def test_machine_and_end(tmp_path, machine, bits, order):
    data = library(machine, bits, order)
    (tmp_path / "a.so").write_bytes(data)
    assert elf_machine(tmp_path / "a.so") == machine
    assert fault(data, machine) == fault(library(machine, bits, order, sections=0), machine) == ""
    other = next(m for m in NUMBERS if m != machine)
    assert fault(data, other) == f"it is for {machine}, not for {other}; compile the model for that machine"
    assert fault(data, "sparc") == ""  # a name that no header has
    again = "; compile or copy it again"
    for size in (64, SIZE // 2, SIZE - 1):
        assert fault(data[:size], machine) == f"it is cut off, it has {size} of {SIZE} bytes{again}"
    for size in (4, 63):
        assert fault(data[:size], machine) == f"it is cut off, it has only {size} bytes{again}"


def test_this_machine_is_the_default():
    other = next(m for m in NUMBERS if m != OWN)
    assert fault(library(OWN)) == "" and fault(library(other)).startswith(f"it is for {other}, not for {OWN}; ")


@pytest.mark.parametrize(
    ("triple", "machine"),
    [
        ("x86_64-unknown-linux-gnu", "x86_64"),
        ("amd64", "x86_64"),
        ("arm64-linux-android", "aarch64"),
        ("armv7l", "arm"),
        ("armv8l-linux-gnueabihf", "arm"),
        ("i586-pc-linux", "i686"),
        ("riscv64", "riscv64"),
    ],
)
def test_machines_of_triples(triple, machine):
    assert machine_of(triple) == machine


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\x7fEL", b"\xcf\xfa\xed\xfe" + bytes(100), b"\x7fELF\x07" + bytes(100)]
)
def test_other_files_are_left_to_the_loader(tmp_path, data):
    (tmp_path / "a.so").write_bytes(data)
    assert fault(data) == "" == elf_machine(tmp_path / "a.so")
