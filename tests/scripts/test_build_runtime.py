"""`make runtime TARGET=...`: compilers, options, and what is said if one is missing. tests/runtime builds a library."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scripts import build_runtime

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANDROID_NDK", "ANDROID_API", "ANDROID_STL", "CXX_TARGET", "TVM_RUNTIME", "TVM_HOME"):
        monkeypatch.delenv(name, raising=False)


def make_compiler(path: Path, machine: int = build_runtime.AARCH64) -> Path:
    """A compiler that records how it is called and writes files that begin as ELF files of a machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"open({str(path.with_suffix('.log'))!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "out = sys.argv[sys.argv.index('-o') + 1]\n"
        f"open(out, 'wb').write(b'\\x7fELF\\x02\\x01' + bytes(12) + bytes([{machine}, 0]) + bytes(44))\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for api in (24, 30):
        make_compiler(tmp_path / f"ndk/toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android{api}-clang++")
    monkeypatch.setenv("ANDROID_NDK", str(tmp_path / "ndk"))
    return tmp_path / "ndk"


def message(target: str, capsys: pytest.CaptureFixture) -> str:
    assert build_runtime.main([target]) == 1
    text = capsys.readouterr().err
    assert text.startswith("runtime: ") and text.count("\n") == 1
    return text


def test_what_is_missing_is_one_sentence(monkeypatch, capsys, tmp_path):
    assert "use aarch64-linux-gnu or aarch64-android" in message("mips-linux-gnu", capsys)
    assert "set ANDROID_NDK to its folder" in message("aarch64-android", capsys)
    monkeypatch.setenv("ANDROID_NDK", str(tmp_path))
    text = message("aarch64-android", capsys)
    assert str(tmp_path) in text and "aarch64-linux-android24-clang++" in text and "unpacked NDK" in text
    monkeypatch.setenv("CXX_TARGET", "no-such-g++")
    assert "CXX_TARGET=no-such-g++: there is no such command" in message("aarch64-linux-gnu", capsys)
    monkeypatch.delenv("CXX_TARGET")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install g++-aarch64-linux-gnu" in message("aarch64-linux-gnu", capsys)


def test_android_needs_a_level_and_a_library_that_exist(ndk, monkeypatch, capsys):
    monkeypatch.setenv("ANDROID_API", "99")
    assert "set ANDROID_API to one of 24 to 30" in message("aarch64-android", capsys)
    monkeypatch.setenv("ANDROID_API", "30")
    monkeypatch.setenv("ANDROID_STL", "gnustl")
    assert "use c++_static or c++_shared" in message("aarch64-android", capsys)
    monkeypatch.delenv("ANDROID_STL")
    monkeypatch.setenv("TVM_RUNTIME", sys.executable)
    assert "TVM_RUNTIME" in message("aarch64-android", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("stl", ["c++_static", "c++_shared"])
def test_android_is_built_by_the_ndks_compiler(ndk, monkeypatch, tmp_path, stl):
    """The command lines that the compiler gets; what it writes here is only the beginning of a library."""
    monkeypatch.setenv("ANDROID_STL", stl)
    tvm = tmp_path / "libtvm4j_runtime_packed.so"
    tvm.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + bytes([build_runtime.AARCH64, 0]) + bytes(44))
    monkeypatch.setenv("TVM_RUNTIME", str(tvm))
    skip_checks = [
        "-DCMAKE_CXX_COMPILER_WORKS=1",
        "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON",
        "-DCMAKE_HAVE_LIBC_PTHREAD=1",
    ]
    library = build_runtime.build("aarch64-android", tmp_path / "lib", tmp_path / "build", skip_checks)
    assert library == tmp_path / "lib" / build_runtime.LIBRARY_NAME
    compiler = ndk / "toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android24-clang++"
    commands = compiler.with_suffix(".log").read_text().splitlines()
    compiled = [line for line in commands if " -c " in line]
    sources = list((ROOT / "runtime/src").rglob("*.cc"))
    assert all(any(str(source) in line for line in compiled) for source in sources)
    assert not [line for line in compiled if "-march" in line or "-mcpu" in line]
    (link,) = [line for line in commands if "-shared" in line]
    assert "max-page-size=65536" in link and "-ltvm4j_runtime_packed" in link and "rpath" not in link
    assert ("-static-libstdc++" in link) is (stl == "c++_static")


@pytest.mark.slow
def test_a_compiler_for_another_machine_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CXX_TARGET", str(make_compiler(tmp_path / "my-g++", machine=62)))
    skip_checks = [
        "-DCMAKE_CXX_COMPILER_WORKS=1",
        "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON",
        "-DCMAKE_HAVE_LIBC_PTHREAD=1",
    ]
    with pytest.raises(build_runtime.BuildError, match="does not compile for aarch64-linux-gnu"):
        build_runtime.build("aarch64-linux-gnu", tmp_path / "lib", tmp_path / "build", skip_checks)
    assert not os.path.exists(tmp_path / "lib" / build_runtime.LIBRARY_NAME)
