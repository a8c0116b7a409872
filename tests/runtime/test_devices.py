"""Several devices: pocl provides two on one machine."""

from __future__ import annotations

import functools

import pytest

from tests.runtime import process

TWO = {"POCL_DEVICES": "pthread basic"}
PRELUDE = """
import numpy as np, tvm
from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime
ADD = "__kernel void add(__global float* a, __global float* b) { int i = get_global_id(0); b[i] = a[i] + 1.0f; }"
add = runtime.source_module(ADD, "add", ["handle", "handle"])["add"]
x = np.arange(64, dtype="float32")
"""


NAMES = "from tvm_coexec.opencl import runtime\nreport([d.name.split('-')[0] for d in runtime.devices()])"


@functools.lru_cache(maxsize=1)
def names() -> list[str]:
    """Return the devices in the driver's order."""
    code = "from tvm_coexec.opencl import runtime\nreport([d.platform for d in runtime.devices()])"
    if set(process.run(code)) != {"Portable Computing Language"}:
        return []
    return process.run(NAMES, **TWO)


@pytest.fixture(autouse=True)
def two_devices() -> None:
    if len(names()) < 2:
        pytest.skip("two devices of pocl are needed, and pocl is not the only driver here")


@pytest.mark.opencl
@pytest.mark.parametrize("mode", ["fine", "buffer", "coarse", "hostptr"])
def test_kernels_run_where_their_arrays_are(mode: str) -> None:
    got = process.run(
        PRELUDE
        + """
out = []
for i in (0, 1):
    dev = tvm.opencl(i)
    a, b = tvm.nd.array(x, dev), tvm.nd.array(x * 0, dev)
    add(a, b, 1, 64)
    there = b.copyto(tvm.opencl(1 - i))            # to the other device
    c = tvm.nd.array(x * 0, tvm.opencl(1 - i))
    add(there, c, 1, 64)                           # the same module there
    out.append(bool((c.numpy() == x + 2).all() and (b.numpy() == x + 1).all()))
a, b = tvm.nd.array(x, tvm.opencl(0)), tvm.nd.array(x, tvm.opencl(1))
try:
    add(a, b, 1, 64)
except tvm.TVMError as err:
    out.append(one_line(err))
try:
    tvm.nd.empty((4,), "float32", tvm.opencl(2))
except tvm.TVMError as err:
    out.append(one_line(err))
out.append([tvm.opencl(i).exist for i in range(3)])
report(out)
""",
        **TWO,
        TVM_COEXEC_OPENCL_MEMORY=mode,
    )
    assert got[:2] == [True, True]
    assert "the arguments of kernel 'add' are on opencl(0)" in got[2] and "and on opencl(1)" in got[2]
    assert got[3].startswith("there is no opencl(2): this machine has 2 OpenCL device(s)")
    assert got[4] == [True, True, False]


@pytest.mark.opencl
def test_graph_executor_on_the_second_device() -> None:
    got = process.run(
        """
import numpy as np, tvm
from tvm import relay
from tvm.contrib import graph_executor
from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime
from tests.runtime import device_checks
mod, params = device_checks.conv_net()
with tvm.transform.PassContext(opt_level=3):
    lib = relay.build(mod, tvm.target.Target("opencl", host="llvm"), params=params)
outs = []
for i in (0, 1):
    g = graph_executor.GraphModule(lib["default"](tvm.opencl(i)))
    g.set_input("x", device_checks.random(1, 8, 14, 14))
    g.run()
    outs.append(g.get_output(0).numpy())
report([float(abs(outs[0] - outs[1]).max()), float(outs[1].sum())])
""",
        **TWO,
    )
    assert got[0] < 1e-6 and got[1] == pytest.approx(1, abs=1e-5)


@pytest.mark.opencl
def test_choice_by_index() -> None:
    assert process.run(NAMES, **TWO, TVM_COEXEC_OPENCL_DEVICES="0:1,0:0") == names()[::-1]


@pytest.mark.opencl
def test_choice_by_name() -> None:
    assert process.run(NAMES, **TWO, TVM_COEXEC_OPENCL_DEVICES=names()[1]) == names()[1:]


@pytest.mark.opencl
def test_no_device_of_that_kind() -> None:
    code = "from tvm_coexec.opencl import runtime\nimport tvm\nreport([runtime.why_unavailable(), tvm.opencl(0).exist])"
    text, exists = process.run(code, **TWO, TVM_COEXEC_OPENCL_DEVICES="gpu")
    assert not exists
    assert "TVM_COEXEC_OPENCL_DEVICES is 'gpu', which matches none of the OpenCL devices: 0:0 " in text
