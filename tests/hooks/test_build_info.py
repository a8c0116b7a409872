"""TVM's build settings are looked up once."""

from __future__ import annotations

import pytest
import tvm
from tvm import relay
from tvm.relay.backend import te_compiler

from tvm_coexec import hooks
from tvm_coexec.core.errors import CoExecError

pytestmark = pytest.mark.llvm


def build() -> None:
    x = relay.var("x", shape=(2, 3, 5, 7))
    relay.build(tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(x))), target="llvm")


def test_the_compiler_reads_the_same_settings_once() -> None:
    from tvm.support import libinfo

    te_compiler.libinfo.cache_clear()
    build()
    found = te_compiler.libinfo.cache_info()
    assert found.misses == 1 and found.hits >= 3  # it does read them, for each dimension
    assert dict(te_compiler.libinfo().items()) == dict(libinfo().items())


def test_installing_again_changes_nothing() -> None:
    before = te_compiler.libinfo
    hooks.install("build_info")
    assert te_compiler.libinfo is before
    with pytest.raises(CoExecError, match="build_infos"):
        hooks.install("build_infos")
