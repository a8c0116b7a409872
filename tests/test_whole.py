"""Models that stay whole: with their weights, and with the reason in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

import tvm_coexec
from tests import models
from tvm_coexec import CoExecError

pytestmark = pytest.mark.llvm

RNG = np.random.default_rng(0)
WEIGHT = tvm.nd.array((RNG.standard_normal((6, 8)) / 3).astype("float32"))
SCALE = tvm.nd.array(RNG.standard_normal((6,)).astype("float32"))
PARAMS = {"w": WEIGHT, "s": SCALE}
X = RNG.standard_normal((5, 8)).astype("float32")


def variables(*shape):
    x = relay.var("x", relay.TensorType(shape or (5, 8), "float32"))
    return x, relay.var("w", shape=(6, 8)), relay.var("s", shape=(6,))


def layer(x, w, s):
    return relay.nn.relu(relay.nn.dense(x, w) * s)


def typed(body, params) -> tvm.IRModule:
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(params, body)))


def plain():
    x, w, s = variables()
    return typed(layer(x, w, s), [x, w, s])


def with_a_function():
    mod = plain()
    y = relay.var("y", shape=(2, 2))
    mod["helper"] = relay.Function([y], relay.tanh(y))
    return mod


def with_a_closure():
    x, w, s = variables()
    y = relay.var("y", shape=(5, 6))
    return typed(relay.Call(relay.Function([y], relay.tanh(y)), [layer(x, w, s)]), [x, w, s])


def pinned(device):
    x, w, s = variables()
    y = relay.annotation.on_device(layer(x, w, s), device)
    return typed(relay.sum(y, axis=1), [x, w, s])


def without_heavy_operators():
    x, w, s = variables()
    return typed(relay.nn.softmax(x) + relay.sum(w, axis=0), [x, w, s])


# module, options of the pass, what the report says
CASES = {
    "fused before": (lambda: relay.transform.FuseOps(2)(plain()), {"ratio": 0.5}, "control flow or closures"),
    "functions": (with_a_function, {"ratio": 0.5}, "other functions than main (helper)"),
    "pinned": (lambda: pinned(tvm.cpu()), {"ratio": 0.5}, "itself assigns devices (on_device)"),
    "nothing heavy": (without_heavy_operators, {"ratio": 0.5}, "no convolution or matrix product"),
    "an axis that it lacks": (plain, {"ratio": 0.5, "axis": "w"}, "no axis 'w'"),
    "ratio 0": (plain, {"ratio": 0.0}, "all on the cpu"),
    "not worth it": (plain, {"profile": "generic"}, "alone is expected to be as good"),
}


def results(lib, inputs) -> list[np.ndarray]:
    module = tvm_coexec.create(lib)
    module.set_input(**inputs)
    module.run()
    return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]


def expected(mod) -> list[np.ndarray]:
    with tvm.transform.PassContext(opt_level=1):
        module = GraphModule(relay.build(mod, "llvm", params=PARAMS)["default"](tvm.cpu()))
    module.set_input("x", X)
    module.run()
    return [module.get_output(0).numpy()]


@pytest.mark.opencl
@pytest.mark.parametrize("name", CASES)
def test_keeps_its_weights(name):
    """By the pass with its own params and a plain relay.build, and by `build`."""
    make, options, reason = CASES[name]
    mod = make()
    want = expected(make())
    partition = relay.transform.CoExecPartition(params=PARAMS, **options)
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(partition(mod), target=tvm_coexec.targets())
    assert reason in partition.report.to_text()
    for built in (lib, tvm_coexec.build(mod, PARAMS, **options)):
        models.assert_same(results(built, {"x": X}), want)


@pytest.mark.parametrize("name", ["fused before", "functions", "pinned"])
def test_a_plan_for_it_is_refused(name, tmp_path):
    """Its segments would be ignored."""
    make, _, reason = CASES[name]
    plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(plain(), PARAMS, ratio=0.5))
    path = tmp_path / "plan.json"
    path.write_text(plan.to_json())
    for given, start in ((plan, "the plan can't be followed"), (str(path), f"{path}: the plan can't be followed")):
        with pytest.raises(CoExecError) as refused:
            tvm_coexec.partition_for_coexec(make(), PARAMS, plan=given)
        assert str(refused.value).startswith(f"{start}, because the model stays whole (")
        assert reason in str(refused.value) and "leave it out" in str(refused.value)


@pytest.mark.opencl
@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"ratio": 0.5, "axis": "n"}, {"ratio": 0.5, "axis": "ic"}])
def test_weights_may_come_when_a_model_is_divided_already(options):
    mod = plain()
    want = expected(plain())
    divided = tvm_coexec.partition_for_coexec(mod, **options)
    later = tvm_coexec.partition_for_coexec(divided, PARAMS)
    assert [p.name_hint for p in later["main"].params] == ["x"]
    with tvm.transform.PassContext(opt_level=3):
        libs = [
            relay.build(later, target=tvm_coexec.targets()),
            relay.build(divided, target=tvm_coexec.targets(), params=PARAMS),
        ]
    for lib in libs:
        models.assert_same(results(lib, {"x": X}), want)


@pytest.mark.opencl
def test_a_model_that_pins_a_part_to_the_gpu_is_built_for_both():
    mod = pinned(tvm.opencl())
    lib = tvm_coexec.build(mod, PARAMS, ratio=0.5)
    assert tvm.opencl().device_type in json.loads(lib.get_graph_json())["attrs"]["device_index"][1]
    models.assert_same(results(lib, {"x": X}), expected(pinned(tvm.cpu())))


def test_a_closure_stays_whole():
    """TVM's graph executor takes none that is not fused already."""
    with pytest.raises(CoExecError, match="functions inside main, which TVM's graph executor can't run"):
        tvm_coexec.build(with_a_closure(), PARAMS, ratio=0.5)
    partition = relay.transform.CoExecPartition(params=PARAMS, ratio=0.5)
    assert [p.name_hint for p in partition(with_a_closure())["main"].params] == ["x"]
    assert "control flow or closures" in partition.report.summary()


