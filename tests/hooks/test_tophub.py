"""TopHub without a network, with a mirror, and with a server that does not answer."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time

import pytest

from tvm_coexec.hooks import tophub

pytestmark = pytest.mark.llvm

PACKAGE = "opencl_v0.04.log"


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    from tvm.autotvm import tophub as tvms

    monkeypatch.setattr(tvms, "AUTOTVM_TOPHUB_ROOT_PATH", tmp_path / "kept")
    monkeypatch.setattr(tvms, "REFERENCE_LOG_CACHE", {})
    monkeypatch.setitem(tvms.PACKAGE_VERSION, "opencl", "v0.04")
    was_installed = bool(tophub._original)
    tophub.uninstall()
    tophub.install()
    yield tvms
    tophub.uninstall()
    if was_installed:
        tophub.install()


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_an_unreachable_location_is_tried_once_and_reported_once(installed, closed_port, caplog):
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        assert not installed.check_backend(closed_port, "opencl")
        assert not installed.check_backend(closed_port, "llvm")
        installed.download_package(closed_port, PACKAGE)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "TOPHUB_LOCATION=NONE" in caplog.text


def test_relay_build_for_opencl_goes_on_without_tophub(installed, closed_port, monkeypatch):
    import tvm
    from tvm import relay

    monkeypatch.setenv("TOPHUB_LOCATION", closed_port)
    data, weight = relay.var("data", shape=(1, 8, 16, 16)), relay.var("weight", shape=(8, 1, 3, 3))
    conv = relay.nn.conv2d(data, weight, padding=(1, 1), channels=8, groups=8, kernel_size=(3, 3))
    module = tvm.IRModule.from_expr(relay.Function([data, weight], conv))
    # intel_graphics: its depthwise schedule reads the reference logs, where TVM itself lets the error through.
    target = tvm.target.Target("opencl -device=intel_graphics", host="llvm")
    assert relay.build(module, target).get_lib() is not None


def test_reference_logs_are_empty_without_tophub(installed, closed_port, monkeypatch):
    monkeypatch.setenv("TOPHUB_LOCATION", closed_port)
    assert installed.load_reference_log("opencl", "unknown", "conv2d_nchw.cuda") == []
    tophub.uninstall()
    installed.REFERENCE_LOG_CACHE.clear()
    with pytest.raises(OSError, match="Connection refused"):  # what the hook prevents
        installed.load_reference_log("opencl", "unknown", "conv2d_nchw.cuda")


def test_a_silent_server_is_given_up_soon(installed, monkeypatch):
    monkeypatch.setattr(tophub, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        location = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        assert not installed.check_backend(location, "opencl")
        assert not installed.check_backend(location, "llvm")
        # One attempt of 0.3 s; without the limit it would be minutes. The bound leaves room for a busy machine.
        assert time.monotonic() - start < 10


def test_a_mirror_is_used_and_kept(installed, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / PACKAGE).write_text("records\n")
    assert installed.check_backend(mirror.as_uri(), "opencl")
    kept = installed.AUTOTVM_TOPHUB_ROOT_PATH / PACKAGE
    assert kept.read_text() == "records\n"
    assert [entry.name for entry in kept.parent.iterdir()] == [PACKAGE]
    # What is kept needs no location any more.
    assert installed.check_backend("http://nowhere.invalid", "opencl")
    # A package that the mirror lacks says nothing about the others.
    assert not installed.check_backend(mirror.as_uri(), "llvm")
    (mirror / f"cuda_{installed.PACKAGE_VERSION['cuda']}.log").write_text("records\n")
    assert installed.check_backend(mirror.as_uri(), "cuda")


def test_a_missing_package_is_no_missing_network(installed, tmp_path):
    (tmp_path / PACKAGE).write_text("records\n")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        location = f"http://127.0.0.1:{server.server_address[1]}"
        assert not installed.check_backend(location, "llvm")
        assert installed.check_backend(location, "opencl")
        server.shutdown()


def test_a_folder_that_cannot_be_written_is_no_error(installed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(installed, "AUTOTVM_TOPHUB_ROOT_PATH", tmp_path / "file" / "kept")
    (tmp_path / PACKAGE).write_text("records\n")
    assert not installed.check_backend(tmp_path.as_uri(), "opencl")


def test_installing_twice_and_uninstalling_restores_tvm(installed):
    tophub.install()
    ours = installed.check_backend
    tophub.uninstall()
    assert installed.check_backend is not ours
    assert installed.check_backend.__module__ == "tvm.autotvm.tophub"
