"""Adaptive modules: the split plan and each device alone in one library, and the module that changes between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests import models
from tvm_coexec import CoExecError
from tvm_coexec.executor.annotations import read_metadata
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.executor.variants import weight_bytes
from tvm_coexec.opencl import runtime

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

DEVICES = (tvm.cpu(), tvm.opencl())
VARIANTS = ("split", "cpu", "gpu")


def several_outputs() -> tvm.IRModule:
    """A result, a view of it, an input as it is, a result twice; two inputs, of which one is of bools."""
    rng = np.random.default_rng(5)
    x, mask = relay.var("x", shape=(1, 8, 13, 13)), relay.var("mask", shape=(1, 16, 1, 13), dtype="bool")
    y = models.conv(rng, models.conv(rng, x, 8, 16), 16, 16)
    z = relay.where(mask, y, relay.const(-2.0))
    return tvm.IRModule.from_expr(relay.Function([x, mask], relay.Tuple([z, relay.reshape(y, (16, 169)), x, z])))


NETWORKS = {"residual": models.residual_net, "outputs": several_outputs}


@pytest.fixture(scope="module", params=[("residual", "oc", ".so"), ("outputs", "h", ".tar")], ids=lambda p: p[0])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[tvm.IRModule, Path]:
    name, axis, suffix = request.param
    mod = NETWORKS[name]()
    path = tmp_path_factory.mktemp("adaptive") / f"{name}{suffix}"
    tvm_coexec.build(mod, ratio=0.5, axis=axis, adaptive=True).export_library(str(path))
    return mod, path


@pytest.fixture(scope="module")  # TVM can't load a file again after its module has been freed
def lib(exported: tuple[tvm.IRModule, Path]) -> tvm.runtime.Module:
    return tvm.runtime.load_module(str(exported[1]))


def outputs(module: graph_executor.GraphModule) -> list[np.ndarray]:
    return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]


def run(module: graph_executor.GraphModule, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    module.set_input(**inputs)
    module.run()
    return outputs(module)


def assert_equal(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(g, w)


def test_every_variant_computes_the_model(exported, lib):
    """With changing inputs, in any order of variants; bit for bit the same within a variant."""
    mod, _ = exported
    module = tvm_coexec.create(lib, adaptive=True)
    assert isinstance(module, graph_executor.GraphModule)
    first: dict[tuple[str, int], list[np.ndarray]] = {}
    for name in (*VARIANTS, *reversed(VARIANTS), "cpu", "split"):
        module.use(name)
        assert module.stats()["variant"] == name
        for seed in (1, 2):
            inputs = models.input_of(mod, seed)
            got = run(module, inputs)
            models.assert_same(got, models.reference(mod, inputs))
            assert_equal(got, first.setdefault((name, seed), got))


def test_the_library_is_that_of_the_split_plan_for_everything_else(exported, lib):
    mod, _ = exported
    inputs = models.input_of(mod)
    stock = graph_executor.GraphModule(lib["default"](*DEVICES))
    want = run(stock, inputs)
    models.assert_same(want, models.reference(mod, inputs))
    assert_equal(run(tvm_coexec.create(lib), inputs), want)
    adaptive = tvm_coexec.create(lib, adaptive=True)
    adaptive.use("split")
    assert_equal(run(adaptive, inputs), want)


def test_arrays_are_the_same_whatever_runs(exported, lib):
    """Kept arrays of inputs and outputs; and the caller's own memory."""
    mod, _ = exported
    module = tvm_coexec.create(lib, adaptive=True)
    kept = [module.get_output(i) for i in range(module.get_num_outputs())]
    views = {name: tvm_coexec.as_numpy(module.get_input(name)) for name in models.input_of(mod)}
    for seed, name in enumerate(VARIANTS):
        module.use(name)
        inputs = models.input_of(mod, seed)
        for key, view in views.items():
            view[:] = inputs[key]
        module.run()
        models.assert_same([k.numpy() for k in kept], models.reference(mod, inputs))
    own = {name: tvm_coexec.empty(v.shape, v.dtype.name) for name, v in models.input_of(mod).items()}
    module.set_input_zero_copy(**{name: tvm_coexec.from_numpy(v) for name, v in own.items()})
    out = tvm_coexec.empty(kept[0].shape, kept[0].dtype)
    module.module["set_output_zero_copy"](0, tvm_coexec.from_numpy(out))
    for seed, name in enumerate((*VARIANTS, "cpu")):
        module.use(name)
        inputs = models.input_of(mod, 10 + seed)
        for key, array in own.items():
            array[:] = inputs[key]
        out[:] = 0
        module.run()
        models.assert_same([out], models.reference(mod, inputs)[:1])


