"""The context: records win over it, TVM still loads TopHub, CPU targets are unchanged, `uninstall` undoes `install`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import tvm
from tvm import autotvm, relay, te
from tvm.autotvm.task.dispatcher import DispatchContext, FallbackContext

from tests.opencl.schedules import operators
from tvm_coexec.opencl import schedules
from tvm_coexec.opencl.schedules.dispatch import SharesContext, root

TARGET = tvm.target.Target("opencl -model=pocl", host="llvm")
CONV2D = ((1, 16, 14, 14), (24, 16, 3, 3))


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Each test starts and ends with the schedules installed, as importing tvm_coexec leaves it."""
    schedules.install()
    yield
    schedules.install()


def task(target=TARGET):
    data, weight = (te.placeholder(shape, name=name) for shape, name in zip(CONV2D, ("d", "w"), strict=True))
    arguments = (data, weight, (1, 1), (1, 1, 1, 1), (1, 1), "float32")
    return autotvm.task.create("conv2d_nchw.cuda", arguments, target)


def record(index: int, cost_s: float = 1e-3):
    """A tuning record for the task, as a tuner writes it."""
    t = task()
    return (
        autotvm.measure.MeasureInput(TARGET, t, t.config_space.get(index)),
        autotvm.measure.MeasureResult((cost_s,), 0, 1.0, 0.0),
    )


def test_install_and_uninstall_are_idempotent() -> None:
    """The second call changes nothing, and the stock root comes back."""
    context = DispatchContext.current
    schedules.install()
    assert DispatchContext.current is context and schedules.installed()
    schedules.uninstall()
    schedules.uninstall()
    assert not schedules.installed()
    assert type(root()) is FallbackContext


def test_without_it_the_stock_fallback_answers() -> None:
    """And what was answered before is forgotten."""
    workload = task().workload
    assert not DispatchContext.current.query(TARGET, workload).is_fallback
    schedules.uninstall()
    assert DispatchContext.current.query(TARGET, workload).is_fallback


def test_a_users_record_wins() -> None:
    """Inside `apply_history_best`, for the recorded workload only."""
    with autotvm.apply_history_best([record(5)]):
        assert DispatchContext.current.query(TARGET, task().workload).index == 5
        other = ("batch_matmul.cuda", *(("TENSOR", (1, 8, 8), "float32"),) * 2, None, "float32", False, True)
        assert not DispatchContext.current.query(TARGET, other).is_fallback


def test_a_recorded_implementation_wins_over_ours() -> None:
    """Records have measured costs, ours only priors: a tuned Winograd is chosen where ours would be direct."""
    data, weight = (relay.var(n, shape=s) for n, s in zip(("d", "w"), CONV2D, strict=True))
    call = relay.nn.conv2d(data, weight, padding=(1, 1), channels=24, kernel_size=(3, 3))
    call = relay.transform.InferType()(tvm.IRModule.from_expr(call))["main"].body
    tensors = [te.placeholder(shape) for shape in CONV2D]

    def chosen() -> str:
        with TARGET:
            select = relay.backend.te_compiler.select_implementation
            return select(call.op, call.attrs, tensors, call.checked_type, TARGET)[0].name

    assert chosen() == "conv2d_nchw.cuda"
    winograd = autotvm.task.create("conv2d_nchw_winograd.cuda", task().args, TARGET)
    entity = winograd.config_space.get(0)
    entity.cost = 1e-3
    measured = autotvm.measure.MeasureInput(TARGET, winograd, entity)
    with autotvm.apply_history_best([(measured, autotvm.measure.MeasureResult((1e-3,), 0, 1.0, 0.0))]):
        assert chosen() == "conv2d_nchw_winograd.cuda"


def test_records_read_from_a_file_win(tmp_path) -> None:
    """Also through the file format, and when the file is loaded before installing."""
    path = tmp_path / "records.json"
    with path.open("w") as file:
        autotvm.record.encode(*record(7))
        file.write(autotvm.record.encode(*record(7)) + "\n")
    schedules.uninstall()
    with autotvm.apply_history_best(str(path)):
        schedules.install()
        assert isinstance(root(), SharesContext)
        assert DispatchContext.current.query(TARGET, task().workload).index == 7
    assert isinstance(DispatchContext.current, SharesContext)


