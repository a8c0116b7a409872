"""Collect what a machine without network needs for a device check, and write it as an archive in parts."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "scripts/device_check/run_device_check.py"
TOP = "device_check"  # the one folder in the archive
MANIFEST = "device_check.json"
PART = "device_check.tar.xz"
# x86 branches made comparable, and a window as large as the largest library: a tenth smaller.
FILTERS = [
    {"id": lzma.FILTER_X86},
    {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 96 << 20},
]
SOURCES = ("scripts/check_device.py", "scripts/demo.py", "scripts/device_check", "scripts/setup_env", "benchmarks")
# Folders and files of wheels that nothing imports at run time.
UNUSED = re.compile(
    r"(^|/)(tests?|__pycache__|include|f2py|distutils)/|\.(pyi|a|h|hpp|c|cc|cpp|pxd|pyx|pxi|rst|md|exe)$|"
    r"^scipy/(datasets|differentiate|fftpack|integrate|interpolate|io|misc|ndimage|odr|signal|stats)/|"
    r"^onnx/(backend|reference|tools)/|\.data/"
)
# The graphs of the zoo's networks that a check runs.
USED = re.compile(r"^onnx/backend/test/data/light/light_(squeezenet|shufflenet)\.onnx$")
# Large because of debug symbols. Libraries that packagers have edited must not be stripped.
STRIPPED = re.compile(r"^ml_dtypes/.*\.so$")


@dataclass(frozen=True)
class Entry:
    """A file of the archive: its path there, its content, and whether it is executable."""

    path: str
    content: bytes
    executable: bool = False


def own_sources() -> Iterator[Entry]:
    """The files of this project as they are installed, and what of them is run from the source tree."""
    packages = {"python/tvm_coexec": "", "relay_passes": "relay_passes/", "cost_models": "cost_models/"}
    for folder, inside in packages.items():
        for file in _files(ROOT / folder):
            content = strip(file) if file.suffix == ".so" else file.read_bytes()
            yield Entry(f"site/tvm_coexec/{inside}{file.relative_to(ROOT / folder)}", content)
    for source in SOURCES:
        for file in _files(ROOT / source):
            if "benchmarks/results" not in str(file):
                yield Entry(str(file.relative_to(ROOT)), file.read_bytes())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(f for f in path.rglob("*") if f.is_file() and "__pycache__" not in f.parts and f.suffix != ".pyc")


def strip(library: Path) -> bytes:
    """Return a library without the symbols that only debuggers read."""
    tool = shutil.which("strip")
    if tool is None:
        return library.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / library.name
        shutil.copy(library, copy)
        subprocess.run([tool, "--strip-unneeded", str(copy)], check=True)
        return copy.read_bytes()


def relay_tvm(settings: dict) -> Iterator[Entry]:
    """The TVM of the set-up and its stand-ins for CUDA's libraries.

    Parameters
    ----------
    settings : dict
        Content of ``tvm_coexec_boot.json``.
    """
    python = Path(settings["python_dir"])
    # Not in a folder called tvm: from the archive's folder, Python would import that as a package.
    for file in _files(python / "tvm"):
        if file.suffix != ".so" and "_cython" not in file.parts:  # extensions are of one Python version
            yield Entry(f"relay_tvm/python/{file.relative_to(python)}", file.read_bytes())
    library = Path(settings["environment"]["TVM_LIBRARY_PATH"]) / "libtvm.so"
    yield Entry("relay_tvm/build/libtvm.so", strip(library))
    for soname, stub in settings["stubs"].items():
        yield Entry(f"stand_ins/{soname}", Path(stub).read_bytes())
    # Small libraries that minimal systems lack; the machine's own are preferred.
    linked = linked_libraries(library)
    for soname in ("libtinfo.so.6", "libz.so.1"):
        if soname in linked:
            yield Entry(f"stand_ins/{soname}", linked[soname].read_bytes())


def former_modules(python: str) -> Iterator[Entry]:
    """What TVM imports of the module ``distutils``, which Python 3.12 has no longer."""
    if tuple(map(int, python.split("."))) >= (3, 12):
        yield Entry("site/distutils/__init__.py", b"")
        yield Entry("site/distutils/version.py", b"from packaging.version import Version as LooseVersion\n")


def linked_libraries(binary: Path) -> dict[str, Path]:
    """Return the libraries that a binary needs and this machine has, without those of glibc."""
    done = subprocess.run(["ldd", str(binary)], capture_output=True, text=True)
    found = {}
    for name, path in re.findall(r"^\s*(\S+) => (/\S+)", done.stdout, re.MULTILINE):
        if not re.match(r"lib(c|m|dl|rt|pthread)\.so|ld-linux", name):
            found[name] = Path(path)
    return found


def opencl_loader() -> Iterator[Entry]:
    """The OpenCL loader of this machine, for one that has a driver alone."""
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        file = Path(folder) / "libOpenCL.so.1"
        if file.exists():
            yield Entry("lib/libOpenCL.so.1", file.read_bytes())
            return


def linker() -> Iterator[Entry]:
    """The linker of this machine, for one without a compiler: compiled networks are linked to libraries."""
    tool = shutil.which("ld.bfd") or shutil.which("ld")
    if tool is None:
        return
    yield Entry("tools/ld", Path(tool).read_bytes(), executable=True)
    for name, path in linked_libraries(Path(tool)).items():
        yield Entry(f"tools/lib/{name}", path.read_bytes())


def wheel_files(wheel: Path) -> Iterator[Entry]:
    """The files of a wheel that are used at run time."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename
            if info.is_dir() or (UNUSED.search(name) and not USED.search(name)):
                continue
            content = archive.read(info)
            if STRIPPED.search(name):
                content = _strip_bytes(name, content)
            yield Entry(f"site/{name}", content)


