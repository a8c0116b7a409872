"""TVM's many-line errors as one line, and files that appear complete or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tvm_coexec import CoExecError

pytestmark = pytest.mark.llvm

FROM_CPP = """Traceback (most recent call last):
  2: TVMFuncCall
  1: tvm::Something(int, tvm::Error: x)
  File "somewhere/target.cc", line 571
ValueError: Target kind "x" is not defined.
Target creation from string failed: x
"""
CHECK = """Error converting layouts: Traceback (most recent call last):
  File "convert_layout.cc", line 99
InternalError: Check failed: (ok) is false: XYZ is no layout"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (FROM_CPP, 'Target kind "x" is not defined. Target creation from string failed: x'),
        (CHECK, "Error converting layouts: Check failed: (ok) is false: XYZ is no layout"),
        ("first:\n  second\n\nthird", "first: second third"),
        ("Error caught from RPC call:\n", "Error caught from RPC call"),
        ("", "ValueError"),
    ],
)
def test_one_line(text, line):
    from tvm_coexec.core.errors import one_line

    assert one_line(ValueError(text)) == line


def test_long_lists_are_cut():
    from tvm_coexec.core.errors import LONGEST, one_line

    text = one_line(ValueError("known: " + "name " * 1000))
    assert text.startswith("known: name") and text.endswith(" ...") and len(text) <= LONGEST


def test_staged_files_come_together(tmp_path):
    from tvm_coexec.tvmc.staging import StagedFiles

    (tmp_path / "there").mkdir()
    mask = os.umask(0)
    os.umask(mask)
    with StagedFiles() as files:
        paths = [files.stage(str(tmp_path / name)) for name in ("a.txt", "there/b.txt")]
        for path in paths:
            Path(path).write_text("new")
        Path(f"{paths[0]}.dump").write_text("next to it")
        with pytest.raises(CoExecError, match="two outputs have the same file"):
            files.stage(str(tmp_path / "there" / ".." / "a.txt"))
        assert not (tmp_path / "a.txt").exists()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.txt", "a.txt.dump", "b.txt", "there"]
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_staged_files_vanish_on_an_error(tmp_path):
    from tvm_coexec.tvmc.staging import StagedFiles

    (tmp_path / "a.txt").write_text("old")

    def fail() -> None:
        with StagedFiles() as files:
            Path(files.stage(str(tmp_path / "a.txt"))).write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_place_lost_meanwhile_is_named(tmp_path):
    from tvm_coexec.tvmc.staging import StagedFiles

    def lose_place() -> None:
        with StagedFiles() as files:
            Path(files.stage(str(tmp_path / "a.txt"))).write_text("new")
            (tmp_path / "a.txt").mkdir()

    with pytest.raises(CoExecError, match=r"can't write .*a\.txt: Is a directory"):
        lose_place()
    assert os.listdir(tmp_path) == ["a.txt"]
