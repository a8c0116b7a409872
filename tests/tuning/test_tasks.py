"""Tasks of whole kernels and shares, on both devices: what they are of, what they weigh, and their order."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tvm import autotvm, relay  # noqa: E402

import tvm_coexec  # noqa: E402
from tests import models  # noqa: E402
from tests.tuning import made  # noqa: E402
from tvm_coexec import CoExecError  # noqa: E402
from tvm_coexec.core.plan import Plan, Segment  # noqa: E402
from tvm_coexec.measuring.pieces import KernelBuilder, Piece  # noqa: E402
from tvm_coexec.relay_passes.extract import extract_with_calls  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.targets import targets  # noqa: E402
from tvm_coexec.tuning.operators import unpack  # noqa: E402
from tvm_coexec.tuning.tuners import anchor_calls, autotvm_workloads, chosen_workload  # noqa: E402

TARGETS = {"cpu": made.CPU, "gpu": made.GPU}


def tasks(mod, **options):
    return tvm_coexec.extract_tasks(mod, profile="generic", **TARGETS | options)


@pytest.fixture(scope="module")
def net() -> tvm.IRModule:
    """Three equal convolutions and a last one with more channels."""
    return models.conv_chain(3)


def shapes(task) -> tuple:
    return tuple(a[1] for a in task.task.args[:2])


def test_whole_kernels(net):
    found = tasks(net)
    assert {(t.device, t.task.name) for t in found} >= {("cpu", "conv2d_NCHWc.x86"), ("gpu", "conv2d_nchw.cuda")}
    direct = [t for t in found if t.task.name in ("conv2d_NCHWc.x86", "conv2d_nchw.cuda")]
    assert [(t.runs, t.whole, t.axis, t.cut, t.kernels) for t in direct] == [(3, True, "", 0, (0, 1, 2))] * 2
    assert [t.critical for t in found] == sorted((t.critical for t in found), reverse=True)
    for t in found:
        assert isinstance(t.task, autotvm.task.Task) and len(t.task.config_space) > 0 and t.seconds > 0.0
        assert t.task.target.kind.name == {"cpu": "llvm", "gpu": "opencl"}[t.device] == t.target.kind.name


@pytest.mark.slow
def test_a_plan(net):
    with tvm.transform.PassContext(opt_level=3):
        graph = extract_with_calls(Prepare()(net)).graph
    segments = (Segment("cpu", (0,)), Segment("split", (1, 2), "h", 9))
    found = tasks(net, plan=Plan(graph.fingerprint(), segments))
    run = [t for t in found if t.runs]
    heights = {(t.device, t.axis, t.cut, shapes(t)[0][2]) for t in run}
    # the chain's first convolution computes a halo row for the second: 10 rows of 14, read with a halo of its own
    assert heights == {
        ("cpu", "", 0, 14),
        ("gpu", "h", 10, 11),
        ("gpu", "h", 9, 10),
        ("cpu", "h", 8, 7),
        ("cpu", "h", 9, 6),
    }
    assert [t.runs for t in found] == [1] * len(run) + [0] * (len(found) - len(run))
    keys = [(not t.critical, -t.seconds) for t in run]
    assert keys == sorted(keys)
    in_chain = [t.critical for t in run if t.axis == "h"]
    assert len(set(in_chain)) == 2, "one device waits for the other"
    assert all(t.whole and t.seconds == 0.0 and not t.critical for t in found if not t.runs)
    assert [(t.device, t.key) for t in tasks(net, plan=Plan(graph.fingerprint(), segments))] == [
        (t.device, t.key) for t in found
    ]


@pytest.mark.slow
def test_cuts(net):
    whole = len(tasks(net))
    found = tasks(net, cuts=[0.5])
    assert {(t.axis, t.cut) for t in found if not t.whole} == {("oc", 4), ("h", 7), ("w", 7), ("ic", 4)} or {
        (t.axis, t.cut) for t in found if not t.whole
    } == {("oc", 4), ("h", 7), ("ic", 4)}
    assert len(found) > 2 * whole and {t.runs for t in found} == {3}
    assert {t.key for t in tasks(net, cuts=1)} == {t.key for t in found}


@pytest.mark.parametrize("dim", [None, 1, 2])
def test_tasks_are_those_of_what_is_compiled(dim):
    """TVM's own extraction, of the function that the device compiles, finds the same tasks."""
    prepared = Prepare()(models.conv_chain(1))
    builder = KernelBuilder(prepared, extract_with_calls(prepared), *targets(made.CPU, made.GPU))
    for device, rows, target in (("cpu", (5, 8), builder.cpu), ("gpu", (0, 5), builder.gpu)):
        extent = {1: 8, 2: 14}.get(dim, 0)
        piece = Piece(device, 0) if dim is None else Piece(device, 0, dim, (rows[0], extent) if rows[0] else rows)
        func = builder.unaltered(piece)
        stock = autotvm.task.extract_from_program(tvm.IRModule.from_expr(func), {}, target)
        assert {t.workload for t in stock} == set(autotvm_workloads(func, target))
        assert chosen_workload(anchor_calls(func, target)[0], target) in {t.workload for t in stock}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuner": "ansor"}, "tuner 'ansor' is unknown; use one of autotvm, autoscheduler, metaschedule"),
        ({"cuts": [0.5, 1.5]}, "cuts holds 1.5: give the GPU's fractions, between 0 and 1"),
        ({"cuts": -1}, "cuts is -1: give how many cuts an axis gets"),
        ({"cuts": "half"}, "cuts is 'half': give a number of cuts"),
        ({"plan": Plan("of another model", (Segment("cpu", (0,)),))}, "the plan was made for another model"),
        ({"plan": "no.json"}, "can't read plan no.json"),
        ({"tuner": "metaschedule"}, "tuner 'metaschedule' needs -num-cores of the target llvm"),
        ({"tuner": "metaschedule", "cpu": "llvm -num-cores=2", "gpu": "vulkan"}, "needs -max_shared_memory_per_block"),
    ],
)
def test_errors(net, options, message):
    with pytest.raises(CoExecError) as caught:
        tasks(net, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_without_operators():
    x = relay.var("x", shape=(2,))
    with pytest.raises(CoExecError, match="no kernels to tune"):
        tasks(tvm.IRModule.from_expr(relay.Function([x], x)))


@pytest.mark.parametrize(
    ("tuner", "cpu", "kind"),
    [("autoscheduler", "llvm", "SearchTask"), ("metaschedule", "llvm -num-cores=2", "ExtractedTask")],
)
def test_other_tuners(tuner, cpu, kind):
    found = tasks(models.conv_chain(2), tuner=tuner, cpu=cpu)
    assert {t.device for t in found} == {"cpu", "gpu"} and {type(t.task).__name__ for t in found} == {kind}
    assert max(t.runs for t in found) == 2 and all(t.tuner == tuner for t in found)


class Asked(autotvm.task.DispatchContext):
    """Remembers the workloads that a build asks for."""

    def __init__(self):
        super().__init__()
        self.workloads = set()

    def query(self, target, workload):
        self.workloads.add((target.kind.name, workload))
        return self._old_ctx.query(target, workload)

    def update(self, target, workload, cfg):
        self._old_ctx.update(target, workload, cfg)


@pytest.mark.opencl
def test_tasks_of_a_plan_are_what_its_build_asks_for():
    """In chains with halo rows, branches, and a reduction; layouts that are packed by then apart."""
    mod = models.residual_net()
    with tvm.transform.PassContext(opt_level=3):
        graph = extract_with_calls(Prepare()(mod)).graph
        heavy = [k.index for k in graph.kernels if k.is_heavy]
        chain = tuple(range(heavy[0], heavy[1] + 1))  # with the pooling between both convolutions
        rest = [k.index for k in graph.kernels if k.index not in chain]
        segments = [Segment("split", chain, "h", 5)]
        segments += [Segment("split", (k,), "ic", 3) if k == heavy[2] else Segment("gpu", (k,)) for k in rest]
        plan = Plan(graph.fingerprint(), tuple(segments))
        with Asked() as asked:
            divided = tvm_coexec.CoExecPartition(made.CPU, made.GPU, plan=plan)(mod)
            relay.build(divided, target=targets(made.CPU, made.GPU))
    plain = {(kind, w) for kind, w in asked.workloads if not unpack(w)[1]}
    assert {(t.target.kind.name, t.task.workload) for t in tasks(mod, plan=plan) if t.runs} == plain
