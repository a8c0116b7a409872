"""Build and install tvm-coexec: Python packages from mapped folders, and the C++ runtime through CMake.

The top-level folders ``relay_passes`` and ``cost_models`` are installed as ``tvm_coexec.relay_passes`` and
``tvm_coexec.cost_models``; ``pip install .`` and ``pip install -e .`` give the same import names. TVM itself is not a
dependency: no package of it with Relay can be named here, so ``scripts/setup_env.py`` finds or fetches one.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
MAPPED = {"tvm_coexec.relay_passes": "relay_passes", "tvm_coexec.cost_models": "cost_models"}
RUNTIME = Extension("tvm_coexec.libtvm_coexec_runtime", sources=[])

# What Relay TVM imports at run time (its own package does not say so), and what this package adds.
REQUIRES = [
    "numpy>=1.23,<2",
    "scipy<2",
    "decorator",
    "attrs",
    "psutil",
    "cloudpickle",
    "typing_extensions",
    "ml_dtypes<1",
    "tornado",
    "tqdm",
    "threadpoolctl>=3",
    "packaging",
]
EXTRAS = {
    # 1.16.2 is the last release with onnx.mapping that relay.frontend.from_onnx was tried with.
    "onnx": ["onnx==1.16.2", "protobuf>=3.20.2,<8", "onnxruntime==1.23.2"],
    # The plain xgboost package has the same code and 300 MB of GPU libraries that tuning on a CPU never uses.
    "tuning": ["xgboost-cpu>=2.1,<4"],
    "bench": ["rich", "scikit-learn<2"],
    "plot": ["matplotlib"],
    "test": ["pytest>=7", "pytest-timeout", "pytest-xdist", "hypothesis"],
    # Pinned: other versions format differently, or find other errors.
    "dev": ["ruff==0.17.6", "mypy==2.4.1"],
}
EXTRAS["all"] = sorted({requirement for group in EXTRAS.values() for requirement in group})
# Installed on request only, by scripts/setup_env/predictors.py and vulkan.py.
ON_REQUEST = {
    # What fitting the learned predictors needs. Pinned: another release may sum in another order, and so fit others.
    "predictors": ["torch==2.13.0", "lightgbm>=4,<5", "scikit-learn<2"],
    # It carries wgpu-native, whose C API changes between versions.
    "vulkan": ["wgpu==0.32.*"],
}


def packages() -> dict[str, str]:
    """Return every package to install with its folder relative to the root."""
    names = {"tvm_coexec", *find_packages("python", include=["tvm_coexec*"])}
    found = {name: f"python/{name.replace('.', '/')}" for name in names}
    for name, folder in MAPPED.items():
        if not (ROOT / folder).is_dir():
            continue
        found[name] = folder
        for sub in find_packages(folder):
            found[f"{name}.{sub}"] = f"{folder}/{sub.replace('.', '/')}"
    return found


def fail(message: str) -> None:
    raise SystemExit(f"tvm-coexec: {message}")


class BuildRuntime(build_ext):
    """Build ``libtvm_coexec_runtime.so`` into ``tvm_coexec/lib``: of the build tree, or of the sources if editable."""

    library = "libtvm_coexec_runtime.so"

    def run(self) -> None:
        self._require_compiler()
        cmake = self._find_cmake()
        target = self._target()
        build_dir = self._build_dir()
        target.parent.mkdir(parents=True, exist_ok=True)
        configure = [
            cmake, "-S", str(ROOT), "-B", str(build_dir), "-DCMAKE_BUILD_TYPE=Release",
            f"-DTVM_COEXEC_LIBRARY_DIR={target.parent}",
        ]  # fmt: skip
        if os.environ.get("TVM_HOME"):
            configure.append(f"-DTVM_HOME={os.environ['TVM_HOME']}")
        for command in (configure, [cmake, "--build", str(build_dir), "--parallel", str(os.cpu_count() or 1)]):
            try:
                subprocess.run(command, check=True)
            except subprocess.CalledProcessError:
                fail(f"building the C++ runtime failed, the compiler's messages are above: {' '.join(command)}")
        if not target.exists():
            fail(f"CMake finished but did not write {target}")

    def _build_dir(self) -> Path:
        """Return CMake's folder; it is kept, so that only what changed is compiled again, unless the tree has moved."""
        folder = ROOT / "build" / "runtime"
        cache = folder / "CMakeCache.txt"
        if cache.exists() and f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in cache.read_text():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _target(self) -> Path:
        if self.inplace or self.editable_mode:
            return ROOT / "python" / "tvm_coexec" / "lib" / self.library
        return Path(self.build_lib).resolve() / "tvm_coexec" / "lib" / self.library

    def _require_compiler(self) -> None:
        candidates = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
        if not any(shutil.which(name) for name in candidates):
            fail(f"no C++17 compiler found (looked for {', '.join(candidates)}): install g++ or clang, or set CXX")

    def _find_cmake(self) -> str:
        # An isolated build has CMake as a build requirement; its command then lies beside the interpreter's scripts.
        found = shutil.which("cmake") or shutil.which("cmake", path=sysconfig.get_path("scripts"))
        if found is None:
            fail("no cmake found: install it (pip install cmake), or leave out --no-build-isolation")
        return found

    def get_outputs(self) -> list[str]:
        return [] if self.inplace or self.editable_mode else [str(self._target())]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        found = [path for pattern in ("**/*.cc", "**/*.h") for path in (ROOT / "runtime").glob(pattern)]
        return ["CMakeLists.txt", *sorted(str(path.relative_to(ROOT)) for path in found)]


def commands() -> dict[str, type]:
    classes: dict[str, type] = {"build_ext": BuildRuntime}
    try:
        from setuptools.command.bdist_wheel import bdist_wheel
    except ImportError:  # setuptools before 70.1 uses the wheel package's command: a tag per Python version, no harm
        return classes

    class PlatformWheel(bdist_wheel):
        """The runtime is loaded with ctypes: the wheel depends on the platform, not on the Python version."""

        def get_tag(self) -> tuple[str, str, str]:
            return "py3", "none", super().get_tag()[2]

    classes["bdist_wheel"] = PlatformWheel
    return classes


PACKAGES = packages()
VERSION = runpy.run_path(str(ROOT / "python" / "tvm_coexec" / "_version.py"))["__version__"]
SCRIPTS = ["tvmc = tvm_coexec_commands:tvmc", "coexec = tvm_coexec_commands:coexec"]

setup(
    name="tvm-coexec",
    version=VERSION,
    description="A Relay pass plug-in for TVM: CPU and GPU of one SoC work on the same operators at once",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["tvm", "relay", "opencl", "gpu", "co-execution", "heterogeneous computing", "inference", "deep learning"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C++",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Software Development :: Compilers",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=sorted(PACKAGES),
    py_modules=["tvm_coexec_commands"],
    package_dir={"": "python", **{name: folder for name, folder in MAPPED.items() if name in PACKAGES}},
    package_data={"": ["*.json", "py.typed"]},
    ext_modules=[RUNTIME],
    cmdclass=commands(),
    install_requires=REQUIRES,
    extras_require=EXTRAS | ON_REQUEST,
    entry_points={"console_scripts": SCRIPTS},
    zip_safe=False,
)
