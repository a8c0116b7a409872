"""Models by file or by name, as the passes want them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tvm

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.frontend.input_shapes import inputs_of, select_shapes
from tvm_coexec.frontend.onnx_file import read_onnx
from tvm_coexec.frontend.onnx_import import import_onnx
from tvm_coexec.frontend.quiet import quiet_tvm
from tvm_coexec.pass_context import change_context, show_passes
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
        File name without its ending, or the zoo's name; after it the shapes that were given, if any.
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
        with quiet_tvm(), show_passes("preparing") as bars, change_context(3, bars):
            prepared = Prepare(self.params)(self.mod)
            extracted = extract_with_calls(prepared)
        if not extracted.graph.kernels:
            raise CoExecError(f"model {self.name} has no kernels: {extracted.graph.reason or 'it has no operators'}")
        return KernelBuilder(prepared, extracted, *targets(cpu, gpu))


def designed(count: int) -> Model:
    """The designed sample as a model."""
    return Model(NAME, designed_module(count), {})


def load_model(model: str, input_shapes: Mapping[str, Sequence[object]] | None = None) -> Model:
    """Read an ONNX file, or take a network of `tvm_coexec.models.zoo`.

    Parameters
    ----------
    model : str
        Path or name. Of an input of which only the batch is left open, one image is taken.
    input_shapes : mapping of str to sequence, optional
        Shapes of inputs, for sizes that the file leaves open or in place of those that it has.

    Raises
    ------
    CoExecError
        When there is no such file or name, or it can't be read or imported; see `import_onnx`.
    """
    return load_models([model], input_shapes)[0]


def load_models(models: Sequence[str], input_shapes: Mapping[str, Sequence[object]] | None = None) -> list[Model]:
    """Read several models; each takes the shapes of those inputs that it has.

    Raises
    ------
    CoExecError
        As `load_model`; for a shape, when none of the models has an input of that name.
    """
    paths = {model: _path(model) for model in models}
    protos = {path: read_onnx(path) for path in paths.values()}
    shapes = select_shapes({path: inputs_of(proto, path) for path, proto in protos.items()}, input_shapes or {})
    found = []
    for model, path in paths.items():
        mod, params = import_onnx(protos[path], path, shapes[path], one_image=True)
        found.append(Model(_name(model, shapes[path]), mod, params))
    return found


def _name(model: str, shapes: Mapping[str, Sequence[object]]) -> str:
    """File name without its ending; with the shapes that were given, since samples of other shapes are others."""
    given = " ".join(f"{name}:[{','.join(map(str, shape))}]" for name, shape in shapes.items())
    return f"{os.path.splitext(os.path.basename(model))[0]} {given}".strip()


def _path(model: str) -> str:
    """The file of a model that is named by its path or as a network of the zoo."""
    if os.path.exists(model):
        return model
    try:
        from tvm_coexec.models import zoo
    except ImportError as err:
        raise CoExecError(f"reading models needs onnx ({err}); install tvm-coexec[onnx]") from None
    known = zoo.names("all")
    if model not in known:
        raise CoExecError(f"there is no model {model}; give an ONNX file or one of {', '.join(known)}")
    try:
        return str(zoo.path(model))
    except FileNotFoundError as err:
        raise CoExecError(str(err)) from None
