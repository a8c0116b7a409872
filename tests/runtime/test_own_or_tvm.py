"""Which OpenCL runtime serves a TVM that has its own.

The TVM of the tests has none. A copy of this package's library takes its place (``TVM_COEXEC_OPENCL=as-tvm``): loaded
first, it registers what a TVM built with ``USE_OPENCL=ON`` has, and keeps its own devices, arrays and modules.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest

from tests.runtime import process
from tvm_coexec.opencl import runtime

pytestmark = pytest.mark.opencl

# Defines `model`, `expected`, `build()`, `run(lib)`; TVM has an OpenCL runtime, this package is not imported.
_START = """
import ctypes, logging, os
import numpy as np
import tvm
from tvm import relay
from tvm._ffi.base import _LIB
ctypes.CDLL(_LIB._name, ctypes.RTLD_GLOBAL)
chosen = os.environ.pop("TVM_COEXEC_OPENCL", None)
os.environ["TVM_COEXEC_OPENCL"] = "as-tvm"
ctypes.CDLL({stand_in!r})
del os.environ["TVM_COEXEC_OPENCL"]
if chosen:
    os.environ["TVM_COEXEC_OPENCL"] = chosen

rng = np.random.default_rng(0)
x = relay.var("x", shape=(2, 8, 9, 7))
w = relay.const(rng.standard_normal((12, 8, 3, 3)).astype("float32"))
y = relay.nn.relu(relay.nn.conv2d(x, w, padding=(1, 1), channels=12, kernel_size=(3, 3)))
model = tvm.IRModule.from_expr(relay.Function([x], y))
data = rng.standard_normal((2, 8, 9, 7)).astype("float32")

def build(ratio=0.5):
    import tvm_coexec
    return tvm_coexec.build(model, ratio=ratio)

def run(lib):
    import tvm_coexec
    module = tvm_coexec.create(lib)
    module.run(x=data)
    return module.get_output(0).numpy()

def right(got):
    from tvm.contrib import graph_executor
    alone = graph_executor.GraphModule(relay.build(model, target="llvm")["default"](tvm.cpu()))
    alone.run(x=data)
    return bool(np.allclose(got, alone.get_output(0).numpy(), rtol=1e-4, atol=1e-4))

