"""64-bit indices: which sources get them, which do not, and that `uninstall` restores the callback."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tvm
from tvm import relay

from tests import models
from tvm_coexec.opencl.schedules import postprocess
from tvm_coexec.opencl.schedules.indices import with_long_indices

pytestmark = pytest.mark.llvm


@pytest.fixture
def without() -> Iterator[None]:
    """The hook is not installed."""
    postprocess.uninstall()
    yield
    postprocess.install()


def source_of(target: str, reduce: int = 48) -> str:
    x = relay.var("x", shape=(1, reduce))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.dense(x, relay.const(np.ones((10, reduce), "float32")))))
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, target=tvm.target.Target(target, host="llvm"))
    return lib.get_lib().imported_modules[0].get_source()


def test_positions_become_long():
    text = "a[((convert_int(get_group_id(0))) * 3) + convert_int(get_local_id(1))] = convert_int(b);"
    want = "a[((convert_long(get_group_id(0))) * 3) + convert_long(get_local_id(1))] = convert_int(b);"
    assert with_long_indices(text) == want
    assert with_long_indices(want) == want


@pytest.mark.parametrize("call", ["min((n - {}), 4)", "max(1, (2 * ({} + 1)))", "clamp({}, 0, 7)", "select(x, y, {})"])
def test_an_argument_that_must_be_int_stays_one(call):
    position = "convert_int(get_local_id(0))"
    text = f"float z = max(u, 0.0f); a[{call.format(position)}] = b[{position}];"
    assert with_long_indices(text) == text
    assert "convert_long" in with_long_indices(f"float z = max(u, 0.0f); a[{position}] = 1;")


def test_devices_made_of_cpu_cores_only():
    assert "convert_long(get_group_id(0))" in source_of("opencl -model=pocl")
    assert "convert_long" not in source_of("opencl -device=mali")


def test_it_goes_as_it_came(without):
    assert tvm.get_global_func(postprocess.NAME, allow_missing=True) is None
    assert "convert_long" not in source_of("opencl -model=pocl")


def test_another_hook_comes_first_and_is_put_back(without):
    tvm.register_func(postprocess.NAME, lambda source, target: "// theirs\n" + source, override=True)
    try:
        postprocess.install()
        source = source_of("opencl -model=pocl")
        assert "// theirs" in source and "convert_long" in source
        postprocess.uninstall()
        source = source_of("opencl -model=pocl")
        assert "// theirs" in source and "convert_long" not in source
    finally:
        tvm._ffi.registry.remove_global_func(postprocess.NAME)


@pytest.mark.opencl
@pytest.mark.parametrize("shape", [(1, 7, 13, 11), (2, 5, 1, 9)])
def test_operators_whose_positions_are_clipped(shape):
    """Kernels with positions in `min` and `max`, in divisions and remainders."""
    x = relay.var("x", shape=shape)
    small = relay.image.resize2d(x, (5, 17), method="linear")
    taken = relay.take(relay.reshape(small, (-1,)), relay.const(np.array([0, 3, 10**6, -4], "int32")), mode="clip")
    mirrored = relay.nn.mirror_pad(small, ((0, 0), (0, 0), (1, 1), (2, 2)))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.Tuple([taken, relay.reverse(mirrored, axis=3), small])))
    inputs = models.input_of(mod)
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, target=tvm.target.Target("opencl", host="llvm"))
    models.assert_same(models.run(lib, inputs, (tvm.opencl(0),)), models.reference(mod, inputs))
