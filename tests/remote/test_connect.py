"""A stock RPC server becomes one with both devices: the runtime is uploaded and loaded there."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm

import tvm_coexec
from tests import models
from tests.cli.conftest import coexec  # noqa: F401 (a fixture)
from tests.cli.test_predict import model_file  # noqa: F401 (a fixture)
from tests.remote.servers import serving, tracked
from tests.tvmc.test_remote import tracker  # noqa: F401 (a fixture)
from tvm_coexec import CoExecError, remote
from tvm_coexec.opencl import runtime
from tvm_coexec.remote import libraries
from tvm_coexec.remote import runtime as there
from tvm_coexec.remote import session as sessions

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("net") / "net.so")
    tvm_coexec.build(models.residual_net(), ratio=0.5, profile="generic").export_library(path)
    return path


def test_the_command_describes_the_board(coexec, address, tmp_path):  # noqa: F811
    done = coexec("connect", address, "--json", tmp_path / "board.json")
    assert done.code == 0 and done.err == "", done
    device = runtime.devices()[0]
    assert done.out.startswith(f"{address} (") and f"runtime: tvm-coexec {tvm_coexec.__version__}" in done.out
    assert f"memory mode: {device.memory_mode}" in done.out and "wait method: " in done.out and "clock: " in done.out
    board = json.loads((tmp_path / "board.json").read_text())
    assert board["opencl"] == "own" and board["round_trip_s"] > 0 and board["devices"][0]["name"] == device.name
    assert board["devices"][0]["clock_ns"] > 0 and board["devices"][0]["wait"]["method"] in ("event", "poll", "flag")


def test_without_upload_the_server_is_as_it_was(coexec, address):  # noqa: F811
    done = coexec("connect", address, "--no-upload")
    assert done.code == 2 and "runtime: none of this package" in done.out and done.err.count("\n") == 1
    assert "no OpenCL device: the server's TVM has no OpenCL runtime" in done.err


def test_a_module_runs_there_as_here(session, exported):
    inputs = models.input_of(models.residual_net())
    gc.collect()  # the module of the library: it must stay loaded without it
    session.upload(exported)
    lib = session.load_module(os.path.basename(exported))
    results = []
    for module in (
        tvm_coexec.create(lib, [session.cpu(), session.cl()]),
        tvm_coexec.create(tvm.runtime.load_module(exported)),
    ):
        module.set_input(**inputs)
        module.run()
        results.append(module.get_output(0).numpy())
    np.testing.assert_array_equal(*results)
    models.assert_same([results[0]], models.reference(models.residual_net(), inputs))
    stats = json.loads(session.get_function("tvm_coexec.opencl.stats")())
    assert stats["launches"] > 0
    if runtime.devices()[0].memory_mode == "fine":
        assert stats["copies_elided"] > 0  # tensors that cross between the devices are stored once


def test_a_network_on_two_places(coexec, address, model_file):  # noqa: F811
    done = coexec("places", model_file, "--cut", 2, "--remote", address, "--there", "opencl", "--repeats", 1)
    assert done.code == 0 and "there  opencl" in done.out and "together: " in done.out, done


def test_a_server_that_serves_another_session(coexec, address, monkeypatch):  # noqa: F811
    monkeypatch.setattr(sessions, "BUSY_S", 0.2)
    monkeypatch.setattr(sessions, "BUSY_LIMIT_S", 1.0)
    first = remote.connect(address)
    done = coexec("connect", address, "--no-upload")
    waits, gave_up = done.err.splitlines()
    assert done.code == 2 and waits.endswith(f"server {address} serves another session, or hangs; waiting for it")
    assert f"the RPC server {address} opened no session within 1 s: it serves another one" in gave_up
    # The server opens the session whose client has given up; it is closed at once.
    threading.Timer(1.0, remote.close, [first]).start()
    remote.close(remote.connect(address, wait_s=60.0))


def test_it_is_loaded_once_in_a_session(session, monkeypatch):
    monkeypatch.setattr(there, "_try_load", lambda *_: pytest.fail("it is loaded already"))
    remote.load_runtime(session)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (slice(18, 20), b"\xb7\x00", "the server's machine is another one"),
        (slice(4, 5), b"\x01", "the server's machine is another one"),
        (slice(0, 4), b"none", "the file arrived damaged"),
        (slice(0, 10**9), b"", "the file arrived incomplete"),
        (slice(4096, 10**9), b"", "the process of the session ended"),
    ],
    ids=["machine", "class", "garbage", "empty", "cut"],
)
def test_a_file_that_the_server_cannot_load(address, tmp_path, monkeypatch, old, new, text):
    blob = bytearray(runtime.library_path().read_bytes())
    blob[old] = new
    path = tmp_path / "other.so"
    path.write_bytes(blob)
    monkeypatch.setattr(there, "libraries_for", lambda triple: [libraries.Library(path, "x")])
    with pytest.raises(CoExecError, match=text) as caught:
        remote.connect(address, upload=True)
    assert "\n" not in str(caught.value) and "Check failed" not in str(caught.value)
    remote.close(remote.connect(address))  # the server serves the next client


def test_a_machine_without_a_build_is_refused_before_the_upload(address, monkeypatch):
    monkeypatch.setattr(there, "_TRIPLE", "tvm_coexec.no_such_function")
    monkeypatch.setattr(there, "libraries", lambda: [])
    with pytest.raises(CoExecError, match="no build of the runtime for the RPC server's machine, unknown"):
        remote.connect(address, upload=True)
    monkeypatch.undo()
    monkeypatch.setattr(there, "libraries_for", lambda triple: libraries.libraries_for(f"riscv64-{triple}"))
    with pytest.raises(CoExecError, match="make runtime TARGET="):
        remote.connect(address, upload=True)


def test_without_a_triple_every_build_is_tried(address, tmp_path, monkeypatch):
    blob = bytearray(runtime.library_path().read_bytes())
    blob[18:20] = b"\xb7\x00"
    (tmp_path / "other.so").write_bytes(blob)
    both = [libraries.Library(tmp_path / "other.so", "aarch64"), *libraries.libraries()]
    monkeypatch.setattr(there, "_TRIPLE", "tvm_coexec.no_such_function")
    monkeypatch.setattr(there, "libraries", lambda: both)
    session = remote.connect(address, upload=True)
    assert remote.describe(session).opencl == "own"
    remote.close(session)


def test_a_server_that_may_not_write(address, monkeypatch):
    monkeypatch.setattr(there, "LIBRARY_NAME", "no/such/folder.so")
    with pytest.raises(CoExecError, match=r"does not take the runtime library .*Cannot open"):
        remote.connect(address, upload=True)


def test_a_server_with_another_version_is_used_as_it_is(session, monkeypatch, caplog):
    monkeypatch.setattr(there, "__version__", "99.0")
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        monkeypatch.setattr(logging.getLogger("tvm_coexec"), "propagate", True)
        remote.load_runtime(session)
    assert f"has version {tvm_coexec.__version__} of this package's runtime, this is version 99.0" in caplog.text


def test_an_older_runtime_there_is_used_as_it_is(session, monkeypatch, caplog):
    monkeypatch.setattr(there, "INFO", "tvm_coexec.no_such_function")
    monkeypatch.setattr(there, "_try_load", lambda *_: pytest.fail("it has one"))
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        monkeypatch.setattr(logging.getLogger("tvm_coexec"), "propagate", True)
        remote.load_runtime(session)
    assert "an older version of this package's runtime" in caplog.text


def test_a_server_with_opencl_goes_on_without_the_runtime(session, monkeypatch, caplog):
    monkeypatch.setattr(there, "INFO", "tvm_coexec.no_such_function")
    monkeypatch.setattr(there, "CREATE", "tvm_coexec.no_such_function")
    monkeypatch.setattr(there, "libraries_for", lambda triple: [])
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        monkeypatch.setattr(logging.getLogger("tvm_coexec"), "propagate", True)
        remote.load_runtime(session)  # the session has the device
    assert "no build of the runtime" in caplog.text and "TVM's own OpenCL runtime is used there" in caplog.text


def test_a_server_without_an_opencl_driver(coexec):  # noqa: F811
    with serving(TVM_COEXEC_LIBOPENCL="/no/libOpenCL.so") as address:
        done = coexec("connect", address)
    assert done.code == 2 and "OpenCL: the runtime of tvm-coexec" in done.out and done.err.count("\n") == 1
    assert "the server has no OpenCL device: " in done.err and "/no/libOpenCL.so" in done.err


def test_a_server_of_this_package_needs_no_upload(coexec, monkeypatch):  # noqa: F811
    monkeypatch.setattr(there, "_try_load", lambda *_: pytest.fail("the server has it"))
    with serving("tvm_coexec.rpc_server") as address:
        done = coexec("connect", address)
    assert done.code == 0 and "memory mode: " in done.out, done.err


def test_a_server_that_dies(coexec, monkeypatch):  # noqa: F811
    with serving() as address:
        session = remote.connect(address, upload=True)
    with pytest.raises(CoExecError, match="does not describe its devices: the connection broke"):
        remote.describe(session)
    done = coexec("connect", address)
    assert done.code == 2 and "can't be reached" in done.err and done.err.count("\n") == 1


def test_a_server_that_ends_after_its_check():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:

        def answer_once() -> None:
            server.accept()[0].close()
            server.close()

        pool.submit(answer_once)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(CoExecError, match=rf"^the RPC server {address} can't be reached"):
            remote.connect(address)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "no server is named"),
        (["nowhere"], "is not of the form HOST:PORT"),
        (["127.0.0.1:1", "--rpc-key", "board"], "leave --rpc-tracker and --rpc-key out"),
        (["127.0.0.1:1", "--json", "no/board.json"], "can't be reached"),
    ],
)
def test_what_users_get_wrong(coexec, argv, text):  # noqa: F811
    done = coexec("connect", *argv)
    assert done.code == 2 and text in done.err and done.err.count("\n") == 1 and done.out == ""


def test_a_server_of_a_tracker_and_a_tracker_are_no_servers(coexec, tracker):  # noqa: F811
    with tracked(tracker, "board") as process:
        port = process.args[process.args.index("--port") + 1]
        done = coexec("connect", f"127.0.0.1:{port}")
        assert done.code == 2 and "it serves under a key, for a tracker: give the tracker's HOST:PORT" in done.err
        done = coexec("connect", tracker)
        assert done.code == 2 and "it is no RPC server; of a tracker, give the device's key as well" in done.err


def test_builds_for_other_machines_are_found_by_their_header(tmp_path, monkeypatch):
    blob = bytearray(runtime.library_path().read_bytes())
    for number, folder in ((183, "aarch64-linux-gnu"), (183, "aarch64-android"), (243, "riscv64-linux-gnu")):
        blob[18:20] = bytes([number, 0])
        (tmp_path / folder).mkdir()
        (tmp_path / folder / runtime.LIBRARY_NAME).write_bytes(blob)
    monkeypatch.setattr(libraries, "library_path", lambda: Path(tmp_path) / runtime.LIBRARY_NAME)
    targets = [lib.target for lib in libraries.libraries_for("arm64-unknown-linux-android31")]
    assert targets == ["aarch64-android", "aarch64-linux-gnu"]
    assert [lib.target for lib in libraries.libraries_for("aarch64-linux-gnu")] == targets[::-1]
    assert libraries.libraries_for("x86_64-unknown-linux-gnu") == []
