"""What can't be imported is named: the file where it is damaged, else the operator."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

pytestmark = pytest.mark.llvm
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from tests.frontend import onnx_models  # noqa: E402
from tvm_coexec import CoExecError  # noqa: E402
from tvm_coexec.frontend.control_flow import has_control_flow  # noqa: E402
from tvm_coexec.frontend.onnx_file import read_onnx  # noqa: E402
from tvm_coexec.frontend.onnx_import import import_onnx  # noqa: E402


def refuse(proto, given: dict | None = None) -> str:
    """The one sentence that the import ends with; the model is whole again for the next one."""
    from tvm.relay.frontend.onnx import GraphProto

    stock = GraphProto._convert_operator
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # TVM's are caught before they become errors of the test
        warnings.filterwarnings("default", module="tvm")
        with pytest.raises(CoExecError) as caught:
            import_onnx(proto, "net.onnx", given)
    assert GraphProto._convert_operator is stock
    text = str(caught.value)
    assert "\n" not in text and "complete ONNX file" not in text and "net.onnx" in text
    return text


def test_operators_that_the_importer_lacks_are_named_with_their_domain_also_in_branches():
    text = refuse(onnx_models.lacking())
    for name in ("Det (2 nodes, the first is 'first')", "com.acme::Fuse (node 's')", "Mystery (node 'Mystery')"):
        assert name in text


@pytest.mark.parametrize("proto", [onnx_models.branch(), onnx_models.branch(inner="Abs"), onnx_models.loop()])
def test_branches_and_loops_are_the_executors_limit(proto):
    text = refuse(proto)
    assert text.startswith("TVM's graph executor can't run branches or loops")
    assert "If (node 'choose')" in text or "Loop (node 'repeat')" in text


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_that_is_decided_in_the_file_is_no_branch(condition):
    import tvm
    from tvm.contrib import graph_executor

    import tvm_coexec  # noqa: F401

    mod, params = import_onnx(onnx_models.branch(condition), "net.onnx")
    assert not has_control_flow(mod)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype("float32")
    run = graph_executor.GraphModule(tvm.relay.build(mod, "llvm", params=params)["default"](tvm.cpu()))
    run.run(x=x)
    np.testing.assert_array_equal(run.get_output(0).numpy(), np.abs(x) if condition else -np.abs(x))


def test_the_operator_that_can_t_be_converted_is_named():
    """By its own converter, by the type of its result, and where TVM asks for the type at a later operator only."""
    weights = {"w": np.zeros((5, 4), "float32")}
    gemm = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Gemm", ["r", "w"], ["y"], name="head")]
    ends = [onnx_models.value("x", [2, 3])], [onnx_models.value("y", None)]
    text = refuse(onnx_models.model(gemm, *ends, weights))
    assert "can't convert the operator Gemm (node 'head')" in text and "onnx.checker" in text
    text = refuse(onnx_models.model(gemm, *ends, weights), {"x": [2, 7]})
    assert "operator Gemm (node 'head')" in text and "check --input-shapes" in text
    add = [helper.make_node("Add", ["x", "v"], ["y"], name="sum")]
    assert "operator Add (node 'sum')" in refuse(onnx_models.model(add, *ends, {"v": np.zeros((2, 4), "float32")}))
    late = [*add, helper.make_node("Relu", ["y"], ["z"]), helper.make_node("Flatten", ["z"], ["f"])]
    proto = onnx_models.model(late, ends[0], [onnx_models.value("f", None)], {"v": np.zeros((2, 4), "float32")})
    assert "operator Add (node 'sum')" in refuse(proto)
    quick = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], name="total")]
    axes = [onnx_models.value("axes", [1], TensorProto.INT64)]
    assert "operator ReduceSum (node 'total')" in refuse(onnx_models.model(quick, ends[0] + axes, ends[1]))


def test_a_value_that_nothing_makes_is_named():
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Mul", ["r", "lost"], ["y"])]
    text = "the operator Mul in net.onnx reads 'lost', which is not an input, weight or result"
    with pytest.raises(CoExecError, match=text):
        import_onnx(onnx_models.model(nodes, [onnx_models.value("x", [2])], [onnx_models.value("y", [2])]), "net.onnx")


def test_files_that_are_damaged(tmp_path):
    path = tmp_path / "net.onnx"
    data = onnx_models.conv_net([1, 3, 8, 8]).SerializeToString()
    for size in (0, 1, len(data) // 2, len(data) - 6, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(CoExecError, match=r"can't read the model .*net\.onnx: .*; give a complete ONNX file"):
            read_onnx(str(path))
    with pytest.raises(CoExecError, match=r"none\.onnx: No such file"):
        read_onnx(str(tmp_path / "none.onnx"))
    path.write_bytes(data)
    assert len(read_onnx(str(path)).graph.node) == 3
    empty = onnx_models.model([], [onnx_models.value("x", [2])], [onnx_models.value("x", [2])])
    with pytest.raises(CoExecError, match="has no operators"):
        import_onnx(empty, "net.onnx")


def test_weights_in_other_files(tmp_path):
    path = str(tmp_path / "net.onnx")
    proto = onnx_models.conv_net([1, 3, 8, 8])
    onnx.save(proto, path, save_as_external_data=True, location="net.bin", size_threshold=0)
    assert read_onnx(path).graph.initializer[0].raw_data
    (tmp_path / "net.bin").unlink()
    with pytest.raises(CoExecError, match=r"can't read the weights of .*net\.onnx: .*net\.bin.*same folder"):
        read_onnx(path)


def test_what_the_type_checker_found_is_in_the_error(capfd):
    """TVM prints it, and says only that it did; another renderer is there again afterwards, in a nested use as well."""
    import tvm
    from tvm import relay
    from tvm.ir import diagnostics

    from tvm_coexec.frontend.quiet import quiet_tvm

    def infer() -> None:
        x, w = relay.var("x", shape=(1, 5, 8)), relay.var("w", shape=(4, 3, 3))
        relay.transform.InferType()(tvm.IRModule.from_expr(relay.nn.conv1d(x, w, channels=4, kernel_size=3)))

    def infer_twice() -> None:
        with quiet_tvm():
            with pytest.raises(tvm.error.DiagnosticError, match="5 does not match 3"), quiet_tvm():
                infer()
            assert not seen
            infer()

    seen = []
    diagnostics.override_renderer(lambda context: seen.append(len(context.diagnostics)))
    try:
        with pytest.raises(tvm.error.DiagnosticError, match="5 does not match 3"):
            infer_twice()
        with pytest.raises(tvm.error.DiagnosticError, match="check diagnostic render"):
            infer()
        assert any(seen)
    finally:
        diagnostics.override_renderer(None)
    assert capfd.readouterr().err == ""
    with pytest.raises(tvm.error.DiagnosticError):
        infer()
    assert "does not match" in capfd.readouterr().err


def test_warnings_of_tvm_go_to_the_log(caplog, recwarn):
    """The checker's about a missing shape, here; warnings of others stay what they are."""
    with caplog.at_level(logging.INFO, "tvm_coexec"):
        import_onnx(onnx_models.conv_net([1, 3, 8, 8]), "net.onnx")
    assert not recwarn.list
    (record,) = [r for r in caplog.records if "UserWarning" in r.message]
    assert record.levelno == logging.INFO and "shape" in record.message and "\n" not in record.message
