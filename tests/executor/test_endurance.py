"""`tvm_coexec.create` holds up: many runs, threads, modules, errors in between; results bit-equal to the stock path.

``TVM_COEXEC_ENDURANCE_RUNS`` is the number of runs of each kind (default 40):

    TVM_COEXEC_ENDURANCE_RUNS=10000 .venv/bin/python -m pytest tests/executor/test_endurance.py --timeout 7200
"""

from __future__ import annotations

import functools
import gc
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests import models
from tests.executor.threads import N_THREADS, in_threads
from tests.runtime import process
from tvm_coexec.core.errors import one_line
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.opencl import runtime
from tvm_coexec.partition import CoExecPartition
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

RUNS = int(os.environ.get("TVM_COEXEC_ENDURANCE_RUNS", "40"))
N_INPUTS = 8
# The rest that the driver may keep per run: nothing; in all: its pools, and what the allocator of the process does.
RSS_LIMIT = 24 << 20


@functools.cache
def library(axis: str):
    """Four convolutions: one chain along rows, or each divided by channels, with an exchange after each."""
    if folder := os.environ.get("TVM_COEXEC_ENDURANCE_LIBRARIES"):
        return tvm.runtime.load_module(f"{folder}/{axis}.so")
    mod = models.conv_chain(length=4, channels=8, size=20)
    with tvm.transform.PassContext(opt_level=3):
        graph = extract(Prepare()(mod))
        n = len(graph.kernels)
        groups = [tuple(range(n))] if axis == "h" else [(i,) for i in range(n)]
        cuts = [graph.kernels[g[-1]].named_axis(axis).extent // 2 for g in groups]
        plan = Plan(graph.fingerprint(), tuple(Segment("split", g, axis, c) for g, c in zip(groups, cuts, strict=True)))
        return relay.build(CoExecPartition(plan=plan)(mod), target=tvm_coexec.targets())


@functools.cache
def inputs() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((N_INPUTS, 1, 8, 20, 20)).astype("float32")


def run(module: graph_executor.GraphModule, k: int) -> np.ndarray:
    module.set_input("x", inputs()[k % N_INPUTS])
    module.run()
    return module.get_output(0).numpy()


@functools.cache
def expected(axis: str) -> list[np.ndarray]:
    """What the stock path, which copies, makes of the inputs."""
    module = graph_executor.GraphModule(library(axis)["default"](tvm.cpu(0), tvm.opencl(0)))
    return [run(module, k) for k in range(N_INPUTS)]


def check(module: graph_executor.GraphModule, k: int, axis: str) -> None:
    np.testing.assert_array_equal(run(module, k), expected(axis)[k % N_INPUTS])


def rss_bytes() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def live_bytes() -> int:
    gc.collect()
    return runtime.stats()["live_bytes"]


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    if tvm.get_global_func("tvm_coexec.opencl.inject_fault", allow_missing=True) is None:
        pytest.skip("TVM's own OpenCL runtime, which knows no faults")
    for axis in ("h", "oc"):
        expected(axis)
    runtime.wait_method()  # what it takes to measure that stays for good
    yield
    runtime.clear_faults()


@pytest.mark.parametrize("axis", ["h", "oc"])
def test_many_runs_neither_drift_nor_grow(axis: str) -> None:
    module = tvm_coexec.create(library(axis))
    warm = max(RUNS // 4, 20)
    for k in range(warm):
        check(module, k, axis)
    live, rss, allocations = live_bytes(), rss_bytes(), runtime.stats()["allocations"]
    for k in range(RUNS):
        check(module, k, axis)
    assert live_bytes() == live
    assert runtime.stats()["allocations"] == allocations  # nothing is allocated by a run
    assert rss_bytes() - rss < RSS_LIMIT


def test_threads_each_with_a_module() -> None:
    before = live_bytes()

    def work(i: int) -> None:
        axis = ("h", "oc")[i % 2]
        module = tvm_coexec.create(library(axis))
        for k in range(RUNS // 2):
            check(module, i + k, axis)

    in_threads(work)
    assert live_bytes() == before


def test_many_modules_at_once() -> None:
    before = live_bytes()
    modules = [tvm_coexec.create(library(("h", "oc")[i % 2])) for i in range(16)]
    for k in range(max(RUNS // 16, 3)):
        for i, module in enumerate(modules):
            check(module, i + k, ("h", "oc")[i % 2])
    del modules[::2]  # the others are not concerned
    for i, module in enumerate(modules):
        check(module, i, "oc")
    del modules, module
    assert live_bytes() == before


def test_repeated_creation_and_destruction() -> None:
    before, rss = live_bytes(), 0
    for k in range(RUNS):
        check(tvm_coexec.create(library("oc")), k, "oc")
        if k == RUNS // 4:
            rss = rss_bytes()
    assert live_bytes() == before
    assert rss_bytes() - rss < RSS_LIMIT


def test_dropped_while_another_thread_runs() -> None:
    before = live_bytes()
    done = threading.Event()

    def work(i: int) -> None:
        if i == 0:
            module = tvm_coexec.create(library("oc"))
            try:
                for k in range(RUNS):
                    check(module, k, "oc")
            finally:
                done.set()
        else:
            k = 0
            while not done.is_set():
                module = tvm_coexec.create(library("h"))
                module.set_input("x", inputs()[k % N_INPUTS])
                module.run()
                del module
                k += 1

    in_threads(work, 2)
    assert live_bytes() == before


# What is injected, how often, and what the error says.
FAULTS = [
    ("launch", 1, "launching kernel '"),
    ("event", 1, "kernel '"),
    ("copy", 1, "bytes, opencl(0)"),
    ("lost", -1, ""),
]


@pytest.mark.parametrize(("what", "count", "said"), FAULTS)
def test_an_error_between_runs(what: str, count: int, said: str) -> None:
    before = live_bytes()
    module, other = tvm_coexec.create(library("oc")), tvm_coexec.create(library("h"))
    check(module, 0, "oc")
    check(other, 0, "h")
    alive = live_bytes()
    reported = 0
    for k in range(max(RUNS // 8, 5)):
        runtime.inject_fault(what, nth=1 + k % 4, count=count)
        try:
            check(module, k, "oc")
        except tvm.TVMError as err:
            text = one_line(err)
            assert "opencl(0)" in text and "CL_" in text and "\n" not in text, text
            assert said in text or "mapping" in text, text
            reported += 1
        runtime.clear_faults()
        check(other, k, "h")  # another module is not concerned
        check(module, k + 1, "oc")  # and this one goes on
    assert reported > 0 or runtime.fault_hits(what) == 0
    assert live_bytes() == alive
    del module, other
    assert live_bytes() == before


def test_no_memory_for_a_module() -> None:
    before = live_bytes()
    for nth in range(1, 6):
        for code in (-4, -6):
            runtime.inject_fault("allocate", nth=nth, code=code)
            with pytest.raises(Exception, match=r"bytes on opencl\(0\)") as info:
                check(tvm_coexec.create(library("oc")), nth, "oc")
            text = str(info.value)
            assert "CL_" in text, text
            del info
            runtime.clear_faults()
            assert live_bytes() == before
    check(tvm_coexec.create(library("oc")), 0, "oc")


def test_kernels_that_are_not_built() -> None:
    with tvm.transform.PassContext(opt_level=3):
        mod = models.conv_chain(length=1, channels=8, size=9)
        graph = extract(Prepare()(mod))
        plan = Plan(graph.fingerprint(), (Segment("split", (0,), "oc", 4),))
        lib = relay.build(CoExecPartition(plan=plan)(mod), target=tvm_coexec.targets())
    before = live_bytes()
    module = tvm_coexec.create(lib)
    module.set_input("x", models.input_of(mod)["x"])
    runtime.inject_fault("build", count=2)
    for _ in range(2):
        with pytest.raises(tvm.TVMError) as info:
            module.run()
        assert one_line(info.value, 1 << 20).startswith("building the kernel '")
        assert "for opencl(0) (" in str(info.value) and "CL_BUILD_PROGRAM_FAILURE (-11)" in str(info.value)
    del info
    module.run()
    models.assert_same([module.get_output(0).numpy()], models.reference(mod, models.input_of(mod)))
    del module
    assert live_bytes() == before


def test_with_delays() -> None:
    module = tvm_coexec.create(library("oc"))
    for seed in range(4):
        runtime.inject_delays(300, seed)
        for k in range(max(RUNS // 8, 3)):
            check(module, k, "oc")
    assert runtime.fault_hits("delay") > 0


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("libraries")
    for axis in ("h", "oc"):
        library(axis).export_library(str(folder / f"{axis}.so"))
    return str(folder)


def run_threads_with_delays_and_errors() -> dict[str, int]:
    """What the test below runs in a process of its own, per memory mode."""
    before = live_bytes()
    reported = []

    modules = [tvm_coexec.create(library(("h", "oc")[i % 2])) for i in range(N_THREADS)]

    def work(i: int) -> None:
        for k in range(max(RUNS // 44, 5)):  # eleven times, in four threads
            try:
                check(modules[i], i + k, ("h", "oc")[i % 2])
            except tvm.TVMError as err:
                reported.append(one_line(err))

    for seed in range(2):
        runtime.inject_delays(300, seed)
        in_threads(work)
    assert not reported, reported
    for what in ("launch", "event", "copy"):
        for nth in (1, 5, 18):
            runtime.inject_fault(what, nth=nth, count=2)
            in_threads(work)  # a run that tells of no error has the right result
    assert all("opencl(0)" in text and "CL_" in text for text in reported), reported
    hits = {what: runtime.fault_hits(what) for what in ("launch", "event", "copy", "delay")}
    runtime.clear_faults()
    modules.clear()
    return {"reported": len(reported), "left": live_bytes() - before, **hits}


@pytest.mark.parametrize("mode", ["buffer", "coarse", "fine", "hostptr"])
def test_threads_with_delays_and_errors_in_memory_mode(mode: str, exported: str) -> None:
    """On a device of several workers, where pocl takes every liberty."""
    code = """
from tests.executor import test_endurance as t
for axis in ("h", "oc"):
    t.expected(axis)
t.runtime.wait_method()
report(t.run_threads_with_delays_and_errors())
"""
    env = {"TVM_COEXEC_OPENCL_MEMORY": mode, "TVM_COEXEC_ENDURANCE_LIBRARIES": exported}
    got = process.run(code, timeout_s=7200, POCL_MAX_PTHREAD_COUNT="3", POCL_AFFINITY="0", **env)
    assert got["left"] == 0 and got["reported"] > 0, got
    assert got["launch"] > 0 and got["event"] > 0 and got["delay"] > 0, got


def test_faults_by_the_environment() -> None:
    code = """
import numpy as np, tvm
from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl import runtime
try:
    tvm.nd.array(np.zeros(16, "float32"), tvm.opencl(0))
    report("nothing")
except tvm.TVMError as err:
    report(one_line(err))
"""
    text = process.run(code, TVM_COEXEC_OPENCL_FAULTS="allocate:1:1:-6")
    # shared virtual memory has no error code of its own
    assert text.startswith("allocating 64 bytes on opencl(0)") and ("(-6)" in text or "(-4)" in text), text
    text = process.run(code, TVM_COEXEC_OPENCL_FAULTS="lunch")
    assert text.startswith("TVM_COEXEC_OPENCL_FAULTS is 'lunch': there is no fault 'lunch'"), text
