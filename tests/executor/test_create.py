"""`create`: the memory plan in the module, the C++ function that it calls, and RPC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests.models import CPU, conv_chain, input_of, residual_net
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.create import Creation
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.executor.memory.plan import LAYOUTS
from tvm_coexec.opencl import runtime

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

DEVICES = (tvm.cpu(), tvm.opencl())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("create") / "residual.so"
    tvm_coexec.build(residual_net(), cpu=CPU, ratio=0.5, axis="oc").export_library(str(path))
    return path


@pytest.fixture(scope="module")
def lib(exported: Path) -> tvm.runtime.Module:
    return tvm.runtime.load_module(str(exported))


def run(module: graph_executor.GraphModule, inputs: dict[str, np.ndarray]) -> np.ndarray:
    module.set_input(**inputs)
    module.run()
    return module.get_output(0).numpy()


def stock(lib: tvm.runtime.Module) -> graph_executor.GraphModule:
    return graph_executor.GraphModule(lib["default"](*DEVICES))


def test_the_plan_travels_in_the_exported_file(lib):
    memory = read_metadata(Graph(lib["get_graph_json"]()))["memory"]
    assert set(memory["layouts"]) == set(LAYOUTS)
    for layout in memory["layouts"].values():
        assert layout["bytes"] > 0 and len(layout["graph"]["nodes"]) == len(layout["graph"]["node_row_ptr"]) - 1
        for _, block, offset, nbytes in layout["storages"]:
            assert offset + nbytes <= layout["blocks"][block][1]


def test_the_global_function_returns_the_executor_of_the_stock_runtime(lib):
    """As C++ and Java call it: the factory and the devices."""
    module = tvm.get_global_func("tvm_coexec.create")(lib, *DEVICES)
    assert module.type_key == "GraphExecutor"
    inputs = input_of(residual_net())
    runtime.reset_stats()
    got = run(graph_executor.GraphModule(module), inputs)
    assert runtime.stats()["copies_elided"] > 0
    np.testing.assert_array_equal(got, run(stock(lib), inputs))


def test_the_order_of_devices_does_not_matter(lib):
    module = tvm.get_global_func("tvm_coexec.create")(lib, *reversed(DEVICES))
    inputs = input_of(residual_net())
    np.testing.assert_array_equal(run(graph_executor.GraphModule(module), inputs), run(stock(lib), inputs))


def test_an_executor_outlives_its_library_and_python_objects(exported):
    module = tvm_coexec.create(tvm.runtime.load_module(str(exported)))
    inputs = input_of(residual_net())
    want = run(stock(tvm.runtime.load_module(str(exported))), inputs)
    np.testing.assert_array_equal(run(module, inputs), want)


def test_weights_on_the_cpu_are_not_copied(lib):
    """Two executors of one library read the library's own arrays."""
    params = {v.handle.contents.data for v in lib["get_graph_params"]().values()}
    graph = json.loads(Creation(lib).executor_graph())
    cpu_weights = [
        graph["nodes"][n]["name"]
        for n in graph["arg_nodes"]
        if graph["attrs"]["device_index"][1][graph["node_row_ptr"][n]] == 1 and graph["nodes"][n]["name"] != "x"
    ]
    assert cpu_weights
    for module in (tvm_coexec.create(lib), tvm_coexec.create(lib)):
        assert {module.get_input(name).handle.contents.data for name in cpu_weights} <= params


def test_a_module_without_a_plan_gets_one(lib):
    """From relay.build alone, or from an earlier version of this package."""
    mod = tvm_coexec.partition_for_coexec(conv_chain(), ratio=0.5, axis="oc")
    with tvm.transform.PassContext(opt_level=3):
        plain = relay.build(mod, tvm_coexec.targets())
    assert read_metadata(Graph(plain.get_graph_json())) is None
    inputs = input_of(conv_chain())
    runtime.reset_stats()
    got = run(tvm_coexec.create(plain), inputs)
    assert runtime.stats()["copies_elided"] > 0
    np.testing.assert_array_equal(got, run(graph_executor.GraphModule(plain["default"](*DEVICES)), inputs))
    # without Python there is no planner: the stock executor runs it
    module = graph_executor.GraphModule(tvm.get_global_func("tvm_coexec.create")(plain.module, *DEVICES))
    np.testing.assert_array_equal(run(module, inputs), got)