def _strip_bytes(name: str, content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(name).name
        file.write_bytes(content)
        return strip(file)


class _Parts(io.RawIOBase):
    """Writes a stream into files of limited size, and keeps their names and checksums."""

    def __init__(self, folder: Path, limit_bytes: int):
        self._folder, self._limit = folder, limit_bytes
        self._file: io.BufferedWriter | None = None
        self._left, self._sum = 0, hashlib.sha256()
        self.parts: list[dict] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        view, count = memoryview(data), len(data)
        while len(view):
            if self._file is None:
                name = f"{PART}.{len(self.parts):02d}"
                self._file, self._left, self._sum = (self._folder / name).open("wb"), self._limit, hashlib.sha256()
                self.parts.append({"name": name, "bytes": 0, "sha256": ""})
            piece = view[: self._left]
            self._file.write(piece)
            self._sum.update(piece)
            self.parts[-1]["bytes"] += len(piece)
            self._left -= len(piece)
            view = view[len(piece) :]
            if not self._left:
                self._end_part()
        return count

    def _end_part(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self.parts[-1]["sha256"] = self._sum.hexdigest()

    def close(self) -> None:
        self._end_part()
        super().close()


def write_parts(
    entries: Iterable[Entry],
    folder: Path,
    part_bytes: int,
    python: str,
    whole: bool = True,
    filters: list[dict] | None = None,
) -> dict:
    """Write the archive in parts, the launcher and the manifest; what an earlier run has left there is replaced.

    Parameters
    ----------
    entries : iterable of Entry
    folder : Path
    part_bytes : int
        Size of the largest part.
    python : str
        Version that the archive is for, such as ``3.12``.
    whole : bool
        Whether it replaces what was unpacked before, and not only some of its files.
    filters : list of dict, optional
        Of the compressor, see `lzma`; `FILTERS` if not given.

    Returns
    -------
    dict
        The manifest: ``python``, ``whole``, ``files``, ``unpacked_bytes``, and ``parts`` with name, size and checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{PART}.*"):
        old.unlink()
    parts, count, size = _Parts(folder, part_bytes), 0, 0
    with (
        lzma.LZMAFile(parts, "wb", format=lzma.FORMAT_XZ, filters=filters or FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for entry in entries:
            info = tarfile.TarInfo(f"{TOP}/{entry.path}")
            info.size, info.mode = len(entry.content), 0o755 if entry.executable else 0o644
            archive.addfile(info, io.BytesIO(entry.content))
            count, size = count + 1, size + info.size
    parts.close()
    manifest = {"python": python, "whole": whole, "files": count, "unpacked_bytes": size, "parts": parts.parts}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.copy(LAUNCHER, folder / LAUNCHER.name)
    return manifest


def report_sizes(entries: Iterable[Entry], add: Callable[[str, int], None]) -> Iterator[Entry]:
    """Pass entries on, and report the size of each by its first folder."""
    for entry in entries:
        add("/".join(entry.path.split("/")[:2]), len(entry.content))
        yield entry