def refusal(call, *args):
    from tvm_coexec import CoExecError
    try:
        call(*args)
    except CoExecError as err:
        return str(err)
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second copy of the library: the loader would not load the same file twice."""
    path = tmp_path_factory.mktemp("own_or_tvm") / "libtvms_own_opencl.so"
    shutil.copy(runtime.library_path(), path)
    return str(path)


def _run(stand_in: str, code: str, **environment: str) -> list:
    return process.run(_START.format(stand_in=stand_in) + textwrap.dedent(code), **environment)


def test_ours_is_used_although_tvm_has_one(stand_in: str, tmp_path: Path) -> None:
    exported = str(tmp_path / "model.so")
    code = f"""
    stock = tvm.get_global_func("device_api.opencl")().value
    import tvm_coexec
    from tvm_coexec.opencl import runtime
    lib = build()
    out = [runtime.runtime_name(), right(run(lib)), runtime.stats()["copies_elided"] > 0]
    lib.export_library({exported!r})
    out.append(right(run(tvm.runtime.load_module({exported!r}))))
    out.append([tvm.opencl(0).exist, tvm.opencl(0).device_name == runtime.devices()[0].name])
    out.append(refusal(runtime.use, "tvm"))
    runtime.use("own")
    report(out)
    """
    name, built_right, shared, loaded_right, device, too_late = _run(stand_in, code)
    assert (name, built_right, shared, loaded_right, device) == ("own", True, True, True, [True, True])
    assert too_late == (
        "this package's OpenCL runtime has been used in this process already: choose before the first OpenCL array or "
        "module, or set TVM_COEXEC_OPENCL=tvm"
    )


def test_tvms_own_is_used_where_it_is_asked_for(stand_in: str) -> None:
    code = """
    import tvm_coexec
    from tvm_coexec.opencl import runtime
    out = [runtime.runtime_name()]
    if out == ["own"]:
        runtime.use("tvm")
    out += [right(run(build())), runtime.runtime_name(), refusal(runtime.stats), refusal(runtime.use, "own")]
    report(out)
    """
    by_call = _run(stand_in, code)
    by_variable = _run(stand_in, code, TVM_COEXEC_OPENCL="tvm")
    assert by_call[:3] == ["own", True, "tvm"] and by_variable[:3] == ["tvm", True, "tvm"]
    assert "TVM's own OpenCL runtime is in use here (tvm was chosen)" in by_call[3]
    assert "TVM's own OpenCL runtime is in use here (TVM_COEXEC_OPENCL is tvm)" in by_variable[3]
    for refused in (by_call[4], by_variable[4]):  # the module may have been freed by then
        assert "been used in this process already" in refused or "an OpenCL module of TVM's own" in refused


@pytest.mark.parametrize("asked", ["", "own"])
def test_what_tvms_own_has_made_stays_with_it(stand_in: str, tmp_path: Path, asked: str) -> None:
    """An array or module that exists when the package is imported: nothing may pass from one runtime to the other."""
    exported = str(tmp_path / "model.so")
    _run(stand_in, f"build().export_library({exported!r}); report(0)")
    code = """
    {early}
    import tvm_coexec
    from tvm_coexec.opencl import runtime
    out = [runtime.runtime_name(), right(run({lib})), refusal(runtime.use, "own")]
    report([*out, {check}])
    """
    array = "early = tvm.nd.array(data, tvm.opencl(0))"
    module = f"early = tvm.runtime.load_module({exported!r})"
    environment = {"TVM_COEXEC_OPENCL": asked} if asked else {}
    got = _run(
        stand_in, code.format(early=array, lib="build()", check="bool((early.numpy() == data).all())"), **environment
    )
    assert got[:2] == ["tvm", True] and got[3] is True
    got = _run(stand_in, code.format(early=module, lib="early", check="True"), **environment)
    assert got[:2] == ["tvm", True]
    assert "import tvm_coexec before loading or building modules" in got[2]


def test_a_use_that_leaves_nothing_is_too_late_too(stand_in: str) -> None:
    """TVM keeps the device API that it has asked once."""
    code = """
    exists = tvm.opencl(0).exist
    import tvm_coexec
    from tvm_coexec.opencl import runtime
    report([exists, runtime.runtime_name(), right(run(build(1.0)))])
    """
    assert _run(stand_in, code) == [True, "tvm", True]


def test_the_hook_switched_off_leaves_tvm_alone(stand_in: str) -> None:
    code = """
    before = [tvm.get_global_func(n).handle.value for n in ("device_api.opencl", "target.build.opencl")]
    import tvm_coexec
    report(tvm.get_global_func("tvm_coexec.opencl.runtime", allow_missing=True) is None)
    """
    assert _run(stand_in, code, TVM_COEXEC_HOOKS="schedules") is True


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("stock", "TVM_COEXEC_OPENCL is 'stock': it must be own or tvm"),
        ("tvm", "TVM_COEXEC_OPENCL is tvm, but this TVM has no OpenCL runtime of its own"),
    ],
)
def test_values_that_make_no_sense(value: str, message: str) -> None:
    code = """
    from tvm_coexec.opencl import runtime
    report([runtime.runtime_name(), runtime.why_unavailable()])
    """
    name, why = process.run(textwrap.dedent(code), TVM_COEXEC_OPENCL=value)
    assert name is None and message in why


def test_choosing_without_a_choice() -> None:
    from tvm_coexec import CoExecError

    runtime.use("own")
    with pytest.raises(CoExecError, match="this TVM has no OpenCL runtime of its own"):
        runtime.use("tvm")
    with pytest.raises(CoExecError, match="the OpenCL runtime 'stock' is unknown: use own or tvm"):
        runtime.use("stock")


def test_blocking_copies_give_the_same_numbers_and_share_nothing() -> None:
    code = """
    import numpy as np
    import tvm
    from tvm import relay
    import tvm_coexec
    from tvm_coexec.opencl import runtime
    rng = np.random.default_rng(1)
    x = relay.var("x", shape=(1, 6, 11, 5))
    first = relay.nn.conv2d(x, relay.const(rng.standard_normal((8, 6, 3, 3)).astype("float32")), padding=(1, 1))
    second = relay.nn.conv2d(relay.tanh(first), relay.const(rng.standard_normal((4, 8, 1, 1)).astype("float32")))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.Tuple([first, second])))
    data = rng.standard_normal((1, 6, 11, 5)).astype("float32")
    module = tvm_coexec.create(tvm_coexec.build(mod, ratio=0.5))
    outputs = []
    for _ in range(2):
        module.run(x=data)
        outputs.append([module.get_output(i).numpy().tolist() for i in range(2)])
    stats = runtime.stats()
    counts = [stats["copies_elided"], stats["uploads"] > 0]
    report([outputs[0] == outputs[1], outputs[0], *counts, runtime.devices()[0].memory_mode])
    """
    blocking = process.run(textwrap.dedent(code), TVM_COEXEC_OPENCL_COPIES="blocking")
    ordered = process.run(textwrap.dedent(code))
    assert blocking[0] and blocking[1] == ordered[1]
    assert blocking[2:] == [0, True, "buffer"] and ordered[2] > 0


def test_settings_of_copies_that_make_no_sense() -> None:
    code = "from tvm_coexec.opencl import runtime; report(runtime.why_unavailable())"
    assert "it must be ordered or blocking" in process.run(code, TVM_COEXEC_OPENCL_COPIES="lazy")
    why = process.run(code, TVM_COEXEC_OPENCL_COPIES="blocking", TVM_COEXEC_OPENCL_MEMORY="fine")
    assert "TVM_COEXEC_OPENCL_MEMORY is fine, but blocking copies need buffer" in why
