"""The zoo's weights: identical on every machine, and the output depends on the input."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the zoo's graphs are in the onnx package")

from tvm_coexec.models import _forward, _weights, zoo  # noqa: E402

pytestmark = pytest.mark.slow

# Of the weights, not of the file: protobuf promises no fixed order of bytes. Recipe 4.
GOLDEN = {"squeezenet": "9d531975318a066c", "shufflenet": "e356af3f880641f4", "mobilenet": "eb1ec9ac221679c0"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tvm_coexec" / "zoo"


def weights_digest(model) -> str:
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        digest.update(tensor.name.encode() + onnx.numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_weights_are_the_same_on_every_machine(cache, name):
    assert weights_digest(zoo.load(name)) == GOLDEN[name]


@pytest.mark.parametrize("name", zoo.names())
def test_the_installed_onnx_has_the_graph(name):
    assert onnx.load(str(zoo._source(name))).graph.node


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v2", "mobilenet"])
def test_answers_are_alive_and_depend_on_the_input(name):
    model = zoo.load(name)
    answers = np.stack([zoo.reference(model, zoo.inputs(model, seed))[0].ravel() for seed in range(3)])
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, rtol=1e-4)
    assert answers.max() < 0.9, "saturated"
    assert (answers.max(axis=1) > 10 * answers.min(axis=1)).all(), "nearly constant"
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(answers[one] - answers[other]).max() > 0.1 * answers.max()


def test_an_error_in_an_early_layer_shows_in_the_answer():
    # What the weights are for: 1 % on one of 64 channels of the first layer is far above the tolerance of 1e-4.
    model = zoo.load("squeezenet")
    image = zoo.inputs(model)
    right = zoo.reference(model, image)[0]
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "conv1_b_0")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[5] += 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    assert np.abs(zoo.reference(model, image)[0] - right).max() / np.abs(right).max() > 5e-4


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "mobilenet"])
def test_models_have_one_input_of_fixed_shape_and_no_left_over_nodes(name):
    model = zoo.load(name)
    onnx.checker.check_model(model)
    assert [i.type.tensor_type.shape.dim[0].dim_value for i in model.graph.input] == [1]
    assert not [node for node in model.graph.node if node.op_type == "ConstantOfShape"]


def test_evaluator_agrees_with_onnxruntime():
    seen = set()
    for name in ("squeezenet", "shufflenet", "inception_v1", "inception_v2", "mobilenet"):
        model = zoo.load(name)
        image = zoo.inputs(model, seed=3)
        values = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
        values |= {key: value.astype(np.float64) for key, value in image.items()}
        for node in model.graph.node:
            seen.add(node.op_type)
            values[node.output[0]] = _forward.evaluate(node, [values[i] for i in node.input])
        want = zoo.reference(model, image)[0]
        got = values[model.graph.output[0].name]
        assert np.abs(got - want).max() / np.abs(want).max() < 1e-4
    assert seen == set(_forward.OPERATORS), "these models are to have every operator"


def test_inputs_depend_on_the_seed_alone():
    model = zoo.load("squeezenet")
    first, again, other = zoo.inputs(model, 1), zoo.inputs(model, 1), zoo.inputs(model, 2)
    (name,) = first
    assert first[name].shape == (1, 3, 224, 224) and first[name].dtype == np.float32
    assert np.array_equal(first[name], again[name]) and not np.array_equal(first[name], other[name])


def test_a_model_is_made_once_and_a_damaged_file_again(cache, caplog):
    file = zoo.path("shufflenet")
    made = file.stat().st_mtime_ns
    assert zoo.path("shufflenet") == file and file.stat().st_mtime_ns == made
    assert [entry.name for entry in cache.iterdir()] == [file.name], "a temporary file is left"
    want = weights_digest(zoo.load("shufflenet"))
    file.write_bytes(file.read_bytes()[:1_000_000])
    assert weights_digest(zoo.load("shufflenet")) == want
    assert "damaged" in caplog.text


def test_an_older_recipe_does_not_fill_the_disk(cache):
    cache.mkdir(parents=True)
    stale, other = cache / "shufflenet-r0-00000000.onnx", cache / "squeezenet-r0-00000000.onnx"
    stale.touch()
    other.touch()
    zoo.path("shufflenet")
    assert not stale.exists() and other.exists()


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'resnet51'.*resnet50, vgg19.*bert_base"):
        zoo.load("resnet51")


def test_names_by_kind():
    """Who goes through all names without saying which gets the packaged ones."""
    assert len(zoo.names()) == 9 and zoo.names() == zoo.names("packaged")
    assert zoo.names("written") == ["mobilenet", "bert_base"]
    assert zoo.names("all") == zoo.names() + zoo.names("written")
    with pytest.raises(ValueError, match=r"'light'.*packaged, written, all"):
        zoo.names("light")


def test_rounding_keeps_ten_bits():
    assert _weights.round_to_ten_bits([1023.4, -2047.0, 0.0, 3.0 / 1024 + 1e-9]).tolist() == [
        1023.0,
        -2048.0,
        0.0,
        3.0 / 1024,
    ]
