"""What has to hold for `create` in every memory mode; run in a process of its own, since a mode is chosen once.

Modules are built and exported once, by `export_all`, and loaded in each of the processes.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor

import tvm_coexec
from tests import models
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.opencl import runtime
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

DEVICES = (1, 4)


def odd_chain() -> tvm.IRModule:
    """Parts that begin where compiled code expects no tensor, so that the join stays."""
    rng = np.random.default_rng(3)
    x = relay.var("x", shape=(1, 6, 5, 7))
    y = models.conv(rng, x, 6, 9)
    return tvm.IRModule.from_expr(relay.Function([x], models.conv(rng, y, 9, 7)))


def batch_of_two() -> tvm.IRModule:
    """Two images: channels of both alternate in memory."""
    rng = np.random.default_rng(4)
    x = relay.var("x", shape=(2, 8, 9, 9))
    return tvm.IRModule.from_expr(relay.Function([x], models.conv(rng, models.conv(rng, x, 8, 16), 16, 8)))


def dense_block() -> tvm.IRModule:
    """Every layer reads all before it."""
    rng = np.random.default_rng(5)
    x = relay.var("x", shape=(1, 16, 8, 8))
    y = models.conv(rng, x, 16, 16)
    for n in range(3):
        y = relay.concatenate([y, models.conv(rng, y, 16 * (n + 1), 16)], axis=1)
    return tvm.IRModule.from_expr(relay.Function([x], relay.Tuple([y, relay.nn.relu(y)])))


def flattened() -> tvm.IRModule:
    """A result that is a reshaped join: exchanging its memory exchanges the join's."""
    rng = np.random.default_rng(6)
    x = relay.var("x", shape=(1, 16, 8, 8))
    y = models.conv(rng, models.conv(rng, x, 16, 16), 16, 16)
    return tvm.IRModule.from_expr(relay.Function([x], relay.reshape(y, (16, 64))))


def masked() -> tvm.IRModule:
    """A mask of bools as input, bools that cross between the devices and are returned, and other narrow types."""
    rng = np.random.default_rng(7)
    x, mask = relay.var("größe", shape=(12, 16)), relay.var("マスク", shape=(12, 24), dtype="bool")
    y = relay.nn.dense(x, models.weights(rng, 24, 16))
    kept = relay.logical_and(relay.greater(y, relay.const(-0.5)), mask)
    z = relay.nn.dense(relay.where(kept, y, relay.const(-1.0)), models.weights(rng, 16, 24))
    scaled = relay.clip(z * relay.const(20.0), -100.0, 100.0)
    outputs = [z, kept, relay.less(z, x), relay.cast(scaled, "int8"), relay.cast(scaled, "int64")]
    outputs.append(relay.cast(relay.abs(scaled), "uint8"))
    return tvm.IRModule.from_expr(relay.Function([x, mask], relay.Tuple(outputs)))


def without_elements() -> tvm.IRModule:
    """Tensors without elements that are made on either device, cross, are joined with others, and are returned.

    Devices are written out: what `CoExecPartition` makes of a model has no such tensors.
    """
    rng = np.random.default_rng(8)
    cpu, gpu = tvm.cpu(), tvm.opencl()

    def on(device: tvm.runtime.Device, expr: relay.Expr) -> relay.Expr:
        return relay.annotation.on_device(expr, device, constrain_result=True)

    x, empty = relay.var("x", shape=(1, 8, 6, 6)), relay.var("empty", shape=(1, 0, 6, 6))
    scope = relay.ScopeBuilder()
    x_gpu = scope.let("x_gpu", relay.op.device_copy(x, cpu, gpu))
    empty_gpu = scope.let("empty_gpu", relay.op.device_copy(empty, cpu, gpu))
    made = {"conv": scope.let("conv", on(gpu, models.conv(rng, x_gpu, 8, 8)))}
    made["slice"] = scope.let("slice", on(gpu, relay.strided_slice(made["conv"], [3], [3], axes=[1])))
    made["product"] = scope.let("product", on(gpu, empty_gpu * relay.const(2.0)))
    made["joined"] = scope.let("joined", on(gpu, relay.concatenate([made["conv"], made["product"]], 1)))
    on_cpu = scope.let("on_cpu", on(cpu, models.conv(rng, x, 8, 8)))
    got = {name: scope.let(f"{name}_cpu", relay.op.device_copy(v, gpu, cpu)) for name, v in made.items()}
    fields = [got["slice"], got["conv"], on_cpu, got["product"]]
    everything = scope.let("everything", on(cpu, relay.concatenate(fields, 1)))
    outputs = [everything, got["slice"], relay.negative(got["product"]), got["joined"], relay.sum(got["slice"])]
    scope.ret(relay.Tuple([outputs[0], *(on(cpu, relay.copy(o)) for o in outputs[1:])]))
    return tvm.IRModule.from_expr(relay.Function([x, empty], scope.get()))


