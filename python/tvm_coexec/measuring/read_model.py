"""Read models from files or by name, as Relay modules."""

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
from tvm_coexec.relay_passes.static_shapes import why_dynamic
from tvm_coexec.targets import targets

from .collect.design import NAME, make_designed_module
from .pieces import KernelBuilder


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes
    ----------
    name : str
        File name without its extension, or the zoo's name, followed by the shapes that the user has given.
    mod : IRModule
    params : dict of str to NDArray
    """

    name: str
    mod: tvm.IRModule
    params: dict

    def graph(self) -> KernelGraph:
        """Extract the kernel graph; raises `CoExecError` if it has no kernels."""
        return self.builder("llvm", "opencl").graph

    def builder(self, cpu: str, gpu: str) -> KernelBuilder:
        """Return a builder of its kernels for two targets; `CoExecError` if it has none, or open shapes."""
        with quiet_tvm(), show_passes("preparing") as bars, change_context(3, bars):
            prepared = Prepare(self.params)(self.mod)
            extracted = extract_with_calls(prepared)
        if dynamic := why_dynamic(prepared):
            raise CoExecError(f"model {self.name}: {dynamic}")
        if not extracted.graph.kernels:
            raise CoExecError(f"model {self.name} has no kernels: {extracted.graph.reason or 'it has no operators'}")
        return KernelBuilder(prepared, extracted, *targets(cpu, gpu))


def make_designed_model(count: int) -> Model:
    """Return the designed set of kernels as a model."""
    return Model(NAME, make_designed_module(count), {})


def load_model(model: str, input_shapes: Mapping[str, Sequence[object]] | None = None) -> Model:
    """Read an ONNX file, or take a network of `tvm_coexec.models.zoo`.

    Parameters
    ----------
    model : str
        Path or name. If only the batch of an input is open, it is 1.
    input_shapes : mapping of str to sequence, optional
        Shapes of inputs, for sizes that are open in the file or to replace others.

    Raises
    ------
    CoExecError
        If there is no such file or name, or it can't be read or imported; see `import_onnx`.
    """
    return load_models([model], input_shapes)[0]


def load_models(models: Sequence[str], input_shapes: Mapping[str, Sequence[object]] | None = None) -> list[Model]:
    """Read several models; each takes the shapes of its own inputs.

    Raises
    ------
    CoExecError
        As `load_model`; also if no model has an input for which a shape is given.
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
    """Return the file name without its extension, with the given shapes, which distinguish samples."""
    given = " ".join(f"{name}:[{','.join(map(str, shape))}]" for name, shape in shapes.items())
    return f"{os.path.splitext(os.path.basename(model))[0]} {given}".strip()


def _path(model: str) -> str:
    """Return the file of a model, given its path or the name of a network of the zoo."""
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
