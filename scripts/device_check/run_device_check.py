"""Unpack a device check that ``scripts/pack_device_check.py`` has packed, and run it: this file and the parts suffice.

    python3 run_device_check.py [--folder FOLDER] [--unpack-only] [options of check_device.py]

FOLDER (default: ``device_check_files`` next to this file) takes about 500 MB; a second run finds it unpacked.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIFEST = "device_check.json"
# Any of these links a compiled network; without one the packed linker does.
COMPILERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")
LINKER = """#!/bin/sh
# Stands in for a compiler that only links: drops what the linker does not know.
for argument do
    shift
    case $argument in -fPIC | -std=* | -O* | -g) ;; *) set -- "$@" "$argument" ;; esac
done
LD_LIBRARY_PATH="{folder}/lib" exec "{folder}/ld" "$@"
"""


def fail(message: str) -> None:
    """End with one sentence."""
    raise SystemExit(f"run_device_check: {message}")


def verify(parts: list[dict]) -> list[Path]:
    """Return the files of all parts, after a check that they are complete."""
    files = [HERE / part["name"] for part in parts]
    for file, part in zip(files, parts, strict=True):
        digest = hashlib.sha256()
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            fail(f"{file} can't be read ({error.strerror}): copy all parts into one folder")
        if digest.hexdigest() != part["sha256"]:
            fail(f"{file} is damaged: copy it again")
    return files


class Parts(io.RawIOBase):
    """The parts as one stream."""

    def __init__(self, files: list[Path]):
        self._rest, self._file = list(files), None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self._file is not None or self._rest:
            if self._file is None:
                self._file = self._rest.pop(0).open("rb")
            count = self._file.readinto(buffer)
            if count:
                return count
            self._file.close()
            self._file = None
        return 0


def read_manifest() -> dict:
    """Return what was packed, after a check that this Python can run it."""
    try:
        manifest = json.loads((HERE / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{HERE / MANIFEST} can't be read ({error}): copy it with the parts")
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if manifest["python"] != own:
        fail(f"packed for Python {manifest['python']}, and this is {own}: pack again with --python {own}")
    return manifest


def unpack(manifest: dict, folder: Path) -> None:
    """Unpack the parts into the folder, unless that has been done."""
    stamp, digest = folder / "unpacked.json", json.dumps(manifest["parts"])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return
    stream = io.BufferedReader(Parts(verify(manifest["parts"])), 1 << 20)
    if manifest["whole"]:  # otherwise it replaces files of one that is there
        shutil.rmtree(folder / "device_check", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=stream, mode="r|xz") as archive:
        for member in archive:
            target = (folder / member.name).resolve()
            if not target.is_relative_to(folder.resolve()) or not (member.isdir() or member.isfile()):
                fail(f"the archive has an entry that does not belong there: {member.name}")
            archive.extract(member, folder)
    stamp.write_text(digest, encoding="utf-8")


def connect(root: Path) -> dict[str, str]:
    """Make ``import tvm`` and ``import tvm_coexec`` work in all processes, and return the environment."""
    site, environment = root / "site", dict(os.environ)
    if (root / "relay_tvm").is_dir():
        sys.path.insert(0, str(root))
        from scripts.setup_env.relay_tvm import FoundTvm
        from scripts.setup_env.relay_tvm import connect as connect_tvm

        libraries = {file.name: str(file) for file in sorted((root / "stand_ins").glob("lib*"))}
        library = root / "relay_tvm/build/libtvm.so"
        connect_tvm(
            FoundTvm("packed", root / "relay_tvm/python", library, sys.executable), site, root / "share", libraries
        )
        (site / "sitecustomize.py").write_text("import tvm_coexec_boot\n", encoding="utf-8")
    environment.update(PYTHONPATH=str(site), PYTHONNOUSERSITE="1", TVM_FFI="ctypes")
    environment["DEVICE_CHECK_LIBRARIES"] = str(root / "lib")
    environment.setdefault("XDG_CACHE_HOME", str(root / "cache"))
    tools = root / "tools"
    if not environment.get("CXX") and not any(map(shutil.which, COMPILERS)) and (tools / "ld").exists():
        (tools / "c++").write_text(LINKER.format(folder=tools), encoding="utf-8")
        (tools / "c++").chmod(0o755)
        environment["CXX"] = str(tools / "c++")
    return environment


def main() -> int:
    """Unpack and run."""
    parser = argparse.ArgumentParser(description="Unpack and run a packed device check.", allow_abbrev=False)
    parser.add_argument("--folder", type=Path, default=HERE / "device_check_files", help="where to unpack")
    parser.add_argument("--unpack-only", action="store_true", help="do not run it")
    args, rest = parser.parse_known_args()
    manifest = read_manifest()
    folder = args.folder.resolve()
    unpack(manifest, folder)
    root = folder / "device_check"
    environment = connect(root)
    if args.unpack_only:
        print(root)
        return 0
    return subprocess.call([sys.executable, str(root / "scripts/check_device.py"), *rest], env=environment)


if __name__ == "__main__":
    sys.exit(main())
