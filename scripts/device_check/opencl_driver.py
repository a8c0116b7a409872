"""Find the OpenCL loader and the drivers of a machine, also where nothing has registered them.

OpenCL programs open a loader (``libOpenCL.so.1``), which opens the drivers that files in ``/etc/OpenCL/vendors`` name.
Containers often have the driver's library alone. Then the loader comes from this package's archive, and the folder of
vendor files is written here.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOADER = "libOpenCL.so.1"
VENDORS = Path("/etc/OpenCL/vendors")
# Drivers whose library has a fixed name.
DRIVERS = ("libnvidia-opencl.so.1", "libamdocl64.so", "libigdrcl.so", "libmali.so.1", "libpocl.so.2")
FOLDERS = (
    *("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"),
    *("/usr/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/local/cuda/compat"),
    *("/usr/local/cuda/lib64", "/opt/rocm/lib", "/opt/rocm/opencl/lib", "/usr/lib/x86_64-linux-gnu/intel-opencl"),
    *("/usr/lib/wsl/lib", "/run/opengl-driver/lib"),
)


@dataclass(frozen=True)
class Found:
    """Environment variables that make the drivers usable, and one line per decision."""

    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def opens(library: str) -> bool:
    """Return whether the dynamic linker finds and opens a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def registered(vendors: Path) -> dict[str, str]:
    """Return the library that each vendor file names."""
    found = {}
    for file in sorted(vendors.glob("*.icd")) if vendors.is_dir() else []:
        try:
            found[file.name] = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return found


def unregistered(known: Sequence[str], folders: Sequence[str] = FOLDERS) -> list[Path]:
    """Return the drivers in the usual folders that no vendor file names, each once."""
    names = {Path(library).name.split(".so")[0] for library in known}
    found: dict[str, Path] = {}
    for folder in folders:
        for driver in DRIVERS:
            path = Path(folder) / driver
            if driver.split(".so")[0] not in names and path.exists():
                found.setdefault(driver, path)
    return list(found.values())


def find(
    write_to: Path,
    bundled: Path,
    environment: Mapping[str, str] = os.environ,
    vendors: Path = VENDORS,
    folders: Sequence[str] = FOLDERS,
) -> Found:
    """Return what has to be set so that OpenCL finds the machine's drivers.

    Parameters
    ----------
    write_to : Path
        Folder for vendor files, created only if some have to be written.
    bundled : Path
        Folder that may have a loader of the archive.
    environment : mapping
        Variables that the user has set are respected.
    vendors : Path
        The machine's vendor files.
    folders : sequence of str
        Where drivers are looked for.

    Returns
    -------
    Found
    """
    variables, notes = {}, []
    if environment.get("TVM_COEXEC_LIBOPENCL"):
        notes.append(f"loader: {environment['TVM_COEXEC_LIBOPENCL']}, from TVM_COEXEC_LIBOPENCL")
    elif opens(LOADER):
        notes.append(f"loader: the machine's {LOADER}")
    elif (bundled / LOADER).exists():
        variables["TVM_COEXEC_LIBOPENCL"] = str(bundled / LOADER)
        notes.append(f"loader: {bundled / LOADER}, since the machine has none")
    else:
        notes.append(f"loader: none; install {LOADER} (Debian: ocl-icd-libopencl1)")
    if environment.get("OCL_ICD_VENDORS"):
        notes.append(f"drivers: as {environment['OCL_ICD_VENDORS']} names them (OCL_ICD_VENDORS)")
        return Found(variables, tuple(notes))
    known = registered(vendors)
    notes += [f"driver: {library}, registered in {vendors / name}" for name, library in known.items()]
    extra = unregistered(list(known.values()), folders)
    if extra:
        write_to.mkdir(parents=True, exist_ok=True)
        for name, library in known.items():
            (write_to / name).write_text(library + "\n", encoding="utf-8")
        for path in extra:
            (write_to / f"{path.name.split('.so')[0]}.icd").write_text(f"{path}\n", encoding="utf-8")
            notes.append(f"driver: {path}, which no file in {vendors} names")
        variables["OCL_ICD_VENDORS"] = str(write_to)
        # A driver opens further libraries of its own folder by their names.
        paths = [str(p.parent) for p in extra if not opens(p.name)]
        if paths:
            old = environment.get("LD_LIBRARY_PATH", "")
            variables["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys([*filter(None, old.split(":")), *paths]))
    if not known and not extra:
        notes.append(f"drivers: none is registered in {vendors}, and none is in the usual folders")
    return Found(variables, tuple(notes))
