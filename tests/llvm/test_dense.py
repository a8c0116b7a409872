"""Dense layers on LLVM targets: which tiles they get, when TVM's stay, and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import autotvm, relay

from tests import models
from tvm_coexec.llvm import dense
from tvm_coexec.opencl import schedules

pytestmark = pytest.mark.llvm

SSE, AVX512 = tvm.target.Target("llvm"), tvm.target.Target("llvm -mcpu=skylake-avx512")


def workload(rows: Any, outputs: int, summands: int, dtype: str = "float32", block: int = 0) -> tuple:
    weight = (outputs // block, summands, block) if block else (outputs, summands)
    tensors = (("TENSOR", (rows, summands), dtype), ("TENSOR", weight, dtype))
    return (dense.TEMPLATE, *tensors, None, dtype)


def sizes(target: tvm.target.Target, *shape: Any, **options: Any) -> dict[str, list[int]]:
    entity = schedules.configuration(target, workload(*shape, **options))
    return {name: list(knob.size[1:]) for name, knob in entity._entity_map.items()}


def test_all_rows_before_the_next_block_of_weights() -> None:
    found = sizes(SSE, 32, 3072, 768)
    assert found == {"tile_y": [8, 4], "tile_x": [1, 8], "tile_k": [1], "tile_inner": [4]}
    assert sizes(AVX512, 32, 3072, 768) == {"tile_y": [4, 8], "tile_x": [1, 32], "tile_k": [1], "tile_inner": [8]}


def test_rows_that_fit_no_near_cache_are_read_once_for_a_group_of_blocks() -> None:
    found = sizes(AVX512, 512, 1024, 4096)
    assert found["tile_x"] == [2, 32]  # two blocks of 512 kB
    assert sizes(AVX512, 512, 1024, 65536)["tile_x"] == [1, 32]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 12, 49, 100, 197])
@pytest.mark.parametrize("target", [SSE, AVX512])
def test_tiles_divide(target: tvm.target.Target, rows: int) -> None:
    for outputs, summands in ((64, 1), (96, 768), (1000, 2048), (4096, 9216)):
        found = schedules.configuration(target, workload(rows, outputs, summands))
        if found is None:
            assert outputs == 1000 and target is AVX512  # 16 does not divide it
            continue
        (tiles, tile), (group, block) = (found._entity_map[n].size[1:] for n in ("tile_y", "tile_x"))
        assert rows % (tiles * tile) == 0 and outputs % (group * block) == 0
        blocks = outputs // (group * block)
        assert blocks * rows // (tiles * tile) >= min(16, blocks * rows // tile)  # enough for several threads


def test_packed_weights_keep_their_block() -> None:
    assert sizes(SSE, 32, 768, 768, block=4)["tile_x"] == [1, 4]


@pytest.mark.parametrize(
    ("target", "shape", "dtype"),
    [
        (SSE, (32, 768, 768), "int8"),
        (SSE, (32, 768, 768), "float64"),
        (SSE, (32, 0, 768), "float32"),
        (SSE, (0, 8, 768), "float32"),
        (SSE, (32, 8, 0), "float32"),
        (SSE, (32, 7, 768), "float32"),
        (SSE, (tvm.tir.Var("n", "int32"), 8, 768), "float32"),
        (tvm.target.Target("llvm -libs=cblas"), (32, 768, 768), "float32"),
    ],
)
def test_tvm_s_own_stays(target: tvm.target.Target, shape: tuple, dtype: str) -> None:
    assert schedules.configuration(target, workload(*shape, dtype=dtype)) is None


def compiled(rows: int, outputs: int, summands: int, target: tvm.target.Target) -> tuple[Any, dict, np.ndarray]:
    rng = np.random.default_rng(rows + outputs)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((rows, summands), (outputs, summands)))
    bias = rng.standard_normal(outputs).astype("float32")
    data = relay.var("x", shape=x.shape)
    y = relay.tanh(relay.nn.bias_add(relay.nn.dense(data, relay.const(w)), relay.const(bias)))
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(tvm.IRModule.from_expr(relay.Function([data], y)), target=target)
    return lib, {"x": x}, np.tanh(x.astype("float64") @ w.T.astype("float64") + bias)


@pytest.mark.parametrize(
    "shape",
    [(1, 8, 1), (1, 1000, 33), (3, 24, 7), (12, 40, 96), (49, 104, 65), (32, 136, 768), (300, 64, 1024), (7, 10, 11)],
)
def test_equals_numpy(shape: tuple[int, int, int]) -> None:
    lib, inputs, expected = compiled(*shape, SSE)
    (got,) = models.run(lib, inputs, (tvm.cpu(),))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_the_build_uses_it_and_a_record_wins() -> None:
    lib, *_ = compiled(32, 64, 128, SSE)
    blocked = [p.shape for p in lib.get_params().values() if len(p.shape) == 3]
    assert blocked == [(8, 128, 8)]
    task = autotvm.task.create(dense.TEMPLATE, args=_arguments(32, 64, 128), target=SSE)
    config = next(c for i in range(len(task.config_space)) if (c := task.config_space.get(i))["tile_x"].size[-1] == 16)
    measured = autotvm.MeasureInput(SSE, task, config)
    result = autotvm.MeasureResult((1e-5,), 0, 0.0, 0.0)
    with autotvm.apply_history_best([(measured, result)]):
        lib, *_ = compiled(32, 64, 128, SSE)
    assert [p.shape for p in lib.get_params().values() if len(p.shape) == 3] == [(4, 128, 16)]


def _arguments(rows: int, outputs: int, summands: int) -> tuple:
    return (("TENSOR", (rows, summands), "float32"), ("TENSOR", (outputs, summands), "float32"), None, "float32")


def test_uninstalled_it_leaves_tvm_s_fallback() -> None:
    blocks = []
    try:
        for change in (dense.uninstall, dense.install):
            change()
            is_installed = change is dense.install
            assert (schedules.configuration(SSE, workload(96, 512, 512)) is not None) == is_installed
            with SSE:
                blocks.append(schedules.root().query(SSE, workload(96, 512, 512)).is_fallback)
    finally:
        dense.install()
    assert blocks == [True, False]
