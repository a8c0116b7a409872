"""``--target`` brought into the form that TVM reads as a GPU with its host, without compiling anything."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tvm_coexec import CoExecError

pytestmark = pytest.mark.llvm


@pytest.mark.parametrize(
    ("text", "arranged"),
    [
        ("llvm, opencl", "opencl, llvm"),
        ("opencl, llvm", "opencl, llvm"),
        ("llvm,opencl", "opencl, llvm"),
        ("  opencl ,llvm -mcpu=core-avx2  ", "opencl, llvm -mcpu=core-avx2"),
        (
            "llvm -mattr=+avx2,+fma -mcpu=haswell, opencl -device=mali",
            "opencl -device=mali, llvm -mattr=+avx2,+fma -mcpu=haswell",
        ),
        ("llvm -keys=cpu,opencl, opencl", "opencl, llvm -keys=cpu,opencl"),
        ("coexec -ratio=0.5, llvm, opencl", "opencl, llvm"),
        ("cmsis-nn, llvm, opencl", "cmsis-nn, opencl, llvm"),
        ("opencl -host=llvm", "opencl -host=llvm"),
        ("c, opencl", "opencl, c"),
    ],
)
def test_order(text, arranged):
    from tvm_coexec.tvmc.target_text import arrange

    assert arrange(text) == arranged


@pytest.mark.parametrize(
    ("text", "options", "arranged", "notes"),
    [
        ("opencl", {}, "opencl, llvm", ["names no CPU"]),
        ("opencl", {"llvm": {"mcpu": "core-avx2"}}, "opencl, llvm", []),
        ("llvm", {}, "opencl, llvm", ["names no GPU"]),
        ("coexec", {}, "opencl, llvm", ["names no GPU", "names no CPU"]),
        ("", {}, "opencl, llvm", ["names no GPU", "names no CPU"]),
        (None, {}, "opencl, llvm", ["names no GPU", "names no CPU"]),
    ],
)
def test_what_is_missing_is_filled_in(text, options, arranged, notes, caplog):
    from tvm_coexec.tvmc.target_text import arrange

    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        assert arrange(text, options) == arranged
    assert len(caplog.messages) == len(notes)
    assert all(note in message for note, message in zip(notes, caplog.messages, strict=True))


def test_json_inline_and_in_a_file(tmp_path, monkeypatch):
    from tvm_coexec.tvmc.target_text import devices_of, from_json

    monkeypatch.chdir(tmp_path)
    text = json.dumps({"kind": "opencl", "device": "mali", "host": {"kind": "llvm", "mcpu": "core-avx2"}})
    Path("target.json").write_text(text + "\n")
    for given in (text, "target.json"):
        cpu, gpu = devices_of(from_json(given))
        assert (cpu.kind.name, cpu.mcpu, gpu.kind.name) == ("llvm", "core-avx2", "opencl")
        assert gpu.attrs["device"] == "mali"
    assert from_json("llvm, opencl") is None
    Path("broken.json").write_text("{")
    with pytest.raises(CoExecError, match=r"broken\.json"):
        from_json("broken.json")


def test_options_in_a_target():
    from tvm_coexec.tvmc.options import from_target, pass_options
    from tvm_coexec.tvmc.target_text import codegen_options

    given = from_target(codegen_options("coexec -ratio=0.5 -min-gain=0.1, opencl, llvm"))
    assert given == {"ratio": "0.5", "min_gain": "0.1"}
    assert pass_options(given) == {"ratio": 0.5, "min_gain": 0.1}
    given = from_target(codegen_options("coexec -objective=energy -bandwidth=1e8 -strategy=neurosurgeon, opencl, llvm"))
    assert pass_options(given) == {"objective": "energy", "bandwidth": 1e8, "strategy": "neurosurgeon"}
    assert codegen_options("opencl, llvm") is None and codegen_options(None) is None
    with pytest.raises(CoExecError, match="no option 'ratio'"):
        from_target({"ratio": True})
