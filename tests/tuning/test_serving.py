"""The order in which a build looks for a configuration, and what the report says of it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tvm import autotvm, relay  # noqa: E402
from tvm.autotvm.task.dispatcher import DispatchContext  # noqa: E402

import tvm_coexec  # noqa: E402
from tests import models  # noqa: E402
from tests.tuning import made  # noqa: E402
from tvm_coexec.core.plan import Plan, Segment  # noqa: E402
from tvm_coexec.relay_passes.extract import extract_with_calls  # noqa: E402
from tvm_coexec.relay_passes.layout import tuned_records  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.tuning import serving  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402
from tvm_coexec.tuning.serving import apply_records, find_source, has_records  # noqa: E402
from tvm_coexec.tuning.tuners import anchor_calls, chosen_workload  # noqa: E402

WHOLE = made.conv2d("conv2d_nchw.cuda", (1, 16, 12, 12), (32, 16, 3, 3), 1, (1,) * 4)
SHARE = made.conv2d("conv2d_nchw.cuda", (1, 16, 12, 12), (13, 16, 3, 3), 1, (1,) * 4)
ON_CPU = ("conv2d_NCHWc.x86", *SHARE[1:6], "NCHW", "NCHW", "float32")


_DENSE = ("dense_pack.x86", "dense_nopack.x86")


def query(workload: tuple):
    return DispatchContext.current.query(made.target_of(workload), workload)


def kind(workload: tuple) -> str:
    return find_source(made.target_of(workload), workload).kind


def test_the_order(monkeypatch):
    """Exact record, TopHub's exact record, adapted record, this package's schedule, TVM's fallback."""
    of_whole, of_share = (made.make_records([made.task_of(w)], count=1) for w in (WHOLE, SHARE))
    assert (kind(SHARE), kind(ON_CPU)) == ("our schedule", "fallback") and not has_records()
    ours = query(SHARE)
    with ExitStack() as stack:
        monkeypatch.setattr(autotvm.tophub, "context", lambda *_: autotvm.apply_history_best(list(of_share.pairs)))
        serving.install()
        stack.enter_context(tuned_records([made.CPU, made.GPU]))
        assert kind(SHARE) == "TopHub" and not has_records()
        stack.enter_context(apply_records(of_whole))
        assert (kind(WHOLE), kind(SHARE), has_records()) == ("record", "TopHub", True)
        assert query(SHARE) is of_share.pairs[0][0].config
    with apply_records(of_whole):
        assert kind(SHARE) == "adapted" and kind(ON_CPU) == "fallback"
        assert "along oc from 1x16x12x12 * 32x16x3x3" in find_source(made.GPU, SHARE).to_text()
        adapted = query(SHARE)
        assert adapted.cost < 1e-3 and not adapted.is_fallback and str(adapted) != str(ours)
        with apply_records(of_share):
            assert kind(SHARE) == "record" and query(SHARE) is of_share.pairs[0][0].config
    assert str(query(SHARE)) == str(ours)  # it does not outlive the records


def test_tophub_serves_shares_of_the_device_that_it_names(monkeypatch):
    of_whole = made.make_records([made.task_of(WHOLE)], count=1)
    monkeypatch.setattr(autotvm.tophub, "context", lambda *_: autotvm.apply_history_best(list(of_whole.pairs)))
    serving.install()
    unnamed = tvm.target.Target("opencl", host="llvm")
    with tuned_records([made.GPU]):
        assert kind(SHARE) == "adapted"
        assert find_source(unnamed, SHARE).kind == "our schedule"
    with apply_records(of_whole):
        assert find_source(unnamed, SHARE).kind == "adapted"


def test_stock_contexts_serve_shares_too(tmp_path):
    """As after ``tvmc --tuning-records``; several records of one workload need `apply_records`."""
    records = made.make_records([made.task_of(WHOLE)], count=3)
    records.save(str(tmp_path / "records.log"))
    with autotvm.apply_history_best(str(tmp_path / "records.log")):
        first = query(SHARE)
        assert kind(SHARE) == "adapted"
        first.cost = 0.0  # what TVM writes into a configuration stays out of the next answer
        assert query(SHARE).cost > 0.0
    with apply_records(records, [made.CPU]):
        assert kind(SHARE) == "our schedule"


