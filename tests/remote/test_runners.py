"""TVM's tuners measure OpenCL kernels on a stock RPC server of a tracker: the runtime is loaded there."""

from __future__ import annotations

import pickle
import re
import socket
from collections.abc import Iterator

import pytest

pytest.importorskip("tvm.relay")

import tvm
from tvm import auto_scheduler, autotvm, te
from tvm import meta_schedule as ms
from tvm.autotvm.measure import MeasureErrorNo, measure_methods

from tests.remote.servers import tracked
from tests.tvmc.test_remote import tracker  # noqa: F401 - a fixture
from tvm_coexec import CoExecError
from tvm_coexec.remote import runners

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]

TARGET = tvm.target.Target("opencl", host="llvm")
KEY = "stock"


@pytest.fixture(scope="module")
def server(tracker) -> Iterator[tuple[str, int]]:  # noqa: F811
    """Host and port of a tracker that has one stock server."""
    with tracked(tracker, KEY):
        host, port = tracker.split(":")
        yield host, int(port)


EXTENT = 1 << 16
# Sizes of a work-group; the second is more than any device allows.
SIZES = [64, EXTENT]


@auto_scheduler.register_workload("tests_double")
def double(extent: int) -> list[te.Tensor]:
    x = te.placeholder((extent,), name="x")
    return [x, te.compute((extent,), lambda i: x[i] * 2.0, name="y")]


@autotvm.template("tests/double")
def double_template(extent: int) -> tuple[te.Schedule, list[te.Tensor]]:
    x, y = double(extent)
    schedule, config = te.create_schedule(y.op), autotvm.get_config()
    config.define_knob("size", SIZES)
    outer, inner = schedule[y].split(y.op.axis[0], config["size"].val)
    schedule[y].bind(outer, te.thread_axis("blockIdx.x"))
    schedule[y].bind(inner, te.thread_axis("threadIdx.x"))
    return schedule, [x, y]


def test_autotvm(server):
    task = autotvm.task.create("tests/double", args=(EXTENT,), target=TARGET)
    runner = autotvm.RPCRunner(KEY, *server, timeout=60, n_parallel=1, number=1, repeat=1)
    builder = autotvm.LocalBuilder(timeout=60)
    runner.set_task(task)
    builder.set_task(task)
    inputs = [autotvm.MeasureInput(TARGET, task, task.config_space.get(n)) for n in range(len(SIZES))]
    results = runner.run(inputs, builder.build(inputs))
    assert [r.error_no for r in results] == [MeasureErrorNo.NO_ERROR, MeasureErrorNo.RUNTIME_DEVICE]
    # What the runner knows of the device rules the second one out before it runs.
    builder.set_task(task, runner.get_build_kwargs())
    assert builder.build(inputs[1:])[0].error_no == MeasureErrorNo.INSTANTIATION_ERROR
    assert pickle.loads(pickle.dumps(measure_methods.run_through_rpc)) is measure_methods.run_through_rpc


def test_auto_scheduler(server):
    params = auto_scheduler.HardwareParams(-1, 16, 64, 32768, 1 << 30, 256, 8, 32)
    task = auto_scheduler.SearchTask("tests_double", args=(EXTENT,), target=TARGET, hardware_params=params)
    inputs = []
    for size in SIZES:
        state = task.compute_dag.get_init_state()
        outer, inner = state.split(1, state.stages[1].iters[0], [size])
        state.bind(1, outer, "blockIdx.x")
        state.bind(1, inner, "threadIdx.x")
        inputs.append(auto_scheduler.MeasureInput(task, state))
    runner = auto_scheduler.RPCRunner(KEY, *server, number=1, repeat=1, min_repeat_ms=0, timeout=60)
    results = runner.run(inputs, auto_scheduler.LocalBuilder(n_parallel=1, timeout=60).build(inputs))
    assert [r.error_no for r in results] == [MeasureErrorNo.NO_ERROR, MeasureErrorNo.RUNTIME_DEVICE]


def test_meta_schedule(server):
    config = ms.runner.RPCConfig(*server, KEY, session_timeout_sec=60)
    once = ms.runner.EvaluatorConfig(number=1, repeat=1, min_repeat_ms=0)
    info = [ms.arg_info.TensorInfo("float32", (EXTENT,))] * 2
    inputs = []
    for size in SIZES:
        schedule = tvm.tir.Schedule(te.create_prim_func(double(EXTENT)))
        outer, inner = schedule.split(*schedule.get_loops(schedule.get_block("y")), [None, size])
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
        artifact = ms.builder.local_builder.default_export(tvm.build(schedule.mod, target=TARGET))
        inputs.append(ms.runner.RunnerInput(artifact, "opencl", info))
    for runner in (ms.runner.RPCRunner(config, once), ms.runner.LocalRunner(60, once)):
        good, bad = (future.result() for future in runner.run(inputs))
        assert good.error_msg is None and float(good.run_secs[0]) > 0
        assert bad.run_secs is None and "WORK_GROUP_SIZE" in bad.error_msg


def test_a_missing_server_is_named(server):
    task = autotvm.task.create("tests/double", args=(EXTENT,), target=TARGET)
    where = "{}:{}".format(*server)
    text = f"the tracker {where} has no server 'other' (it has: {KEY}): start one with `python -m tvm.exec.rpc_server"
    with pytest.raises(CoExecError, match=re.escape(text)):
        runners.check_remote(TARGET, "other", *server, timeout=0)
    with pytest.raises(CoExecError, match=re.escape(text)):
        auto_scheduler.RPCRunner("other", *server, timeout=0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CoExecError, match=f"the tracker 127.0.0.1:{port} can't be reached"):
        autotvm.RPCRunner(KEY, "127.0.0.1", port).set_task(task)


def test_a_missing_device_is_named(tracker, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TVM_COEXEC_LIBOPENCL", "/no/libOpenCL.so")
    host, port = tracker.split(":")
    with tracked(tracker, "lacking"):
        assert runners.check_remote("llvm", "lacking", host, int(port))
        with pytest.raises(CoExecError, match=r"'lacking' has no opencl device .*/no/libOpenCL"):
            runners.check_remote(TARGET, "lacking", host, int(port))
        with pytest.raises(CoExecError, match=r"no opencl device .* in textures, .* tune for `opencl -model=adreno`"):
            runners.check_remote("opencl -device=adreno", "lacking", host, int(port))


def test_uninstalling_restores_tvm():
    ours = measure_methods.check_remote
    runners.uninstall()
    try:
        assert measure_methods.check_remote is not ours
        assert not hasattr(measure_methods.run_through_rpc, "__wrapped__")
    finally:
        runners.install()
    runners.install()
    assert not hasattr(measure_methods.run_through_rpc.__wrapped__, "__wrapped__")
