"""Sizes and values for inputs of unknown models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks import _model_inputs
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.frontend.input_shapes import ModelInput


@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        (("batch", 3, "height", "width"), [1, 3, 224, 224]),
        (("?", 3, "?", "?"), [1, 3, 224, 224]),
        (("?", "?", "?", 3), [1, 224, 224, 3]),
        (("?", "?", "?", "?"), [1, 3, 224, 224]),
        (("N", "seq_len"), [1, 128]),
        (("batch_size", "samples"), [1, 16000]),
        ((2, "batch", 64), [2, 1, 64]),
        ((), []),
        (None, []),
    ],
)
def test_default_shapes(sizes, want):
    assert _model_inputs.default_shapes([ModelInput("x", sizes)]) == {"x": want}


def test_equal_names_are_equal_sizes():
    inputs = [ModelInput("a", (1, "d")), ModelInput("b", ("d", 4)), ModelInput("c", (4, "?")), ModelInput("d", ("?",))]
    made = _model_inputs.default_shapes(inputs)
    assert made["b"] == [made["a"][1], 4] and made["d"] == [1]


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A model with a table of 50 rows and 7 columns."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [50, 7], np.zeros(350, "float32"))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 9])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(list(nodes), "g", [ids], [out], [table]))


def test_indices_are_within_their_table():
    direct = model(helper.make_node("Gather", ["table", "ids"], ["y"]))
    assert _model_inputs.table_sizes(direct) == {"ids": 50}
    cast = helper.make_node("Cast", ["ids"], ["c"], to=TensorProto.INT32)
    columns = model(cast, helper.make_node("Gather", ["table", "c"], ["y"], axis=1))
    assert _model_inputs.table_sizes(columns) == {"ids": 7}
    negative = model(helper.make_node("Gather", ["table", "ids"], ["y"], axis=-1))
    assert _model_inputs.table_sizes(negative) == {"ids": 7}
    other = model(cast, helper.make_node("Add", ["c", "c"], ["y"]))
    assert _model_inputs.table_sizes(other) == {}


def test_values():
    types = {"ids": ((1, 400), "int64"), "mask": ((1, 400), "int64"), "x": ((2, 3), "float32"), "b": ((4,), "bool")}
    made = _model_inputs.make_inputs(types, {"ids": 50})
    assert made["ids"].min() >= 0 and 40 < made["ids"].max() < 50
    assert set(made["mask"].ravel()) == {0, 1}
    assert {n: (x.shape, x.dtype.name) for n, x in made.items()} == types
    assert (made["x"] != 0).all()
    assert _model_inputs.make_inputs({"ids": ((300,), "uint8")}, {"ids": 1000})["ids"].max() > 200
    again = _model_inputs.make_inputs(types, {"ids": 50})
    assert all((made[n] == again[n]).all() for n in types)


@pytest.mark.llvm  # TVM's parser
def test_given_shapes(tmp_path):
    (tmp_path / _model_inputs.FILE).write_text("# sizes\na.onnx=x:[1,3,48,320]\n\nb.onnx = x:[1,4] y:[2]\n")
    found = _model_inputs.read_shapes(["a.onnx=x:[1,3,32,100]"], tmp_path)
    assert found == {"a.onnx": {"x": [1, 3, 32, 100]}, "b.onnx": {"x": [1, 4], "y": [2]}}
    for wrong in ("x:[1,3]", "a.onnx=", "a.onnx=shape"):
        with pytest.raises(CoExecError, match="not of the form MODEL"):
            _model_inputs.read_shapes([wrong], tmp_path)
