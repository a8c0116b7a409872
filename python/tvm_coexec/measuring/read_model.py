"""Models by file or by name, as the passes want them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import tvm
from tvm import relay

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.pass_context import deployment_context
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.targets import targets

from .collect.design import NAME, designed_module
from .pieces import KernelBuilder


@dataclass(frozen=True)
class Model:
    """A model that was read.

    Attributes
    ----------
    name : str
        File name without its ending, or the zoo's name.
    mod : IRModule
    params : dict of str to NDArray
    """

    name: str
    mod: tvm.IRModule
    params: dict

    def graph(self) -> KernelGraph:
        """Its kernels; raises `CoExecError` when there are none."""
        return self.builder("llvm", "opencl").graph

    def builder(self, cpu: str, gpu: str) -> KernelBuilder:
        """Its kernels, to be built for two targets; raises `CoExecError` when there are none."""
        with deployment_context(instruments=False):
            prepared = Prepare(self.params)(self.mod)
            extracted = extract_with_calls(prepared)
        if not extracted.graph.kernels:
            raise CoExecError(f"model {self.name} has no kernels: {extracted.graph.reason or 'it has no operators'}")
        return KernelBuilder(prepared, extracted, *targets(cpu, gpu))


def designed(count: int) -> Model:
    """The designed sample as a model."""
    return Model(NAME, designed_module(count), {})


def load_model(model: str) -> Model:
    """Read an ONNX file, or take a network of `tvm_coexec.models.zoo`.

    Parameters
    ----------
    model : str
        Path or name. Of an input whose batch is left open, one image is taken.

    Raises
    ------
    CoExecError
        When there is no such file or name, or it can't be read.
    """
    try:
        import onnx

        from tvm_coexec.models import zoo
    except ImportError as err:
        raise CoExecError(f"reading models needs onnx ({err}); install tvm-coexec[onnx]") from None
    path, name = model, os.path.splitext(os.path.basename(model))[0]
    if not os.path.exists(model):
        known = zoo.names("all")
        if model not in known:
            raise CoExecError(f"there is no model {model}; give an ONNX file or one of {', '.join(known)}")
        try:
            path = str(zoo.path(model))
        except FileNotFoundError as err:
            raise CoExecError(str(err)) from None
    try:
        proto = onnx.load(path)
        if not proto.HasField("graph") or not proto.graph.node:
            raise ValueError("it has no operators")
        mod, params = relay.frontend.from_onnx(proto, _shapes(proto, path))
    except CoExecError:
        raise
    except Exception as err:
        raise CoExecError(f"can't read the model {path}: {one_line(err, 200)}; give a complete ONNX file") from None
    return Model(name, mod, params)


def _shapes(proto, path: str) -> dict[str, tuple[int, ...]]:
    weights = {t.name for t in proto.graph.initializer}
    shapes = {}
    for entry in proto.graph.input:
        if entry.name in weights:
            continue
        dims = [d.dim_value for d in entry.type.tensor_type.shape.dim]
        if dims and dims[0] < 1:
            dims[0] = 1
        if any(d < 1 for d in dims):
            raise CoExecError(f"input {entry.name} of {path} has open sizes {dims}; export the model with fixed shapes")
        shapes[entry.name] = tuple(dims)
    return shapes
