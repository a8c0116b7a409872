"""Open sizes are listed by the file's names; shapes are taken by input, and shared by name."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llvm
onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402

from tests.frontend import onnx_models  # noqa: E402
from tvm_coexec import CoExecError  # noqa: E402
from tvm_coexec.frontend.input_shapes import ModelInput, inputs_of, resolve_shapes, select_shapes  # noqa: E402


def resolve(given: dict | None, *inputs: ModelInput, one_image: bool = False):
    return resolve_shapes(inputs, given, "net.onnx", one_image)


def test_sizes_are_read_as_the_file_has_them():
    proto = onnx_models.conv_net(["N", 3, None, 7])
    proto.graph.input.extend([onnx_models.value("scalar", []), onnx_models.value("any", None)])
    for size in (0, -1):
        proto.graph.input[0].type.tensor_type.shape.dim.add().dim_value = size
    proto.graph.input.append(onnx_models.value("w", [8, 3, 3, 3]))  # has a value: no input of the user's
    x, scalar, unknown = inputs_of(proto, "net.onnx")
    assert x == ModelInput("x", ("N", 3, "?", 7, "0", "-1")) and x.open_sizes == ["N", "?", "0", "-1"]
    assert scalar.sizes == () and unknown.sizes is None


def test_an_input_that_is_no_tensor_is_refused():
    proto = onnx_models.two_inputs([2], [2])
    proto.graph.input.append(helper.make_tensor_sequence_value_info("many", 1, [2]))
    with pytest.raises(CoExecError, match=r"input 'many' of net\.onnx is sequence, .*only tensors"):
        inputs_of(proto, "net.onnx")


def test_open_sizes_are_listed_by_name_with_an_option_that_closes_them():
    x = ModelInput("x", ("batch", 3, "height", "?"))
    with pytest.raises(CoExecError, match=r"input 'x' has open sizes: batch, height, \? \(model net\.onnx\)") as caught:
        resolve(None, x)
    assert str(caught.value).endswith("give --input-shapes x:[1,3,224,224], or other sizes")
    ids, mask, table = (
        ModelInput("ids", ("batch", "seq_len")), ModelInput("mask", ("batch", "seq_len")), ModelInput("table", None)
    )  # fmt: skip
    with pytest.raises(CoExecError) as caught:
        resolve({}, ids, mask, table)
    for text in ("'ids' has open sizes: batch, seq_len", "'mask' has", "'table' has no shape", '"ids:[1,128] table:['):
        assert text in str(caught.value)


def test_a_name_stands_for_one_size():
    ids, mask, other = ModelInput("ids", ("b", "s")), ModelInput("mask", ("b", 1, "s")), ModelInput("z", ("s", "?"))
    found = resolve({"ids": [2, 7], "z": [7, 5]}, ids, mask, other)
    assert found == {"ids": (2, 7), "mask": (2, 1, 7), "z": (7, 5)}
    with pytest.raises(CoExecError, match="'mask' has open sizes: s"):  # the inputs differ: which size is meant?
        resolve({"ids": [2, 7], "z": [8, 5]}, ids, mask, other)
    with pytest.raises(CoExecError, match=r"'z' has open sizes: \?"):  # what has no name is shared with nothing
        resolve({"ids": [2, 7], "q": [3]}, ids, other, ModelInput("q", ("?",)))


def test_given_sizes_replace_fixed_ones_and_may_be_left_open_no_longer():
    assert resolve({"x": [4, 3]}, ModelInput("x", (1, 3))) == {"x": (4, 3)}
    assert resolve({"x": [4, 3]}, ModelInput("x", None), ModelInput("s", ())) == {"x": (4, 3), "s": ()}
    for given in ([-1, 3], [object(), 3]):
        with pytest.raises(CoExecError, match="input 'x' has open sizes: n"):
            resolve({"x": given}, ModelInput("x", ("n", 3)))


def test_one_image_where_only_the_batch_is_open():
    image, other = ModelInput("x", ("n", 3, 8)), ModelInput("m", ("n",))
    assert resolve(None, image, other, one_image=True) == {"x": (1, 3, 8), "m": (1,)}
    assert resolve({"m": [5]}, image, other, one_image=True) == {"x": (5, 3, 8), "m": (5,)}
    with pytest.raises(CoExecError, match="open sizes: n, h"):
        resolve(None, ModelInput("x", ("n", 3, "h")), one_image=True)
    with pytest.raises(CoExecError, match="'x' has open sizes: h"):
        resolve(None, ModelInput("x", (1, 3, "h")), one_image=True)


def test_names_and_ranks_that_do_not_fit():
    x, y = ModelInput("x", ("n", 3)), ModelInput("net/a-in", (2,))
    with pytest.raises(CoExecError, match=r"no input 'z'; its inputs are: 'x' \[n,3\], 'net/a-in' \[2\]"):
        resolve({"z": [1]}, x, y)
    with pytest.raises(CoExecError, match=r"'x' of net\.onnx has 2 dimensions, \[n,3\], but 3 sizes are given"):
        resolve({"x": [1, 3, 3]}, x, y)
    with pytest.raises(CoExecError, match=r"a size of input 'x' of net\.onnx is 0; give sizes of at least 1"):
        resolve({"x": [0, 3]}, x, y)
    # TVM's parser reads no dash and no more than one slash
    assert resolve({"in": [4], "x": [1, 3]}, x, y)["net/a-in"] == (4,)
    with pytest.raises(CoExecError, match="no input 'in'"):
        resolve({"in": [4]}, ModelInput("a-in", (2,)), ModelInput("b-in", (2,)))
    with pytest.raises(CoExecError, match="no input 'n'"):  # the end of a word is no name
        resolve({"n": [4]}, y)


def test_several_models_take_the_shapes_of_their_own_inputs():
    models = {"one": [ModelInput("x", ("n",)), ModelInput("y", (2,))], "two": [ModelInput("x", ("n", "m"))]}
    assert select_shapes(models, {"x": [3], "y": [4]}) == {"one": {"x": [3], "y": [4]}, "two": {"x": [3]}}
    with pytest.raises(CoExecError, match="none of the models has an input 'z'"):
        select_shapes(models, {"z": [1]})
    assert select_shapes({"one": models["one"]}, {"z": [1]}) == {"one": {"z": [1]}}  # refused with the names it has