def test_a_plan_of_another_version_is_not_used(lib):
    """It may mean something else; the stock executor runs the module."""
    text = json.dumps({"memory": {"version": 99, "layouts": {}}})
    module = tvm.get_global_func("tvm_coexec.create_with")(lib, text, *DEVICES)
    inputs = input_of(residual_net())
    runtime.reset_stats()
    np.testing.assert_array_equal(run(graph_executor.GraphModule(module), inputs), run(stock(lib), inputs))
    assert runtime.stats()["copies_elided"] == 0


def test_one_device_is_left_to_the_stock_executor():
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(conv_chain(), "llvm")
    inputs = input_of(conv_chain())
    got = run(tvm_coexec.create(lib), inputs)
    np.testing.assert_array_equal(got, run(graph_executor.GraphModule(lib["default"](tvm.cpu())), inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda lib: (), "must be a module"),
        (lambda lib: ("net.so", *DEVICES), "must be a module"),
        (lambda lib: (lib,), "needs the devices"),
        (lambda lib: (lib, 1), "is not a device"),
        (lambda lib: (lib.imported_modules[0], *DEVICES), "needs a graph executor factory"),
        (lambda lib: (lib, tvm.cpu(), tvm.opencl(7)), "7"),
    ],
)
def test_wrong_arguments_are_one_sentence(lib, arguments, message):
    with pytest.raises(tvm.TVMError, match=message):
        tvm.get_global_func("tvm_coexec.create")(*arguments(lib))


def test_textures_are_refused_by_the_module_itself():
    graph = json.loads(tvm_coexec.build(conv_chain(), ratio=0.5).get_graph_json())
    graph["attrs"]["storage_scope"] = ["list_str", ["global.texture"] * len(graph["attrs"]["shape"][1])]
    from tvm_coexec.executor.memory.plan import plan_memory

    plan = plan_memory(json.dumps({k: v for k, v in graph.items() if k != "metadata"}), (), 64)
    lib = tvm_coexec.build(conv_chain(), ratio=0.5)
    with pytest.raises(tvm.TVMError, match="compiled for textures"):
        tvm.get_global_func("tvm_coexec.create_with")(lib.module, json.dumps({"memory": plan}), *DEVICES)


def test_the_graph_of_the_mode_is_what_the_executor_gets(lib):
    graph = json.loads(Creation(lib).executor_graph())
    functions = [n["attrs"]["func_name"] for n in graph["nodes"] if n["op"] != "null"]
    assert "metadata" not in graph and "__nop" in functions
    flags = runtime.wait_method()["method"] == "flag"
    assert ("coexec_signal" in functions) == flags


def test_missing_devices_are_named(lib):
    with pytest.raises(CoExecError, match="also needs a device of type opencl"):
        tvm_coexec.create(lib, [tvm.cpu()])


@pytest.mark.remote
def test_over_rpc_the_server_creates_it(exported, lib):
    server = tvm.rpc.Server("127.0.0.1", 9390, 9490, load_library=str(runtime.library_path()), silent=True)
    try:
        session = tvm.rpc.connect("127.0.0.1", server.port)
        session.upload(str(exported))
        remote = session.load_module(exported.name)
        with pytest.raises(CoExecError, match=r"give devices of the same session, \[session.cpu\(\), session.cl\(\)\]"):
            tvm_coexec.create(remote)
        with pytest.raises(CoExecError, match="load it there with session"):
            tvm_coexec.create(lib, [session.cpu(), session.device("opencl")])
        module = tvm_coexec.create(remote, [session.cpu(), session.device("opencl")])
        inputs = input_of(residual_net())
        module.set_input(**inputs)
        reset, stats = (session.get_function(f"tvm_coexec.opencl.{n}") for n in ("reset_stats", "stats"))
        reset()
        module.run()
        counted = json.loads(stats())
        assert counted["copies_elided"] > 0 == counted["downloads"]
        np.testing.assert_array_equal(module.get_output(0).numpy(), run(stock(lib), inputs))
    finally:
        server.terminate()
