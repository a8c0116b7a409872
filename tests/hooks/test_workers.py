"""Worker processes of TVM have the runtime, unless the hook is off or they can't import the package."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tvm_coexec import hooks
from tvm_coexec.hooks import workers

pytestmark = pytest.mark.llvm

# What a worker has, as JSON: global functions of TVM, and whether an OpenCL library is loaded.
LOOK = """
import json, sys, tvm
names = ["tvm_coexec.opencl.runtime", "target.build.opencl", "tvm_callback_opencl_postproc"]
found = [name for name in names if tvm.get_global_func(name, allow_missing=True) is not None]
from tvm.autotvm.task import DispatchContext
found += [type(DispatchContext.current).__name__]
found += [name for name in ("libOpenCL", "libpocl") if name in open("/proc/self/maps").read()]
"""


@pytest.fixture
def installed() -> Iterator[None]:
    workers.install()
    yield
    workers.install()


def found_in_worker() -> list[str]:
    from tvm.contrib.popen_pool import PopenWorker

    worker = PopenWorker()
    try:
        worker.send(eval, ("exec(code, there) or there['found']", {"code": LOOK, "there": {}}))
        return worker.recv()
    finally:
        worker.kill()


@pytest.mark.slow
def test_a_worker_has_the_runtime_and_opens_no_driver(installed):
    workers.install()
    found = found_in_worker()
    assert {"target.build.opencl", "tvm_callback_opencl_postproc", "SharesContext"} <= set(found)
    assert not {"libOpenCL", "libpocl"} & set(found)


@pytest.mark.slow
def test_the_environment_selects_the_hooks_of_a_worker(installed, monkeypatch):
    monkeypatch.setenv(hooks.VARIABLE, "postprocess")
    assert {"tvm_callback_opencl_postproc", "FallbackContext"} <= set(found_in_worker())


@pytest.mark.slow
def test_a_worker_that_cannot_import_the_package_works(installed, monkeypatch, tmp_path, caplog):
    (tmp_path / "tvm_coexec.py").write_text("raise ImportError('not for this process')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        assert "FallbackContext" in found_in_worker()
    assert [r.getMessage() for r in caplog.records] == [
        "a worker process of TVM can't import tvm_coexec and works without it: not for this process"
    ]


@pytest.mark.slow
def test_a_worker_that_ends_at_once_is_an_error_of_its_task(installed, monkeypatch, tmp_path):
    (tmp_path / "tvm_coexec.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(ChildProcessError):
        found_in_worker()


def test_uninstalling_restores_tvm(installed):
    import tvm.rpc.server
    from tvm.contrib.popen_pool import PopenWorker

    workers.uninstall()
    workers.uninstall()
    assert PopenWorker._start.__module__ == "tvm.contrib.popen_pool"
    assert tvm.rpc.server._serve_loop.__module__ == "tvm.rpc.server"