MODELS: dict[str, Callable[[], tvm.IRModule]] = {
    "chain": lambda: models.conv_chain(4, 16, 12),
    "residual": models.residual_net,
    "fire": models.fire_net,
    "odd": odd_chain,
    "batch": batch_of_two,
    "dense": dense_block,
    "flattened": flattened,
    "masked": masked,
}
CUTS = {name: [("oc", 0.5), ("h", 0.5)] for name in MODELS} | {
    "chain": [("oc", 0.5), ("h", 0.5), ("h", 0.3), ("ic", 0.5), ("oc", 1.0)]
}


def big_layers() -> tuple[tvm.IRModule, Plan]:
    """Four megabytes of weights on each device."""
    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(1, 512))
    y = relay.nn.dense(x, models.weights(rng, 2048, 512))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.dense(y, models.weights(rng, 512, 2048))))
    plan = Plan(extract(Prepare()(mod)).fingerprint(), (Segment("cpu", (0,)), Segment("gpu", (1,))))
    return mod, plan


def export_all(folder: Path) -> None:
    """Build what the checks need."""
    for name, make in MODELS.items():
        mod = make()
        for axis, ratio in CUTS[name]:
            lib = tvm_coexec.build(mod, cpu=models.CPU, ratio=ratio, axis=axis)
            lib.export_library(str(folder / f"{name}_{axis}_{ratio}.so"))
    mod, plan = big_layers()
    tvm_coexec.build(mod, cpu=models.CPU, plan=plan).export_library(str(folder / "big.so"))
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(without_elements(), target=tvm_coexec.targets(models.CPU))
    lib.export_library(str(folder / "without_elements.so"))


class Exported:
    """A model's module from a file, and its inputs."""

    def __init__(self, folder: Path, name: str, axis: str, ratio: float):
        self.label = f"{name} {axis} {ratio}"
        self.mod = MODELS[name]()
        self.lib = tvm.runtime.load_module(str(folder / f"{name}_{axis}_{ratio}.so"))

    def inputs(self, seed: int) -> dict[str, np.ndarray]:
        return models.input_of(self.mod, seed)


def stock(lib: object) -> graph_executor.GraphModule:
    """The same file in the executor as TVM makes it: every meeting copies."""
    return graph_executor.GraphModule(lib["default"](*(tvm.runtime.Device(t, 0) for t in DEVICES)))


def results(module: graph_executor.GraphModule, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    module.set_input(**inputs)
    module.run()
    return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]


def check_equal(folder: Path, name: str) -> dict[str, int]:
    """Bit for bit what the copying run gives, three inputs in a row; what was copied meanwhile."""
    moved = {"uploads": 0, "downloads": 0, "copies_elided": 0}
    for axis, ratio in CUTS[name]:
        net = Exported(folder, name, axis, ratio)
        ours, copying = tvm_coexec.create(net.lib), stock(net.lib)
        for seed in range(3):
            want = results(copying, net.inputs(seed))
            runtime.reset_stats()
            got = results(ours, net.inputs(seed))
            for key in moved:
                moved[key] += runtime.stats()[key]
            for a, b in zip(got, want, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=net.label)
    return moved


def check_callers_memory(folder: Path, name: str) -> None:
    """Inputs and outputs in memory of the caller's, exchanged between runs."""
    for axis, ratio in CUTS[name]:
        net = Exported(folder, name, axis, ratio)
        ours, copying = tvm_coexec.create(net.lib), stock(net.lib)
        for seed in range(3):
            inputs, mine, given = net.inputs(seed), {}, []
            for key, value in inputs.items():
                mine[key] = tvm_coexec.empty(value.shape, value.dtype.name)
                mine[key][:] = value
                ours.set_input_zero_copy(key, tvm_coexec.from_numpy(mine[key]))
            for i in range(ours.get_num_outputs()):
                output = ours.get_output(i)
                given.append(tvm_coexec.empty(output.shape, output.dtype))
                given[-1][:] = np.array(-1).astype(output.dtype)
                ours.module["set_output_zero_copy"](i, tvm_coexec.from_numpy(given[-1]))
            ours.run()
            for a, b in zip(given, results(copying, inputs), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=net.label)


def check_memory_of_the_module(folder: Path, _name: str) -> None:
    """The caller writes an input where the module has it, and reads the output there."""
    net = Exported(folder, "chain", "oc", 0.5)
    ours, copying = tvm_coexec.create(net.lib), stock(net.lib)
    place, out = tvm_coexec.as_numpy(ours.get_input("x")), tvm_coexec.as_numpy(ours.get_output(0))
    for seed in range(3):
        place[:] = net.inputs(seed)["x"]
        ours.run()
        np.testing.assert_array_equal(out, results(copying, net.inputs(seed))[0])


