"""Tuning records as samples: each tuner's, by class and extents; and what is wrong with a log."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tvm import auto_scheduler, autotvm, relay  # noqa: E402

from tests.tuning import made  # noqa: E402
from tvm_coexec.core.errors import CoExecError  # noqa: E402
from tvm_coexec.core.kernel_graph import DEVICES  # noqa: E402
from tvm_coexec.cost_models import describe  # noqa: E402
from tvm_coexec.relay_passes.extract import extract_with_calls  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.tuning.cost_workloads import workload_of_shapes, workload_of_template  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402
from tvm_coexec.tuning.teach import tuned_samples  # noqa: E402

F32 = "float32"


def pads(n: int) -> tuple[int, ...]:
    return (n,) * 4


PADDED = {"padding": (1, 1)}
# (device, workload of a template, attributes of the same convolution in Relay)
OPERATORS = [
    ("cpu", made.conv2d("conv2d_NCHWc.x86", (2, 24, 23, 17), (40, 24, 3, 3), 1, pads(1)), PADDED),
    ("gpu", made.conv2d("conv2d_nchw.cuda", (1, 24, 23, 17), (40, 24, 3, 3), 2, pads(1)), PADDED | {"strides": (2, 2)}),
    ("gpu", made.conv2d("conv2d_nchw_winograd.cuda", (1, 24, 22, 16), (40, 24, 3, 3), 1, pads(1)), PADDED),
    ("cpu", made.conv2d("conv2d_NCHWc.x86", (1, 24, 23, 17), (40, 24, 1, 1)), {}),
    (
        "cpu",
        made.conv2d("depthwise_conv2d_NCHWc.x86", (1, 24, 14, 14), (24, 1, 3, 3), 1, pads(1)),
        PADDED | {"groups": 24},
    ),
    (
        "gpu",
        made.conv2d("group_conv2d_nchw.cuda", (1, 32, 14, 14), (24, 8, 3, 3), 1, pads(1), groups=4),
        PADDED | {"groups": 4},
    ),
    (
        "gpu",
        made.conv2d("depthwise_conv2d_nchw.cuda", (1, 24, 14, 14), (24, 1, 5, 5), 2, pads(2)),
        {"padding": (2, 2), "strides": (2, 2), "groups": 24},
    ),
    ("cpu", ("dense_pack.x86", made.tensor(8, 24), made.tensor(36, 24), None, F32), None),
]


def kernel_of(data, weight, attrs):
    x, w = relay.var("x", shape=data), relay.const(np.zeros(weight, F32))
    body = relay.nn.dense(x, w) if attrs is None else relay.nn.conv2d(x, w, **attrs)
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], body)))
    with tvm.transform.PassContext(opt_level=3):
        graph = extract_with_calls(Prepare()(mod)).graph
    return next(k for k in graph.kernels if k.is_heavy)


@pytest.mark.parametrize(("device", "template", "attrs"), OPERATORS, ids=lambda v: v[0] if isinstance(v, tuple) else "")
def test_a_record_is_the_kernel_that_a_plan_has(device, template, attrs):
    data, weight = template[1][1], template[2][1]
    kernel = kernel_of(data, weight, attrs)
    wanted = describe(kernel, device)
    assert device in DEVICES and workload_of_template(template, device).to_json() == wanted.to_json()
    out = kernel.outputs[0].shape
    by_shapes = workload_of_shapes([tuple(data), tuple(weight), tuple(out)], device)
    assert by_shapes.to_json() == wanted.to_json()


def test_shapes_of_channels_last_and_what_is_fused():
    found = workload_of_shapes([(1, 14, 14, 24), (3, 3, 24, 40), (1, 1, 1, 40), (1, 7, 7, 40)], "cpu")
    assert (found.kind, found.algorithm, found.ic, found.oc, found.sh, found.fused) == ("conv", "direct", 24, 40, 2, 1)
    packed = workload_of_shapes([(1, 2, 14, 14, 8), (5, 2, 3, 3, 8, 8), (1, 5, 14, 14, 8)], "cpu")
    assert (packed.algorithm, packed.ic, packed.oc, packed.kh) == ("nchwc.3x3", 16, 40, 3)
    depthwise = workload_of_shapes([(1, 14, 14, 24), (3, 3, 24, 1), (1, 14, 14, 24)], "cpu")
    assert (depthwise.kind, depthwise.groups, depthwise.oc) == ("depthwise_conv", 24, 24)
    product = workload_of_shapes([(6, 40, 16), (6, 48, 16), (6, 40, 48)], "gpu")
    assert (product.kind, product.batch, product.ow, product.oc, product.ic) == ("batch_matmul", 6, 40, 48, 16)
    for other in ([(4,), (4,), (4,)], [(1, 3, 8, 8), (1, 3, 8, 8)], [(1, 3, 8, 8), (5, 4, 3, 3), (1, 5, 8, 8)]):
        assert workload_of_shapes(other, "cpu") is None


def test_the_fastest_record_counts_whatever_its_template(tmp_path):
    """Of two templates of one operator, and of trials that failed."""
    shape = (1, 24, 22, 16), (40, 24, 3, 3), 1, pads(1)
    pairs = []
    for name, costs in (("conv2d_nchw.cuda", (3e-3, 2e-3)), ("conv2d_nchw_winograd.cuda", (1e-3, 5e-3))):
        for (measured, _), seconds in zip(
            made.make_records([made.task_of(made.conv2d(name, *shape))], 2).pairs, costs, strict=True
        ):
            pairs.append((measured, autotvm.MeasureResult((seconds,), 0, 0.1, 0.0)))
    pairs.append((pairs[0][0], autotvm.MeasureResult(("", "x"), 4, 0.1, 0.0)))
    path = tmp_path / "tuned.log"
    Records(tuple(pairs)).save(str(path))
    (sample,) = tuned_samples([str(path)])
    assert (sample.device, sample.seconds) == ("gpu", 1e-3)
    assert sample.workload.key == "conv/direct.3x3.tuned" and sample.workload.untuned_key == "conv/direct.3x3"
    assert tuned_samples([str(path), str(path)]) == [sample]


def test_logs_of_the_auto_scheduler(tmp_path):
    data, weight = relay.var("x", shape=(1, 16, 12, 12)), relay.var("w", shape=(24, 16, 3, 3))
    body = relay.nn.conv2d(data, weight, padding=(1, 1), channels=24, kernel_size=(3, 3))
    mod = tvm.IRModule.from_expr(relay.Function([data, weight], relay.nn.relu(body)))
    tasks, _ = auto_scheduler.extract_tasks(mod, {}, made.CPU)
    path = tmp_path / "ansor.json"
    for seconds in (2e-3, 1e-3):
        measured = auto_scheduler.MeasureInput(tasks[0], tasks[0].compute_dag.get_init_state())
        result = auto_scheduler.MeasureResult([seconds], 0, "", 0.1, 0)
        auto_scheduler.save_records(str(path), [measured], [result])
    (sample,) = tuned_samples([str(path)], {"cpu": str(made.CPU), "gpu": "opencl"})
    assert (sample.device, sample.seconds) == ("cpu", 1e-3)
    w = sample.workload
    assert (w.kind, w.ic, w.oc, w.oh, w.kh) == ("conv", 16, 24, 12, 3) and w.is_tuned


def test_a_database_of_metaschedule(tmp_path):
    from tvm import meta_schedule as ms
    from tvm import te, topi

    a, b = te.placeholder((1, 16, 12, 12), name="a"), te.placeholder((24, 16, 3, 3), name="b")
    c = topi.nn.conv2d_nchw(a, b, 1, 1, 1)
    mod = tvm.IRModule({"main": te.create_prim_func([a, b, c])})
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = database.commit_workload(mod)
    schedule = tvm.tir.Schedule(mod)
    for seconds in (3e-3, 1e10, 2e-3):
        database.commit_tuning_record(ms.database.TuningRecord(schedule.trace, workload, [seconds], made.CPU))
    (sample,) = tuned_samples([str(tmp_path)])
    assert (sample.device, sample.seconds, sample.workload.kind, sample.workload.oc) == ("cpu", 2e-3, "conv", 24)
    log = tmp_path / "database_tuning_record.json"
    log.write_text(log.read_text() + '{"torn\n')
    with pytest.raises(CoExecError, match=r"line 4 of .*database_tuning_record.json is not a tuning record"):
        tuned_samples([str(tmp_path)], label="--records")


def test_errors(tmp_path):
    good = tmp_path / "good.log"
    made.make_records([made.task_of(OPERATORS[0][1])], 1).save(str(good))
    torn, other, failed = tmp_path / "torn.log", tmp_path / "other.log", tmp_path / "failed.log"
    torn.write_text(good.read_text() + good.read_text()[:100] + "\n")
    unknown = made.task_of(("conv1d_ncw.cuda", made.tensor(1, 8, 20), made.tensor(8, 8, 3), (1,), (1,), (1,), F32))
    (measured, _), *_ = made.make_records([unknown], 1).pairs
    Records(((measured, autotvm.MeasureResult(("", "x"), 4, 0.1, 0.0)),)).save(str(failed))
    made.make_records([made.task_of(OPERATORS[1][1])], 1).save(str(other))
    targets = {"cpu": "llvm -mcpu=core-avx2", "gpu": "opencl -model=adreno"}
    (tmp_path / "folder").mkdir()
    cases = [
        (torn, {}, f"--records: line 2 of {torn} is not a tuning record"),
        (other, targets, f"{other} has no records of llvm "),
        (failed, {}, f"{failed} has no record that a profile can use"),
        (tmp_path / "none.log", {}, "can't read"),
        (tmp_path / "folder", {}, "is not a database of MetaSchedule"),
    ]  # fmt: skip
    for path, wanted, message in cases:
        with pytest.raises(CoExecError) as caught:
            tuned_samples([str(path)], wanted, "--records")
        assert message in str(caught.value) and "\n" not in str(caught.value)
    assert json.dumps(tuned_samples([str(good)], targets)[0].to_json())


def test_a_plan_knows_which_kernels_records_serve():
    """The records in force decide it, and their adapted shares count, too."""
    from tests import models
    from tvm_coexec.cost_models import Profile
    from tvm_coexec.cost_models import shipped as profiles
    from tvm_coexec.cost_models.dataset import Sample
    from tvm_coexec.cost_models.fit_tuned import add_tuned
    from tvm_coexec.measuring.pieces import KernelBuilder
    from tvm_coexec.targets import targets
    from tvm_coexec.tuning.served import knows_tuned, mark_tuned
    from tvm_coexec.tuning.serving import apply_records

    prepared = Prepare()(models.conv_chain(2))
    builder = KernelBuilder(prepared, extract_with_calls(prepared), *targets(made.CPU, made.GPU))
    heavy = [k for k in builder.graph.kernels if k.is_heavy]
    plain = {d: describe(heavy[0], d) for d in DEVICES}
    profile = Profile.load(profiles.find("test_bed"))
    tuned = replace(plain["cpu"], algorithm=f"{plain['cpu'].algorithm}.tuned")
    fast = float(profile.devices["cpu"].predict([plain["cpu"]])[0]) / 4
    taught = add_tuned(profile, [Sample("cpu", tuned, fast)] * 8)
    assert knows_tuned(taught) and not knows_tuned(profile) and not knows_tuned(None)
    before = taught.whole_s("cpu", heavy[0])
    shape = heavy[0].in_tensors[0].shape, (heavy[0].outputs[0].shape[1], heavy[0].in_tensors[0].shape[1], 3, 3)
    records = made.make_records([made.task_of(made.conv2d("conv2d_NCHWc.x86", *shape, 1, pads(1)))], 1)
    assert mark_tuned(builder) == []
    with apply_records(records):
        assert mark_tuned(builder) == mark_tuned(builder) == [("cpu", k.index) for k in heavy]
    assert describe(heavy[0], "cpu") == tuned and describe(heavy[0], "gpu") == plain["gpu"]
    assert taught.whole_s("cpu", heavy[0]) < before / 2