def test_weights_are_stored_once(exported, lib):
    """In the file, and on the CPU for all variants; the rest of a weight that begins with a share's."""
    metadata = read_metadata(Graph(lib["get_graph_json"]()))
    size = weight_bytes(metadata)
    stored = lib["get_graph_params"]()
    assert size.stored == sum(v.numpy().nbytes for v in stored.values()) < size.variants
    made_of = {v["name"]: v["weights"] for v in metadata["variants"]}
    assert set(made_of) == {"cpu", "gpu"}
    names = [piece for weights in made_of.values() for pieces in weights.values() for piece in pieces]
    assert set(names) <= set(stored.keys())
    module = tvm_coexec.create(lib, adaptive=True)
    assert module.stats()["weight_bytes"] == {"variants": size.variants, "stored": size.stored}
    with pytest.raises(tvm.TVMError, match="create the module without adaptive"):
        module.load_params(relay.save_param_dict({}))


def test_it_measures_and_decides(exported, lib):
    mod, _ = exported
    module = tvm_coexec.create(lib, adaptive=True)
    before = module.stats()
    assert set(before["variants"]) == set(VARIANTS)
    assert all(v["runs"] > 0 and v["now_s"] > 0 for v in before["variants"].values())
    module.set_input(**models.input_of(mod))
    runtime.trace_start()
    for _ in range(100):
        module.run()
    spans = [s for s in runtime.trace_take()["spans"] if s[0] == "variant"]
    after = module.stats()
    ran = {name: after["variants"][name]["runs"] - before["variants"][name]["runs"] for name in VARIANTS}
    assert sum(ran.values()) == len(spans) == 100
    decisions = after["decisions"]
    assert sum(d["why"] == "probe" for d in decisions) == after["probes"]
    assert sum(d["why"] == "faster" for d in decisions) == after["switches"]
    models.assert_same(outputs(module), models.reference(mod, models.input_of(mod)))
    assert module.benchmark(tvm.cpu(), repeat=2, number=3).mean > 0
    with pytest.raises(tvm.TVMError, match="no variant 'npu'; use one of split, cpu, gpu"):
        module.use("npu")


def test_other_libraries_are_refused_in_one_sentence():
    lib = tvm_coexec.build(models.conv_chain(), ratio=0.5)
    with pytest.raises(CoExecError, match="build it with adaptive=True"):
        tvm_coexec.create(lib, adaptive=True)
    with pytest.raises(tvm.TVMError, match="build it with adaptive=True"):
        tvm.get_global_func("tvm_coexec.create_with")(lib.module, '{"adaptive": true}', *DEVICES)


def test_a_divided_model_is_refused():
    split = tvm_coexec.partition_for_coexec(models.conv_chain(), ratio=0.5)
    with pytest.raises(CoExecError, match="already divided"):
        tvm_coexec.build(split, adaptive=True)
    with pytest.raises(CoExecError, match="adaptive 'perhaps' must be true or false"):
        tvm_coexec.build(split, adaptive="perhaps")


@pytest.mark.parametrize("ratio", [0, 1])
def test_a_plan_for_one_device_has_the_other_as_variant(ratio):
    mod = models.conv_chain()
    lib = tvm_coexec.build(mod, ratio=ratio, adaptive=True)
    module = tvm_coexec.create(lib, adaptive=True)
    other = "gpu" if ratio == 0 else "cpu"
    assert other in module.stats()["variants"] and len(module.stats()["variants"]) < 4
    inputs = models.input_of(mod)
    for name in module.stats()["variants"]:
        module.use(name)
        models.assert_same(run(module, inputs), models.reference(mod, inputs))


@pytest.mark.remote
def test_over_rpc(exported, lib):
    mod, path = exported
    server = tvm.rpc.Server("127.0.0.1", 9390, 9490, load_library=str(runtime.library_path()), silent=True)
    try:
        session = tvm.rpc.connect("127.0.0.1", server.port)
        session.upload(str(path))
        module = tvm_coexec.create(
            session.load_module(path.name), [session.cpu(), session.device("opencl")], adaptive=True
        )
        inputs = models.input_of(mod)
        for name in VARIANTS:
            module.use(name)
            models.assert_same(run(module, inputs), models.reference(mod, inputs))
            assert module.stats()["variant"] == name
    finally:
        server.terminate()
