"""Compiled models as files, and their inputs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm
from tvm import relay

from tests.models import conv_chain, input_of
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.executor.create import graph_json_of
from tvm_coexec.tracing.load import input_types, open_model, random_inputs, read_inputs

pytestmark = pytest.mark.llvm

OTHER_MACHINE = b"\xf3\x00"  # e_machine of RISC-V, little endian


@pytest.fixture(scope="module")
def lib():
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(conv_chain(), "llvm")


@pytest.fixture(scope="module")
def archive(lib, tmp_path_factory) -> str:
    """What ``tvmc compile`` writes."""
    folder = tmp_path_factory.mktemp("archive")
    lib.get_lib().export_library(str(folder / "mod.so"))
    (folder / "mod.json").write_text(lib.get_graph_json())
    (folder / "mod.params").write_bytes(relay.save_param_dict(lib.get_params()))
    with tarfile.open(folder / "net.tar", "w") as made:
        for name in ("mod.so", "mod.json", "mod.params"):
            made.add(folder / name, name)
    return str(folder / "net.tar")


def output(factory) -> np.ndarray:
    module = tvm.contrib.graph_executor.GraphModule(factory["default"](tvm.cpu()))
    module.set_input(**input_of(conv_chain()))
    module.run()
    return module.get_output(0).numpy()


@pytest.mark.slow
def test_all_kinds_of_files(lib, archive, tmp_path):
    for name in ("net.so", "net.tar"):
        lib.export_library(str(tmp_path / name))
    for path in (archive, str(tmp_path / "net.so"), str(tmp_path / "net.tar")):
        found = open_model(path)
        assert graph_json_of(found) == lib.get_graph_json()
        np.testing.assert_array_equal(output(found), output(lib))


@pytest.mark.parametrize("missing", ["mod.so", "mod.params"])
def test_incomplete_archives(archive, tmp_path, missing):
    path = str(tmp_path / "cut.tar")
    with tarfile.open(archive) as whole, tarfile.open(path, "w") as cut:
        for member in whole.getmembers():
            if member.name != missing:
                cut.addfile(member, whole.extractfile(member))
    with pytest.raises(CoExecError, match=f"it has no {missing}"):
        open_model(path)


@pytest.mark.parametrize("name", ["text.so", "text.tar", "text.onnx"])
def test_files_that_are_no_models(tmp_path, name):
    (tmp_path / name).write_text("text")
    with pytest.raises(CoExecError, match="is not a compiled model"):
        open_model(str(tmp_path / name))
    with pytest.raises(CoExecError, match="there is no file"):
        open_model(str(tmp_path / "none.so"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[: len(data) // 2], "it is cut off, it has"),
        (lambda data: data[:4], "it is cut off, it has only 4 bytes; compile or copy it again"),
        (
            lambda data: data[:18] + OTHER_MACHINE + data[20:],
            "it is for riscv64, not .*; compile the model for",
        ),
    ],
    ids=["half", "four bytes", "another machine"],
)
def test_libraries_that_this_machine_cannot_load(lib, archive, tmp_path, change, words):
    """The loader would end the process by SIGBUS, or call the file missing."""
    path = str(tmp_path / "net.so")
    lib.export_library(path)
    damaged = change(Path(path).read_bytes())
    Path(path).write_bytes(damaged)
    with pytest.raises(CoExecError, match=f"^{path} can't be loaded: {words}"):
        open_model(path)
    with tarfile.open(archive) as whole, tarfile.open(tmp_path / "net.tar", "w") as made:
        for member in whole.getmembers():
            data = whole.extractfile(member).read()
            data = change(data) if member.name == "mod.so" else data
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    with pytest.raises(CoExecError, match=f"net.tar: its mod.so can't be loaded: {words}"):
        open_model(str(tmp_path / "net.tar"))


def test_a_runtime_that_is_missing_is_named(tmp_path):
    """In a process of its own: what serves OpenCL is decided when it is first used."""
    mod = conv_chain()
    with tvm.transform.PassContext(opt_level=3):
        relay.build(mod, tvm.target.Target("opencl", host="llvm")).export_library(str(tmp_path / "net.so"))
    code = "import sys\nfrom tvm_coexec.tracing.load import open_model\nopen_model(sys.argv[1])"
    for value, words in (("none", "TVM_COEXEC_OPENCL is 'none': it must be own or tvm"), ("tvm", "OpenCL")):
        environment = dict(os.environ, TVM_COEXEC_OPENCL=value)
        command = [sys.executable, "-c", code, str(tmp_path / "net.so")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 1 and "net.so can't be loaded: it needs OpenCL, and " in last, done.stderr
        assert words in last and "not a compiled model" not in last


def test_random_inputs_are_those_of_the_seed(lib):
    assert input_types(lib) == {"x": ((1, 8, 14, 14), "float32")}
    one, same, other = (random_inputs(lib, seed)["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.dtype == np.float32 and not np.array_equal(one, other)


def test_inputs_of_a_file(lib, tmp_path):
    path = str(tmp_path / "in.npz")
    want = input_of(conv_chain())
    np.savez(path, **want)
    np.testing.assert_array_equal(read_inputs(path, lib)["x"], want["x"])


def test_inputs_of_other_types_and_names(tmp_path):
    types = {"größe": ((2, 3), "int8"), "マスク": ((2, 3), "bool"), "leer": ((0, 3), "float32")}
    params = [relay.var(name, shape=shape, dtype=dtype) for name, (shape, dtype) in types.items()]
    fields = relay.split(params[0], 3, axis=1)  # a node of several outputs: nodes and tensors count differently
    body = relay.Tuple([relay.where(params[1], params[0], relay.negative(params[0])), fields[1], params[2]])
    lib = relay.build(tvm.IRModule.from_expr(relay.Function(params, body)), "llvm")
    assert input_types(lib) == types
    made = random_inputs(lib)
    assert {name: (value.shape, value.dtype.name) for name, value in made.items()} == types
    np.savez(tmp_path / "in.npz", **made)
    for name, value in read_inputs(str(tmp_path / "in.npz"), lib).items():
        np.testing.assert_array_equal(value, made[name])


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({}, "has no input 'x'"),
        ({"x": np.zeros((1, 8, 14, 14), "float32"), "y": np.zeros(1)}, "no input 'y'; it takes x"),
        (
            {"x": np.zeros((1, 8, 14), "float32")},
            r"'x' is float32\[1, 8, 14\], the model takes float32\[1, 8, 14, 14\]",
        ),
        ({"x": np.zeros((1, 8, 14, 14), "int64")}, "'x' is int64"),
    ],
)
def test_inputs_that_do_not_fit(lib, tmp_path, stored, words):
    np.savez(tmp_path / "in.npz", **stored)
    with pytest.raises(CoExecError, match=words):
        read_inputs(str(tmp_path / "in.npz"), lib)


def test_no_npz(lib, tmp_path):
    (tmp_path / "in.npz").write_text("text")
    for name in ("in.npz", "none.npz"):
        with pytest.raises(CoExecError, match=r"is not a complete \.npz file"):
            read_inputs(str(tmp_path / name), lib)
