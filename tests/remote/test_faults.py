"""Faults on a device that a stock RPC server drives: one message, and the session and the next module go on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm

import tvm_coexec
from tests import models
from tests.remote.servers import serving
from tvm_coexec import remote
from tvm_coexec.core.errors import one_line

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]


@pytest.fixture(scope="module")
def session() -> Iterator[tvm.rpc.RPCSession]:
    with serving(TVM_COEXEC_CACHE_DIR="off") as address:
        yield remote.connect(address, upload=True)


@pytest.fixture(scope="module")
def lib(session, tmp_path_factory) -> tvm.runtime.Module:
    path = str(tmp_path_factory.mktemp("net") / "net.so")
    tvm_coexec.build(models.residual_net(), ratio=0.5, profile="generic").export_library(path)
    session.upload(path)
    return session.load_module(os.path.basename(path))


def result_of(session: tvm.rpc.RPCSession, lib: tvm.runtime.Module, module: object = None) -> np.ndarray:
    module = module or tvm_coexec.create(lib, [session.cpu(), session.cl()])
    module.set_input(**models.input_of(models.residual_net()))
    module.run()
    return module.get_output(0).numpy()


@pytest.mark.parametrize("kind", ["build", "allocate", "launch", "event", "lost"])
def test_one_message_and_the_next_module_works(session, lib, kind):
    want = models.reference(models.residual_net(), models.input_of(models.residual_net()))
    functions = {
        n: session.get_function(f"tvm_coexec.opencl.{n}") for n in ("inject_fault", "clear_faults", "fault_hits")
    }
    # Programs are built, and memory is allocated, for a module that is new.
    module = None if kind in ("build", "allocate") else tvm_coexec.create(lib, [session.cpu(), session.cl()])
    if module:
        result_of(session, lib, module)
    before = functions["fault_hits"](kind)
    functions["inject_fault"](kind, 1, 1, 0)
    with pytest.raises(tvm.TVMError) as caught:
        result_of(session, lib, module)
    functions["clear_faults"]()
    assert functions["fault_hits"](kind) > before
    text = one_line(caught.value, 2000)
    assert "\n" not in text and "CL_" in text and "Traceback" not in text, text
    if module:
        models.assert_same([result_of(session, lib, module)], want)
    models.assert_same([result_of(session, lib)], want)
