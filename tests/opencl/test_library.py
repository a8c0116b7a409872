"""Where the runtime's library for a board is."""

from __future__ import annotations

import platform

import pytest

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import library, load


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a library for each machine."""
    monkeypatch.setattr(library, "library_path", lambda: tmp_path / load.LIBRARY_NAME)
    for folder in (tmp_path, *(tmp_path / target for target in library.TARGETS)):
        folder.mkdir(exist_ok=True)
        (folder / load.LIBRARY_NAME).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("triple", "folder"),
    [
        (None, ""),
        ("x86_64-pc-linux-gnu", ""),
        ("aarch64-linux-gnu", "aarch64-linux-gnu"),
        ("arm64-unknown-linux-gnu", "aarch64-linux-gnu"),
        ("aarch64-linux-android28", "aarch64-android"),
        ("arm64-none-linux-android", "aarch64-android"),
        ("aarch64-android", "aarch64-android"),
    ],
)
def test_each_triple_has_its_library(package, monkeypatch, triple, folder):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert library.library_for(triple) == package / folder / load.LIBRARY_NAME


def test_on_a_board_its_own_library_serves(package, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert library.library_for("aarch64-linux-gnu") == package / load.LIBRARY_NAME
    assert library.library_for("aarch64-linux-android30").parent.name == "aarch64-android"


@pytest.mark.parametrize(
    ("triple", "how"),
    [("aarch64-linux-gnu", "make runtime TARGET=aarch64-linux-gnu"), ("aarch64-linux-android28", "ANDROID_NDK set")],
)
def test_a_missing_library_says_how_it_is_built(package, monkeypatch, triple, how):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for target in library.TARGETS:
        (package / target / load.LIBRARY_NAME).unlink()
    with pytest.raises(CoExecError, match=how):
        library.library_for(triple)


@pytest.mark.parametrize(
    "triple", ["arm64-apple-ios", "armv7a-linux-gnueabihf", "aarch64-linux-musl", "x86_64-linux-android"]
)
def test_other_machines_have_none(package, monkeypatch, triple):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(CoExecError, match="it can for aarch64-linux-gnu and aarch64-android"):
        library.library_for(triple)
