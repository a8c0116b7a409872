"""Faults on the device through the C API: one sentence, and the module and the next one work."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm_coexec
from tests import models
from tests.runtime import process

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

# Each fault hits the next such call of the driver. A build is that of the first run.
KINDS = ("build", "allocate", "launch", "copy", "event", "lost")

CODE = """
import ctypes
import numpy as np
from tests import models
from tvm_coexec.opencl import load, runtime
runtime.install()
api = load._state.library
for name, result in (("open", ctypes.c_void_p), ("error", ctypes.c_char_p), ("run", ctypes.c_int)):
    getattr(api, "tvm_coexec_" + name).restype = result
for name in ("close", "run"):
    getattr(api, "tvm_coexec_" + name).argtypes = [ctypes.c_void_p]
for name in ("set_input", "get_output"):
    f = getattr(api, "tvm_coexec_" + name)
    f.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
image = models.input_of(models.residual_net())["x"]

def outcome(module=None):
    "The numbers of a run, or the error."
    own = module is None
    module = module or api.tvm_coexec_open({path!r}.encode(), 0)
    out = np.zeros({size}, "float32")
    try:
        ok = module and not api.tvm_coexec_set_input(module, 0, image.ctypes.data, image.nbytes)
        ok = ok and not api.tvm_coexec_run(module)
        ok = ok and not api.tvm_coexec_get_output(module, 0, out.ctypes.data, out.nbytes)
        return out.tolist() if ok else api.tvm_coexec_error().decode()
    finally:
        if own and module:
            api.tvm_coexec_close(module)

found = {{}}
for kind in {kinds!r}:
    module = None if kind in ("build", "allocate") else api.tvm_coexec_open({path!r}.encode(), 0)
    if module:
        outcome(module)
    runtime.inject_fault(kind)
    failed = outcome(module)
    runtime.clear_faults()
    found[kind] = [failed, outcome(module), outcome(), runtime.fault_hits(kind)]
report(found)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("net") / "net.so")
    tvm_coexec.build(models.residual_net(), ratio=0.5, profile="generic").export_library(path)
    return path


@pytest.mark.parametrize("mode", ["fine", "buffer"])
def test_one_sentence_and_the_next_run_works(exported, mode):
    (want,) = models.reference(models.residual_net(), models.input_of(models.residual_net()))
    code = CODE.format(path=exported, size=want.size, kinds=KINDS)
    options = {"TVM_COEXEC_OPENCL_MEMORY": mode, "TVM_COEXEC_CACHE_DIR": "off"}
    for kind, (error, again, other, hits) in process.run(code, **options).items():
        if not hits:  # tensors that devices share need no copies
            assert kind == "copy" and mode == "fine"
            continue
        assert isinstance(error, str) and "\n" not in error and "Stack trace" not in error, (kind, error)
        assert "OpenCL" in error or "CL_" in error, (kind, error)
        for numbers in (again, other):
            assert not isinstance(numbers, str), (kind, numbers)
            models.assert_same([np.array(numbers, "float32")], [want.ravel()])
