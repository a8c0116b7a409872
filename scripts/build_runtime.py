"""Build the C++ runtime for another machine: ``make runtime TARGET=aarch64-linux-gnu`` or ``TARGET=aarch64-android``.

The library is put into ``python/tvm_coexec/lib/TARGET/``, where `tvm_coexec.opencl.library.library_for` finds it.

=====================  =================================================================================================
``ANDROID_NDK``        the NDK's folder; required for Android
``ANDROID_API``        oldest Android API level that the library runs on; default 24
``ANDROID_STL``        ``c++_static`` (the default) or ``c++_shared``, as TVM was built
``TVM_RUNTIME``        a ``libtvm_runtime.so`` (or ``libtvm4j_runtime_packed.so``) for the target that the library shall
                       require: Android apps load libraries so that others don't see their symbols
``CXX_TARGET``         another compiler than the target's usual one, for example of a board's SDK
=====================  =================================================================================================
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY_NAME = "libtvm_coexec_runtime.so"
ANDROID = "aarch64-android"
ANDROID_API = 24
STLS = {"c++_static": ["-static-libstdc++"], "c++_shared": []}
AARCH64 = 183  # e_machine in the ELF header


class BuildError(Exception):
    """What the user has to change, in one sentence."""


@dataclass(frozen=True)
class Toolchain:
    """The compiler for a target, and the options with which it links."""

    compiler: str
    link_options: list[str] = field(default_factory=list)


def find_toolchain(target: str) -> Toolchain:
    """Return the compiler for a target.

    Raises
    ------
    BuildError
        If the target is unknown or its compiler is missing.
    """
    if target not in (ANDROID, "aarch64-linux-gnu"):
        raise BuildError(f"TARGET={target} is unknown: use aarch64-linux-gnu or {ANDROID}")
    chosen = os.environ.get("CXX_TARGET")
    if target == ANDROID:
        compiler, options = find_ndk_compiler(), STLS.get(os.environ.get("ANDROID_STL", "c++_static"))
        if options is None:
            raise BuildError(f"ANDROID_STL={os.environ['ANDROID_STL']}: use {' or '.join(STLS)}")
        return Toolchain(compiler, options)
    name = chosen or f"{target}-g++"
    compiler = shutil.which(name)
    if compiler is None and chosen:
        raise BuildError(f"CXX_TARGET={chosen}: there is no such command; correct it or unset it")
    if compiler is None:
        raise BuildError(f"no compiler {name}; install it (Debian: apt-get install g++-{target}) or set CXX_TARGET")
    return Toolchain(compiler)


def find_ndk_compiler() -> str:
    """Return the NDK's compiler for the wanted API level."""
    home = os.environ.get("ANDROID_NDK")
    if not home:
        raise BuildError(f"TARGET={ANDROID} needs the NDK: set ANDROID_NDK to its folder, which has toolchains/ in it")
    api = os.environ.get("ANDROID_API", str(ANDROID_API))
    folder = Path(home, "toolchains/llvm/prebuilt")
    found = sorted(folder.glob(f"*/bin/aarch64-linux-android{api}-clang++"))
    if found:
        return str(found[0].resolve().parent / found[0].name)
    others = folder.glob("*/bin/aarch64-linux-android[0-9]*-clang++")
    levels = sorted(int(path.name.split("-")[2].removeprefix("android")) for path in others)
    if levels:
        raise BuildError(
            f"ANDROID_NDK={home} has no compiler for API level {api}: set ANDROID_API to one of "
            f"{levels[0]} to {levels[-1]}"
        )
    raise BuildError(
        f"ANDROID_NDK={home} has no compiler toolchains/llvm/prebuilt/*/bin/aarch64-linux-android{api}-clang++: "
        "set ANDROID_NDK to the folder of an unpacked NDK"
    )


def configure_command(cmake: str, target: str, toolchain: Toolchain, folder: Path, *options: str) -> list[str]:
    """Return the command line that configures a build.

    CMake's own knowledge of Android is not used: it wants the complete NDK, and its compiler needs no more options.
    """
    command = [
        cmake, "-S", str(ROOT), "-B", str(folder), "-DCMAKE_SYSTEM_NAME=Linux",
        f"-DCMAKE_SYSTEM_PROCESSOR={target.split('-')[0]}", f"-DCMAKE_CXX_COMPILER={toolchain.compiler}", *options,
    ]  # fmt: skip
    flags = " ".join(toolchain.link_options)
    return [*command, f"-DCMAKE_SHARED_LINKER_FLAGS={flags}", f"-DCMAKE_EXE_LINKER_FLAGS={flags}"]


def find_cmake() -> str:
    found = shutil.which("cmake", path=sysconfig.get_path("scripts")) or shutil.which("cmake")
    if found is None:
        raise BuildError("no cmake found: install it (pip install cmake)")
    return found


def elf_machine(path: Path) -> int | None:
    """Return e_machine of a file's ELF header; None if it is no 64-bit little-endian ELF file."""
    with open(path, "rb") as stream:
        head = stream.read(20)
    return int.from_bytes(head[18:20], "little") if head[:6] == b"\x7fELF\x02\x01" and len(head) == 20 else None


def build(target: str, output: Path | None = None, folder: Path | None = None, more: Sequence[str] = ()) -> Path:
    """Build the library for a target and return its path.

    `output` is where it is put, `folder` CMake's, and `more` are further options of CMake.
    """
    toolchain, cmake = find_toolchain(target), find_cmake()
    folder = folder or ROOT / "build" / f"runtime_{target}"
    output = output or ROOT / "python/tvm_coexec/lib" / target
    options = ["-DCMAKE_BUILD_TYPE=Release", f"-DTVM_COEXEC_LIBRARY_DIR={output}", *more]
    tvm_runtime = os.environ.get("TVM_RUNTIME", "")
    if tvm_runtime:
        tvm_runtime = str(Path(tvm_runtime).resolve())
        if not os.path.isfile(tvm_runtime) or elf_machine(Path(tvm_runtime)) != AARCH64:
            raise BuildError(f"TVM_RUNTIME={os.environ['TVM_RUNTIME']} is not a library for {target}")
    options.append(f"-DTVM_COEXEC_TVM_LIBRARY={tvm_runtime}")
    if tvm_home := os.environ.get("TVM_HOME"):
        options.append(f"-DTVM_HOME={tvm_home}")
    cache = folder / "CMakeCache.txt"  # kept, so that only what changed is compiled again
    if cache.exists() and any(
        line not in cache.read_text().splitlines()
        for line in (f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}", f"CMAKE_CXX_COMPILER:STRING={toolchain.compiler}")
    ):
        shutil.rmtree(folder)
    for command in (
        [*configure_command(cmake, target, toolchain, folder), *options],
        [cmake, "--build", str(folder), "--parallel", str(os.cpu_count() or 1)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.stderr.write(done.stdout[-6000:] + done.stderr[-6000:])
            raise BuildError(f"building the C++ runtime failed, the compiler's messages are above: {' '.join(command)}")
    library = output / LIBRARY_NAME
    if elf_machine(library) != AARCH64:
        library.unlink()
        raise BuildError(f"{toolchain.compiler} does not compile for {target}: give a compiler that does")
    return library


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: make runtime TARGET=aarch64-linux-gnu|aarch64-android", file=sys.stderr)
        return 2
    try:
        print(build(arguments[0]).relative_to(ROOT))
    except BuildError as error:
        print(f"runtime: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