def test_records_that_no_file_holds():
    """Those of a tuner that has just measured: TVM compares the costs of implementations, which reading would set."""
    data, weight = relay.var("d", shape=(8, 32)), relay.var("w", shape=(24, 32))
    func = relay.Function([data, weight], relay.nn.dense(data, weight))
    tasks = [made.task_of((n, made.tensor(8, 32), made.tensor(24, 32), None, "float32")) for n in _DENSE]
    for order in (1, -1):
        records = made.make_records(tasks[::order], count=1)
        records = Records((records.pairs[0], (records.pairs[1][0], records.pairs[1][1]._replace(costs=(2e-3,)))))
        with apply_records(records):
            chosen = [chosen_workload(c, made.CPU)[0] for c in anchor_calls(func, made.CPU)]
        assert chosen == [tasks[::order][0].name]


def test_altered_layouts_are_the_adapted_configuration():
    """`AlterOpLayout` asks for the plain workload; what it packs has the blocks of the adapted configuration.

    The packed workload is answered also where the layouts were altered inside another context.
    """
    mod = Prepare()(models.conv_chain(1, channels=16))
    whole = made.conv2d("conv2d_NCHWc.x86", (1, 16, 14, 14), (32, 16, 3, 3), 1, (1,) * 4)
    task = made.task_of(whole)
    configs = [task.config_space.get(i) for i in range(len(task.config_space))]
    entity = next(
        c for c in configs if (c["tile_ic"].size[-1], c["tile_oc"].size[-1], c["tile_ow"].size[-1]) == (2, 4, 7)
    )
    measured = autotvm.MeasureInput(made.CPU, autotvm.task.Task(task.name, task.args), entity)
    records = Records(((measured, autotvm.MeasureResult((1e-3,), 0, 0.1, 0.0)),))
    with apply_records(records), made.CPU, tvm.transform.PassContext(opt_level=3):
        altered = relay.transform.AlterOpLayout()(relay.transform.InferType()(mod))
    assert 'data_layout="NCHW2c"' in str(altered) and 'out_layout="NCHW4c"' in str(altered)
    packed = ("conv2d_NCHWc.x86", made.tensor(1, 8, 14, 14, 2), made.tensor(4, 8, 3, 3, 2, 4), (1, 1), (1,) * 4, (1, 1))
    packed = (*packed, "NCHW2c", "NCHW4c", "float32")
    with apply_records(records):
        assert query(packed)["tile_ow"].size[-1] == 7


@pytest.mark.opencl
def test_the_report_says_which_kernel_got_what():
    with tvm.transform.PassContext(opt_level=3):
        mod = models.fire_net()
        graph = extract_with_calls(Prepare()(mod)).graph
        heavy = [k.index for k in graph.kernels if k.is_heavy]
        segments = [
            Segment("split", (k.index,), "oc", k.named_axis("oc").extent // 2)
            if k.index == heavy[-1]
            else Segment("gpu" if k.index == heavy[0] else "cpu", (k.index,))
            for k in graph.kernels
        ]
        plan = Plan(graph.fingerprint(), tuple(segments))
        tasks = tvm_coexec.extract_tasks(mod, cpu=made.CPU, gpu=made.GPU, plan=plan, profile="generic")
        wholes = [t for t in tasks if t.whole and t.device == "gpu" and t.task.name == "conv2d_nchw.cuda"]
        served = next(t for t in wholes if heavy[-1] in t.kernels)
        partition = tvm_coexec.CoExecPartition(made.CPU, made.GPU, plan=plan)
        partition(mod)
        assert partition.report.sources == ()
        assert "configurations of" not in partition.report.to_text()
        with apply_records(made.make_records([served.task])):
            partition(mod)
    found = {(s.kernels[0], s.device): s for s in partition.report.sources}
    assert found[heavy[0], "gpu"].source == "our schedule"
    assert found[heavy[-1], "cpu"].source == "fallback" and found[heavy[-1], "cpu"].rows == 5
    assert found[heavy[-1], "gpu"].source.startswith("adapted along oc from")
    text = partition.report.to_text()
    assert "configurations of the compute-intensive kernels" in text and found[heavy[-1], "gpu"].source in text