def check_several_modules(folder: Path, _name: str) -> None:
    """Several modules of one library, which is forgotten."""
    net = Exported(folder, "fire", "oc", 0.5)
    several, copying = [tvm_coexec.create(net.lib) for _ in range(3)], stock(net.lib)
    del net.lib
    for seed in range(3):
        want = results(copying, net.inputs(seed))
        for module in several:
            np.testing.assert_array_equal(results(module, net.inputs(seed))[0], want[0])


def check_weights_are_there_once(folder: Path, _name: str) -> None:
    """Modules of one library use its weights on the CPU, and have their own on the GPU only."""
    lib = tvm.runtime.load_module(str(folder / "big.so"))
    before = runtime.stats()["live_bytes"]
    modules = [tvm_coexec.create(lib) for _ in range(2)]
    per_module = (runtime.stats()["live_bytes"] - before) / 2
    assert 4 << 20 <= per_module < 5 << 20, per_module
    weights = dict(lib["get_graph_params"]().items())
    on_cpu = [n for n in weights if modules[0].get_input(n).device.device_type == 1]
    assert on_cpu
    addresses = {n: weights[n].handle.contents.data for n in on_cpu}
    want = results(stock(lib), {"x": np.ones((1, 512), "float32")})
    for module in modules:
        np.testing.assert_array_equal(results(module, {"x": np.ones((1, 512), "float32")})[0], want[0])
        assert {n: module.get_input(n).handle.contents.data for n in on_cpu} == addresses


def check_tensors_without_elements(folder: Path, _name: str) -> None:
    """Run after run, with what lies next to them unharmed."""
    lib = tvm.runtime.load_module(str(folder / "without_elements.so"))
    ours, copying = tvm_coexec.create(lib), stock(lib)
    for seed in range(3):
        inputs = models.input_of(without_elements(), seed)
        for a, b in zip(results(ours, inputs), results(copying, inputs), strict=True):
            np.testing.assert_array_equal(a, b)


def check_arrays_outlive_their_module(folder: Path, _name: str) -> None:
    """Weights of both devices, inputs and outputs stay what they are when their module and its library are gone.

    Another module that shares the weights goes on running.
    """
    lib = tvm.runtime.load_module(str(folder / "chain_oc_0.5.so"))
    inputs = models.input_of(MODELS["chain"]())
    first, second = tvm_coexec.create(lib), tvm_coexec.create(lib)
    want = results(first, inputs)
    weights = list(lib["get_graph_params"]().keys())
    kept = {name: first.get_input(name) for name in [*weights, *inputs]} | {"output": first.get_output(0)}
    assert {a.device.device_type for a in kept.values()} == set(DEVICES)
    values = {name: array.numpy() for name, array in kept.items()}
    named = {name: tvm.nd.array(np.zeros(1, "float32")) for name in weights}  # only the names are read
    second.share_params(first, relay.save_param_dict(named))
    del first, lib
    gc.collect()
    # what was given back would be used for these
    others = [tvm.nd.array(np.full(n, np.nan, "float32"), device) for device in map(tvm.runtime.Device, DEVICES, (0, 0))
              for n in (64, 1 << 10, 1 << 12, 1 << 14) for _ in range(8)]  # fmt: skip
    np.testing.assert_array_equal(results(second, inputs)[0], want[0])
    del second
    gc.collect()
    others += [tvm.nd.array(np.full(1 << 12, np.nan, "float32"), tvm.opencl()) for _ in range(8)]
    for name, array in kept.items():
        np.testing.assert_array_equal(array.numpy(), values[name], err_msg=name)
    before = runtime.stats()["live_bytes"]
    kept.clear()
    del array
    gc.collect()
    assert runtime.stats()["live_bytes"] < before


CHECKS: dict[str, tuple[Callable[[Path, str], object], str]] = {
    **{f"equal_{name}": (check_equal, name) for name in MODELS},
    **{
        f"callers_memory_{name}": (check_callers_memory, name)
        for name in ("chain", "odd", "dense", "flattened", "masked")
    },
    "memory_of_the_module": (check_memory_of_the_module, ""),
    "several_modules": (check_several_modules, ""),
    "weights_are_there_once": (check_weights_are_there_once, ""),
    "tensors_without_elements": (check_tensors_without_elements, ""),
    "arrays_outlive_their_module": (check_arrays_outlive_their_module, ""),
}


def run_all(folder: str) -> str:
    """Every check, as JSON: what it gave, or how it failed."""
    found = {}
    for name, (check, model) in CHECKS.items():
        try:
            found[name] = {"gave": check(Path(folder), model)}
        except Exception as err:
            found[name] = {"failed": f"{type(err).__name__}: {err}"}
    return json.dumps(found)
