"""Several threads, each with a module of its own, and one kernel shared by all."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

from tests.executor.threads import N_THREADS, in_threads
from tests.runtime import device_checks
from tvm_coexec.opencl import runtime

pytestmark = pytest.mark.opencl


def test_each_thread_runs_its_own_module() -> None:
    mod, params = device_checks.conv_net()
    with tvm.transform.PassContext(opt_level=3):
        cpu = relay.build(mod, "llvm", params=params)
        libs = [relay.build(mod, tvm.target.Target("opencl", host="llvm"), params=params) for _ in range(N_THREADS)]
    inputs = np.random.default_rng(1).standard_normal((N_THREADS, 15, 1, 8, 14, 14)).astype("float32")
    reference = graph_executor.GraphModule(cpu["default"](tvm.cpu()))
    expected = np.empty((N_THREADS, 15, 1, 4 * 7 * 7), "float32")
    for i in range(N_THREADS):
        for k in range(15):
            reference.set_input("x", inputs[i, k])
            reference.run()
            expected[i, k] = reference.get_output(0).numpy()

    def work(i: int) -> None:
        g = graph_executor.GraphModule(libs[i]["default"](tvm.opencl(0)))  # programs are built here, at once
        for k in range(15):
            g.set_input("x", inputs[i, k])
            g.run()
            np.testing.assert_allclose(g.get_output(0).numpy(), expected[i, k], rtol=1e-5, atol=1e-7)

    in_threads(work)


def test_threads_share_a_kernel_and_an_input() -> None:
    source = (
        "__kernel void k(__global float* a, __global float* b, float s) { int i = get_global_id(0); b[i] = a[i] * s; }"
    )
    f = runtime.source_module(source, "k", ["handle", "handle", "float32"])["k"]
    dev = tvm.opencl(0)
    shared = tvm.nd.array(np.arange(256, dtype="float32"), dev)

    def work(i: int) -> None:
        out = tvm.nd.empty((256,), "float32", dev)
        for k in range(100):
            f(shared, out, float(i * 1000 + k), 4, 64)
            np.testing.assert_array_equal(out.numpy(), np.arange(256, dtype="float32") * np.float32(i * 1000 + k))

    in_threads(work)


def test_threads_with_streams_of_their_own() -> None:
    source = "__kernel void inc(__global float* a) { a[get_global_id(0)] += 1.0f; }"
    f = runtime.source_module(source, "inc", ["handle"])["inc"]
    dev = tvm.opencl(0)
    shared = tvm.nd.array(np.zeros(64, "float32"), dev)

    def work(i: int) -> None:
        stream = dev.create_raw_stream()
        dev.set_raw_stream(stream)
        for _ in range(50):
            f(shared, 1, 64)  # ordered between streams, because each launch writes it
        dev.sync(stream)
        dev.set_raw_stream(None)
        dev.free_raw_stream(stream)

    in_threads(work)
    np.testing.assert_array_equal(shared.numpy(), np.full(64, 50 * N_THREADS, "float32"))


def test_threads_allocate_copy_and_free() -> None:
    dev = tvm.opencl(0)
    gc.collect()  # what earlier tests have left
    live = runtime.stats()["live_bytes"]

    def work(i: int) -> None:
        rng = np.random.default_rng(i)
        for _ in range(100):
            values = rng.standard_normal(rng.integers(1, 5000)).astype("float32")
            there = tvm.nd.array(values, dev)
            np.testing.assert_array_equal(there.copyto(dev).numpy(), values)

    in_threads(work)
    assert runtime.stats()["live_bytes"] == live
