"""Compiles the part of the prebuilt TVM that it came without: its Python interface in Cython.

TVM's Python code calls the C++ library through an extension module written in Cython, or through ctypes where that
module is missing, and then each call takes three times as long. A whole build spends a fifth of its time there. The
prebuilt package has the module's sources but not the module.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.setup_env import system
from scripts.setup_env.console import Console

CYTHON = "cython>=3.0,<3.1"
HERE = Path(__file__).parent.resolve()
HEADERS = (HERE / "ffi_headers", HERE.parents[1] / "runtime/src/tvm")

_ASK = """
import json, sys, sysconfig
print(json.dumps({"include": sysconfig.get_path("include"), "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
                  "number": "%d.%d" % sys.version_info[:2]}))
"""
# Arrays, objects and calls in both directions work, and errors cross with their type.
_TRY = """
import numpy, tvm
assert tvm.runtime.Object.__base__.__module__ == "tvm._ffi._cython.core", tvm.runtime.Object.__base__.__module__
values = numpy.arange(6, dtype="int8").reshape(2, 3)
array = tvm.nd.array(values)
assert type(array) is tvm.nd.NDArray and (array.numpy() == values).all()
assert type(tvm.runtime.convert([1, "a"])[1]) is tvm.runtime.String
assert tvm.runtime.convert(lambda x: x)(array).same_as(array)
def fail(): raise KeyError("of this check")
try:
    tvm.runtime.convert(fail)()
except KeyError:
    pass
else:
    raise AssertionError("the error is lost")
"""


def compile_ffi(console: Console, python: str, python_dir: Path) -> bool:
    """Compile the extension module of the TVM in `python_dir`, unless it is there, and return whether it works.

    Without it everything works as well, only more slowly, so a failure is no error: a line says why.
    """
    asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True)
    of_python = json.loads(asked.stdout)
    package = python_dir / "tvm/_ffi"
    module = package / "_cy3" / f"core{of_python['suffix']}"
    if module.exists():
        return True
    console.step("Relay TVM: compiling its Python interface (Cython)")
    reason = _compile(console, python, of_python, package, module)
    if reason is None and not console.attempt([python, "-c", _TRY]):
        module.unlink()
        reason = "the compiled module does not work"
    if reason is not None:
        console.step(f"Relay TVM: its Python interface stays on ctypes, which is slower: {reason} (see {console.log})")
    return reason is None


def _compile(console: Console, python: str, of_python: dict[str, str], package: Path, module: Path) -> str | None:
    """Put the module in place; return why that is not possible, None if it was done."""
    if not (package / "_cython/core.pyx").exists():
        return "the package has no sources of it"
    compiler = system.cxx_compiler()
    if compiler is None:
        return f"no C++ compiler; type: {system.how_to_install(['g++'])}"
    headers = Path(of_python["include"])
    development = f"libpython{of_python['number']}-dev"  # not part of Debian's Python package
    if not (headers / "Python.h").exists():
        system.install(console, [development], "Python's headers")
    if not (headers / "Python.h").exists():
        return f"no Python.h; type: {system.how_to_install([development])}"
    if not console.attempt([python, "-m", "pip", "--disable-pip-version-check", "install", CYTHON]):
        return "installing Cython failed: is the package index reachable?"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "tvm/_ffi/_cython")  # the module's name follows from the folders
        shutil.copytree(package / "_cython", source)
        for parent in (source, source.parent, source.parent.parent):
            (parent / "__init__.py").touch()
        translated, built = Path(folder, "core.cpp"), Path(folder, module.name)
        commands = (
            [python, "-m", "cython", "--cplus", "-3", str(source / "core.pyx"), "-o", str(translated)],
            [*compiler, "-O2", "-std=c++17", "-shared", "-fPIC", *(f"-I{f}" for f in (*HEADERS, headers)),
             str(translated), "-o", str(built)],
        )  # fmt: skip
        if not all(map(console.attempt, commands)):
            return "it could not be compiled"
        part = module.with_name(f".{module.name}.new")
        shutil.copyfile(built, part)
        part.rename(module)  # never half a file under the module's name
    return None