def test_tvm_still_loads_tophub(monkeypatch) -> None:
    """`relay.build` looks for TopHub only while the context is a FallbackContext; its records then win."""
    asked = []

    def context(targets, extra_files=None):
        asked.append(targets)
        return autotvm.apply_history_best([record(3)])

    monkeypatch.setattr(autotvm.tophub, "context", context)
    seen = []
    query = SharesContext._query_inside
    monkeypatch.setattr(SharesContext, "_query_inside", lambda *a: seen.append(a[2][0]) or query(*a))
    mod = operators.conv2d((1, 16, 14, 14), 24, (3, 3), 1, 1)
    with tvm.transform.PassContext(opt_level=3):
        relay.build(mod, target=TARGET)
    assert asked
    assert "conv2d_nchw.cuda" not in seen, "TopHub's record was not used"


def test_cpu_targets_are_left_alone() -> None:
    """A CPU target gets the very entity that stock TVM gives."""
    target = tvm.target.Target("llvm")
    data, weight = ("TENSOR", CONV2D[0], "float32"), ("TENSOR", CONV2D[1], "float32")
    arguments = (data, weight, (1, 1), (1, 1, 1, 1), (1, 1), "float32")
    for name in ("conv2d_NCHWc.x86", "conv2d_nchw.cuda"):
        assert schedules.configuration(target, (name, *arguments)) is None
        assert DispatchContext.current.query(target, (name, *arguments)).is_fallback


@pytest.mark.slow
@pytest.mark.llvm
def test_cpu_builds_are_the_same_with_and_without() -> None:
    """Byte for byte the same graph, and the same kernels by name."""
    mod = operators.conv2d((1, 16, 14, 14), 24, (3, 3), 1, 1)

    def built() -> tuple[str, list[str]]:
        with tvm.transform.PassContext(opt_level=3):
            lib = relay.build(mod, target="llvm")
        return lib.get_graph_json(), sorted(v.name_hint for v in lib.ir_mod.get_global_vars())

    ours = built()
    schedules.uninstall()
    assert built() == ours


def test_libraries_and_tensor_cores_keep_their_priority() -> None:
    """A prior must not win against cuDNN or tensor cores, which have no configuration of their own."""
    data, weight = (("TENSOR", shape, "float32") for shape in CONV2D)
    arguments = (data, weight, (1, 1), (1, 1, 1, 1), (1, 1), "float32")
    workload = ("conv2d_nchw.cuda", *arguments)
    assert schedules.configuration(tvm.target.Target("cuda -libs=cudnn -arch=sm_80"), workload) is None
    assert schedules.configuration(tvm.target.Target("cuda -arch=sm_80"), workload) is not None
    half = json.loads(json.dumps(workload).replace("float32", "float16"))
    assert schedules.configuration(tvm.target.Target("cuda -arch=sm_80"), half) is None


def test_symbolic_shapes_get_the_stock_fallback() -> None:
    """A batch that is only known at run time has no tile."""
    shape = (tvm.tir.Var("n", "int32"), 16, 14, 14)
    arguments = (("TENSOR", CONV2D[1], "float32"), (1, 1), (1, 1, 1, 1), (1, 1), "float32")
    assert schedules.configuration(TARGET, ("conv2d_nchw.cuda", ("TENSOR", shape, "float32"), *arguments)) is None


@pytest.mark.parametrize(("target", "inputs", "template"), [
    (tvm.target.Target("opencl -model=a_gpu", host="llvm"), 512, "dense_large_batch.gpu"),
    (TARGET, 512, "dense_small_batch.gpu"), (TARGET, 510, "dense_large_batch.gpu"),
])  # fmt: skip
def test_implementation_of_many_rows(target: tvm.target.Target, inputs: int, template: str) -> None:
    """TVM's own priority would take one output per work-group on GPUs, too; on CPU cores `inner_product` stands in."""
    shapes = ((64, inputs), (512, inputs))
    data, weight = relay.var("d", shape=shapes[0]), relay.var("w", shape=shapes[1])
    call = relay.transform.InferType()(tvm.IRModule.from_expr(relay.nn.dense(data, weight)))["main"].body
    tensors = [te.placeholder(shape) for shape in shapes]
    with target:
        select = relay.backend.te_compiler.select_implementation
        chosen, _ = select(call.op, call.attrs, tensors, call.checked_type, target)
    assert chosen.name == template
