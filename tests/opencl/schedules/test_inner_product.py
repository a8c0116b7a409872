"""Dense layers and batched products on devices made of CPU cores: numbers, tiles, and what keeps TVM's templates."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import autotvm, relay

from tests import models
from tests.opencl.schedules.test_loops import CPU_CORES, assert_equals_llvm, module_of, source_of, var
from tvm_coexec.opencl import schedules
from tvm_coexec.opencl.schedules.device import VectorUnit, find_vector_unit
from tvm_coexec.opencl.schedules.inner_product import choose_product_tile

AVX512, AVX2, NEON = VectorUnit(16, 32), VectorUnit(8, 16), VectorUnit(4, 32)


def dense(rows: int, outputs: int, inputs: int, fused: str = "", dtype: str = "float32") -> tvm.IRModule:
    def build() -> relay.Expr:
        weight = models.random_array(np.random.default_rng(1), (outputs, inputs), dtype)
        x = var(rows, inputs, dtype=dtype)
        result = relay.nn.dense(x, relay.const(weight), out_dtype="int32" if dtype == "int8" else None)
        if fused:
            bias = np.random.default_rng(2).standard_normal(outputs).astype(dtype)
            result = relay.nn.relu(relay.nn.bias_add(result, relay.const(bias)))
        return result + var(rows, outputs, name="y") if fused == "residual" else result

    return module_of(build)


def product(batch: int, rows: int, columns: int, reduce: int, a: bool = False, b: bool = True) -> tvm.IRModule:
    def build() -> relay.Expr:
        first = var(batch, *((reduce, rows) if a else (rows, reduce)))
        second = var(batch, *((columns, reduce) if b else (reduce, columns)), name="y")
        return relay.exp(relay.nn.batch_matmul(first, second, transpose_a=a, transpose_b=b) * relay.const(0.1))

    return module_of(build)


TAKEN = {
    "one row": dense(1, 1000, 1024, "relu"),
    "one row, not fused": dense(1, 37, 64),
    "one output": dense(9, 1, 48, "relu"),
    "rows and outputs prime": dense(31, 37, 48, "relu"),
    "residual": dense(12, 40, 72, "residual"),
    "vectors of 4": dense(6, 30, 20, "relu"),
    "40 rows, which have a template of their own": dense(40, 64, 96, "relu"),
    "sum of one vector": dense(5, 6, 16),
    "many tiles in a work-group": dense(256, 8, 64, "relu"),
    "batched": product(3, 14, 24, 40),
    "batched, one row": product(5, 1, 33, 8),
    "batched, one column": product(2, 21, 1, 64),
}
KEPT = {
    "odd sum": dense(4, 24, 27, "relu"),
    "integers": dense(8, 16, 32, dtype="int8"),
    "batched, other layout": product(2, 12, 16, 32, b=False),
    "batched, both transposed": product(2, 8, 16, 32, a=True),
}


@pytest.mark.opencl
@pytest.mark.parametrize("case", [*TAKEN, *KEPT])
def test_equals_llvm(case: str) -> None:
    assert_equals_llvm({**TAKEN, **KEPT}[case])


@pytest.mark.slow
@pytest.mark.llvm
def test_what_takes_the_schedule() -> None:
    changed = {}
    for case, mod in {**TAKEN, **KEPT}.items():
        ours = source_of(mod, CPU_CORES)
        schedules.inner_product.uninstall()
        try:
            changed[case] = source_of(mod, CPU_CORES) != ours
        finally:
            schedules.inner_product.install()
    assert {case for case, differs in changed.items() if differs} == set(TAKEN)


@pytest.mark.slow
@pytest.mark.llvm
def test_gpus_and_tuning_records_keep_the_template() -> None:
    mod, gpu = TAKEN["one row"], tvm.target.Target("opencl -model=adreno", host="llvm")
    ours = source_of(mod, gpu)
    schedules.uninstall()
    try:
        assert "get_local_id" in source_of(mod, gpu) and "get_local_id" in ours
    finally:
        schedules.install()
    (task,) = autotvm.task.extract_from_program(mod, {}, CPU_CORES)
    record = autotvm.measure.MeasureInput(CPU_CORES, task, task.config_space.get(len(task.config_space) - 1))
    result = autotvm.measure.MeasureResult((1e-3,), 0, 0.1, 0)
    assert "get_local_id" not in source_of(mod, CPU_CORES)
    with autotvm.apply_history_best([(record, result)]):
        assert "get_local_id" in source_of(mod, CPU_CORES)


def test_tiles() -> None:
    """Measured on one core of an Intel Xeon with AVX-512: these are the fastest or within 5 % of them."""
    tile = choose_product_tile(128, 768, 768, AVX512)
    assert tile is not None and tile.rows * tile.columns >= 16 and tile.lanes == 16
    row = choose_product_tile(1, 4096, 4096, AVX512)
    assert row is not None and (row.rows, row.lanes) == (1, 16) and row.columns >= 4
    assert choose_product_tile(7, 13, 30, AVX512) is None
    for vector in (AVX512, AVX2, NEON):
        for rows, columns, reduce in ((64, 64, 64), (1, 5, 4), (24, 36, 12)):
            found = choose_product_tile(rows, columns, reduce, vector)
            assert found is not None and rows % found.rows == columns % found.columns == reduce % found.lanes == 0
            assert found.lanes <= vector.lanes and found.rows * found.columns < vector.registers


def test_vectors_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_vector_unit("pthread-skylake-avx512-Intel(R) Xeon(R) Processor") == AVX512
    assert find_vector_unit("") == VectorUnit(4, 16)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert find_vector_unit("pthread-haswell-AMD EPYC") == AVX2
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert find_vector_unit("pthread-cortex-a76") == NEON
