"""Runs recorded on both devices. Nothing here depends on durations, only on order."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests.models import conv_chain, input_of, residual_net
from tests.runtime import process
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import load, runtime
from tvm_coexec.tracing import Recording, Tracer, numbers, record, table
from tvm_coexec.tracing.timeline import COMPUTING, Timeline

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.fixture(scope="module")
def lib():
    return tvm_coexec.build(residual_net(), ratio=0.5, profile="generic")


@pytest.fixture(scope="module")
def recording(lib) -> Recording:
    return record(lib, input_of(residual_net()), runs=5, warm_up=2)


def check_order(measured: Timeline) -> None:
    """What holds on any machine: launch before kernel, kernel before the copy that waits for it, all in the run."""
    off = measured.uncertainty_s + 1e-6
    host, gpu = measured.lane("cpu"), measured.lane("gpu")
    assert all(a.end_s <= b.start_s for a, b in pairwise(host))  # the host is at one thing at a time
    assert host[0].start_s >= 0 and host[-1].end_s <= measured.total_s
    assert gpu and all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(gpu))  # one queue, in order
    for kernel in gpu:
        assert kernel.launched_s <= kernel.start_s + off
        assert kernel.start_s <= kernel.end_s <= measured.total_s + off
    for segment in {k.segment for k in gpu}:
        # the CPU waits for what wrote the data that it takes, and no longer; at last it has waited for all of them
        taken = ("download", "elided copy")
        downloads = [e.end_s for e in host if e.what in taken and e.to == "cpu" and e.nbytes and e.segment == segment]
        assert downloads and max(k.end_s for k in gpu if k.segment == segment) <= max(downloads) + off


def test_order(recording):
    assert len(recording.windows) == 5 and recording.chosen in recording.windows
    check_order(recording.measured)


def test_every_node_has_its_events(lib, recording):
    nodes, measured = recording.graph.nodes, recording.measured
    computed = [e for e in measured.lane("cpu") if e.what in COMPUTING]
    assert [(e.name, e.what, e.segment) for e in computed] == [
        (n.function, n.role, n.segment) for n in nodes if n.is_call and n.device == "cpu"
    ]
    launched = [e for e in measured.lane("cpu") if e.what == "enqueue"]
    assert [(e.name, e.segment) for e in launched] == [
        (n.function, n.segment) for n in nodes if n.is_call and n.device == "gpu"
    ]
    functions = [n for n in nodes if n.is_call and n.device == "gpu"]
    kernels = measured.lane("gpu")
    assert len(kernels) >= len(functions)
    assert [k.segment for k in kernels] == sorted(k.segment for k in kernels)
    for kernel in kernels:
        assert any(kernel.name.startswith(n.function) and kernel.segment == n.segment for n in functions)


def test_bytes_are_those_of_the_tensors(lib, recording):
    graph = json.loads(lib.get_graph_json())
    sizes = []
    for node, device, shape in zip(
        graph["nodes"], graph["attrs"]["device_index"][1], graph["attrs"]["shape"][1], strict=True
    ):
        if node["op"] != "null" and node["attrs"]["func_name"] == "__copy" and device == 1:
            sizes.append(4 * int(np.prod(shape)))
    host = recording.measured.lane("cpu")
    taken = [e.nbytes for e in host if e.what in ("download", "elided copy") and e.to == "cpu" and e.nbytes]
    assert taken == sizes
    found, moved = numbers(recording.measured), sum(sizes)
    if runtime.devices()[0].memory_mode == "fine":
        assert found["moved_bytes"] == 0 and found["elided_bytes"] >= moved
    assert found["sync_points"] == recording.graph.expected["sync_points"] == 6


def test_results_are_those_of_an_untraced_run(lib):
    inputs = input_of(residual_net())
    plain, tracer = tvm_coexec.create(lib), Tracer()
    traced = tracer.create(lib)
    for module in (plain, traced):
        module.set_input(**inputs)
    plain.run()
    tracer.record(traced.run, runs=2, warm_up=0)
    np.testing.assert_array_equal(plain.get_output(0).numpy(), traced.get_output(0).numpy())
    traced.run()  # and afterwards
    np.testing.assert_array_equal(plain.get_output(0).numpy(), traced.get_output(0).numpy())


def check_one_at_a_time(measured: Timeline) -> None:
    """While a kernel of the GPU runs, the CPU waits or launches; it waits for each kernel where it launches it."""
    gpu, off = measured.lane("gpu"), measured.uncertainty_s + 1e-6
    assert gpu and [e for e in measured.lane("cpu") if e.what == "work"]
    for kernel in gpu:
        for e in measured.lane("cpu"):
            if e.what not in ("wait", "enqueue"):
                assert e.end_s <= kernel.start_s + off or kernel.end_s <= e.start_s + off, (e, kernel)
    waits = [e for e in measured.lane("cpu") if e.what == "wait" and e.node in {k.node for k in gpu}]
    assert len(waits) >= len(gpu)  # each in the call that launches the kernel


def test_one_kernel_at_a_time(lib):
    inputs = input_of(residual_net())
    tracer = Tracer()
    module = tracer.create(lib)
    module.set_input(**inputs)
    module.run()
    want = module.get_output(0).numpy()
    for alone in (True, False):  # the option holds for one recording
        made = tracer.record(module.run, runs=3, warm_up=0, one_at_a_time=alone)
        np.testing.assert_array_equal(module.get_output(0).numpy(), want)
        assert len(made.timelines) == 3
        if alone:
            for timeline in made.timelines:
                check_order(timeline)
                check_one_at_a_time(timeline)
    launching = {k.node for k in made.measured.lane("gpu")}
    assert not [e for e in made.measured.lane("cpu") if e.what == "wait" and e.node in launching]


def test_a_run_that_fails_ends_the_recording(lib):
    tracer = Tracer()
    tracer.create(lib)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        tracer.record(fail, runs=1, warm_up=0)
    runtime.trace_start()  # would say that one is being recorded
    runtime.trace_take()


def test_a_module_of_plain_relay_build():
    mod = tvm_coexec.partition_for_coexec(conv_chain(), ratio=0.5)
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, tvm_coexec.targets("llvm", "opencl"))
    made = record(lib, input_of(conv_chain()), runs=1, warm_up=1)
    assert made.expected is None and made.measured.lane("gpu") and not made.graph.is_annotated
    assert "tvm_coexec.build" in table(made)


def test_a_module_for_the_cpu_alone():
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(conv_chain(), "llvm")
    made = record(lib, input_of(conv_chain()), runs=1, warm_up=0)
    assert made.measured.lane("gpu") == [] and {e.what for e in made.measured.lane("cpu")} == {"work"}
    assert "may be off" not in table(made)


def test_another_executor_of_a_wrapped_module(lib):
    """Requests are counted from the start again."""
    tracer = Tracer()
    wrapped = tracer.wrap(lib.get_graph_json(), lib.get_lib())
    for _ in range(2):
        module = graph_executor.create(lib.get_graph_json(), wrapped, [tvm.cpu(), tvm.opencl()])
        module.set_input(**lib.get_params(), **input_of(residual_net()))
        check_order(tracer.record(module.run, runs=1, warm_up=1).measured)


def test_tvm_s_own_opencl_is_named(lib, monkeypatch):
    monkeypatch.setattr(load, "runtime_name", lambda: "tvm")
    with pytest.raises(CoExecError, match="TVM's own OpenCL runtime is in use"):
        Tracer().wrap(lib.get_graph_json(), lib.get_lib())


CODE = """
import json
import numpy as np, tvm
from tests.models import input_of, residual_net
from tests.tracing.test_record import check_order
from tests.tracing.test_record import check_one_at_a_time
from tvm_coexec.opencl import runtime
from tvm_coexec.tracing import numbers, record
from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.create import Creation
from tvm_coexec.executor.graph_json import Graph
lib = tvm.runtime.load_module({path!r})
made = record(lib, input_of(residual_net()), runs=3, warm_up=1)
check_order(made.measured)
found = numbers(made.measured)
check_one_at_a_time(record(lib, input_of(residual_net()), runs=1, warm_up=1, one_at_a_time=True).measured)
(device,) = runtime.devices()
graph = Creation(lib).executor_graph()
plan = read_metadata(Graph(lib["get_graph_json"]()))["memory"]["layouts"][device.storage_layout]["graph"]
nodes = [[n["name"] for n in g["nodes"]] for g in (json.loads(graph), plan)]
report([found["downloaded_bytes"] > 0, found["elided_bytes"] > 0, device.storage_layout, nodes[0] == nodes[1]])
"""


@pytest.mark.parametrize(
    ("mode", "layout"), [("buffer", "copied"), ("coarse", "mapped"), ("fine", "shared"), ("hostptr", "mapped")]
)
def test_order_in_every_memory_mode(lib, tmp_path, mode, layout):
    path = str(tmp_path / "net.so")
    lib.export_library(path)
    downloaded, elided, *taken = process.run(CODE.format(path=path), TVM_COEXEC_OPENCL_MEMORY=mode)
    assert (downloaded, elided) == ((True, False) if mode == "buffer" else (False, True))
    assert taken == [layout, True]


@pytest.mark.parametrize(
    ("inputs", "options", "text"),
    [
        ({"q": np.zeros((1, 3, 8, 8), "float32")}, {}, "the model has no input 'q'; it takes "),
        ({"x": np.zeros((1, 3), "float32")}, {}, r"input 'x' has the shape \[1, 3\]; the model takes \[1, "),
        ({}, {"runs": 0}, "can't record 0 runs"),
        ({}, {"warm_up": -1}, "after -1 others"),
    ],
)
def test_what_cant_be_recorded_is_refused(lib, inputs, options, text):
    with pytest.raises(CoExecError, match=text):
        record(lib, inputs, **options)
