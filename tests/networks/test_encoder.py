"""Whole layers of a transformer on both devices: heads and features divided, two additions a layer."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests.models import CPU
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.models import zoo
from tvm_coexec.models.encoder import Encoder
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

TINY = Encoder(layers=2, hidden=24, heads=3, ffn=40, sequence=9, masked=True)


def plan_of_layers(graph: KernelGraph, parts: tuple[float, ...]) -> Plan:
    """Each layer has two chains: queries, keys and values up to the projection after them; the feed-forward block.

    `parts` has a fraction for each layer.
    """
    products = [k.index for k in graph.kernels if k.op == "nn.dense"]
    chains = [c for i in range(0, len(products), 6) for c in (products[i : i + 4], products[i + 4 : i + 6])]
    segments, done = [], 0
    for chain, part in zip(chains, (p for p in parts for _ in range(2)), strict=True):
        segments.append(Segment("cpu", tuple(range(done, chain[0]))))
        extent = graph.kernels[chain[-1]].named_axis("ic").extent
        done = chain[-1] + 1
        segments.append(Segment("split", tuple(range(chain[0], done)), "ic", round(part * extent)))
    segments.append(Segment("cpu", tuple(range(done, len(graph.kernels)))))
    return Plan(graph.fingerprint(), tuple(segments))


@pytest.mark.parametrize(("shape", "parts"), [(TINY, (0.5, 0.31)), (Encoder(1, 32, 2, 64, 16), (0.7,))])
def test_layers_equal_onnxruntime(shape, parts):
    model = shape.model(seed=3)
    inputs = zoo.inputs(model)
    mod, params = relay.frontend.from_onnx(model, {k: v.shape for k, v in inputs.items()})
    with tvm.transform.PassContext(opt_level=3):
        plan = plan_of_layers(extract(Prepare(params)(mod)), parts)
    assert len(plan.chains) == 2 * shape.layers
    lib = tvm_coexec.build(mod, params, cpu=CPU, plan=plan)
    module = tvm_coexec.create(lib)
    module.set_input(**inputs)
    module.run()
    want = zoo.reference(model, inputs)[0]
    got = module.get_output(0).numpy()
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("shape", [TINY, Encoder(hidden=48, heads=4, ffn=96, sequence=20)])
def test_answers_depend_on_inputs_and_on_every_token(shape):
    """The comparison is sensitive: a change of the first token is visible in the last one after twelve layers."""
    model = shape.model()
    inputs = zoo.inputs(model)
    first = zoo.reference(model, inputs)[0]
    assert np.isfinite(first).all() and 0.5 < first.std() < 2
    assert (zoo.reference(model, zoo.inputs(model, 1))[0] - first).std() > 0.5 * first.std()
    changed = {**inputs, "x": inputs["x"].copy()}
    changed["x"][:, 0] *= -1.0
    other = zoo.reference(model, changed)[0]
    assert np.abs(other[:, -1] - first[:, -1]).max() > 0.05


def test_same_weights_for_the_same_seed():
    one, again, other = (TINY.model(seed).SerializeToString(deterministic=True) for seed in (1, 1, 2))
    assert one == again != other


def test_heads_must_divide_features():
    with pytest.raises(ValueError, match="768 features cannot be divided among 7 heads"):
        Encoder(heads=7)