def test_attributes_of_the_module_are_kept():
    mod = plain().with_attr("kept", tvm.runtime.String("yes"))
    assert str(tvm_coexec.relay_passes.prepare.bind_params(mod, PARAMS).get_attr("kept")) == "yes"


def open_batch():
    x, w, s = variables(relay.Any(), 8)
    return typed(layer(x, w, s), [x, w, s])


def by_data(kind: str):
    x, w, s = variables()
    y = layer(x, w, s)
    n = relay.var("n", shape=(2,), dtype="int64")
    found = {
        "argwhere": lambda: relay.argwhere(y),
        "dyn.reshape": lambda: relay.reshape(y, n),
        "dyn.full": lambda: relay.full(relay.const(1.0), n),
        "boolean": lambda: relay.sum(
            relay.take(y, relay.argwhere(relay.greater(relay.sum(y, 1), relay.const(0.0))), 0)
        ),
    }[kind]()
    params = [x, w, s, *([n] if kind.startswith("dyn") else [])]
    return typed(relay.Tuple([y, found]), params)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (open_batch, ("the model's input 'x' has the shape [?,8]", "import the model with all of its input shapes")),
        (lambda: by_data("argwhere"), ("operator argwhere depends on data",)),
        (lambda: by_data("boolean"), ("operator argwhere depends on data",)),
        (lambda: by_data("dyn.reshape"), ("operator dyn.reshape depends on data",)),
        (lambda: by_data("dyn.full"), ("operator dyn.full depends on data",)),
    ],
)
def test_dynamic_shapes_stay_whole_and_are_refused_by_build(make, words):
    mod = make()
    partition = relay.transform.CoExecPartition(params=PARAMS, ratio=0.5)
    made = partition(mod)
    assert not {"w", "s"} & {p.name_hint for p in made["main"].params}
    with pytest.raises(CoExecError) as caught:
        tvm_coexec.build(mod, PARAMS, ratio=0.5)
    for word in words:
        assert word in str(caught.value)
        assert word in partition.report.summary()
    assert "\n" not in str(caught.value)


def test_a_shape_that_weights_settle_is_none_that_depends_on_data():
    x, w, s = variables()
    n = relay.var("n", shape=(2,), dtype="int64")
    mod = typed(relay.reshape(layer(x, w, s), n), [x, w, s, n])
    params = {**PARAMS, "n": tvm.nd.array(np.array([3, 10]))}
    partition = relay.transform.CoExecPartition(params=params, ratio=0.5)
    made = partition(mod)
    assert [p.name_hint for p in made["main"].params] == ["x"]


def test_control_flow_is_refused_by_build():
    x, w, s = variables()
    c = relay.var("c", shape=(), dtype="bool")
    mod = typed(relay.If(c, layer(x, w, s), relay.nn.dense(x, w)), [c, x, w, s])
    with pytest.raises(CoExecError, match="control flow, which TVM's graph executor can't run"):
        tvm_coexec.build(mod, PARAMS, ratio=0.5)
    made = relay.transform.CoExecPartition(params=PARAMS, ratio=0.5)(mod)
    assert [p.name_hint for p in made["main"].params] == ["c", "x"]


def test_a_module_without_main_is_refused():
    mod = tvm.IRModule({relay.GlobalVar("other"): plain()["main"]})
    with pytest.raises(CoExecError, match="no function 'main'"):
        tvm_coexec.partition_for_coexec(mod, ratio=0.5)
