"""Open files of compiled models (of ``tvmc compile`` or ``export_library``) and of inputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
from typing import IO, Any

import numpy as np
import tvm
from tvm import relay

from tvm_coexec import gpu_runtimes
from tvm_coexec.core.devices import GPU_NAMES
from tvm_coexec.core.elf import fault_of
from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.random_inputs import random_tensor
from tvm_coexec.executor.create import graph_json_of
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.remote import explained, machine_there

_KINDS = "give a .tar of tvmc compile, or a .so or .tar of export_library"
_GRAPH, _WEIGHTS, _LIBRARIES = "mod.json", "mod.params", ("mod.so", "mod.tar")


def open_model(path: str) -> tvm.runtime.Module:
    """Load a compiled model.

    Parameters
    ----------
    path : str
        A ``.tar`` of ``tvmc compile``, or a ``.so`` or ``.tar`` of ``export_library``.

    Returns
    -------
    Module
        An executor factory, as `tvm_coexec.create` takes it.

    Raises
    ------
    CoExecError
        If the file is missing, or is not such a model.
    """
    if not os.path.isfile(path):
        raise CoExecError(f"there is no file {path}; check the path of the compiled model")
    try:
        with tarfile.open(path) as archive:
            if _GRAPH in archive.getnames():
                return _from_tvmc(path, archive)
    except (tarfile.ReadError, EOFError):
        pass  # perhaps a library
    if not path.endswith((".so", ".tar")):
        raise CoExecError(f"{path} is not a compiled model: {_KINDS}")
    _check_file(path)
    try:
        lib = _load(path, path)
    except (tvm.TVMError, RuntimeError, OSError) as err:
        raise CoExecError(f"{path} is not a compiled model ({one_line(err)}): {_KINDS}") from None
    try:
        graph_json_of(lib)
    except (tvm.TVMError, RuntimeError, CoExecError) as err:
        raise CoExecError(f"{path} is not a compiled model ({one_line(err)}): {_KINDS}") from None
    return lib


def check_archive(path: str, session: tvm.rpc.RPCSession | None = None) -> None:
    """Check that this machine, or that of a server, can load the library that ``tvmc compile`` wrote.

    Parameters
    ----------
    path : str
    session : RPCSession, optional

    Raises
    ------
    CoExecError
        If it has no library, or one for another machine, or one that is cut off.
    """
    with tarfile.open(path) as archive:
        _check_member(path, archive, _library_name(path, archive), session)


def _check_member(path: str, archive: tarfile.TarFile, name: str, session: tvm.rpc.RPCSession | None = None) -> None:
    if (member := archive.extractfile(name)) is not None:  # `_unpack` refuses what is no file
        _check_header(f"{path}: its {name}", member, archive.getmember(name).size, session)


def _check_file(path: str, session: tvm.rpc.RPCSession | None = None) -> None:
    with open(path, "rb") as stream:
        _check_header(path, stream, os.path.getsize(path), session)


def _check_header(what: str, stream: IO[bytes], size: int, session: tvm.rpc.RPCSession | None) -> None:
    """Refuse a library that this machine, or that of a server, can't load, as far as the library's header tells."""
    machine = "" if session is None else machine_there(session)
    if session is not None and not machine:
        return  # it is not known
    if fault := fault_of(stream, size, machine):
        raise CoExecError(f"{what} can't be loaded: {fault}")


def _load(path: str, library: str) -> tvm.runtime.Module:
    """Load the library of a model; a GPU runtime that is missing is a `CoExecError`, other errors are TVM's."""
    try:
        return tvm.runtime.load_module(library)
    except (tvm.TVMError, RuntimeError) as err:
        if (missing := _missing_device(err)) is None:
            raise
        raise CoExecError(f"{path} can't be loaded: {missing}") from None


def _missing_device(err: BaseException) -> str | None:
    """Why there is no runtime for a GPU that a library needs; `None` if that is not what an error says."""
    found = re.search(r"Binary was created using \{(\w+)\}", str(err))
    if found is None or found[1] not in GPU_NAMES:
        return None
    why = gpu_runtimes.why_unavailable(found[1]) or "this process has no runtime for it"
    return f"it needs {GPU_NAMES[found[1]]}, and {why}"


def open_library(path: str) -> tvm.runtime.Module:
    """Load only the functions of a model that ``tvmc compile`` wrote.

    Parameters
    ----------
    path : str

    Returns
    -------
    Module

    Raises
    ------
    CoExecError
        If the archive has no library that can be loaded.
    """
    with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as folder:
        return _library(path, archive, folder)


def open_model_there(path: str, session: tvm.rpc.RPCSession) -> tvm.runtime.Module:
    """Load a compiled model on an RPC server that has this package's runtime.

    Parameters
    ----------
    path : str
        As `open_model` takes it. It may be for another kind of machine than this one.
    session : RPCSession

    Returns
    -------
    Module
        An executor factory of the server.

    Raises
    ------
    CoExecError
        If the file is missing, is not such a model, or can't be loaded on the server.
    """
    if not os.path.isfile(path):
        raise CoExecError(f"there is no file {path}; check the path of the compiled model")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as archive:
                if _GRAPH in archive.getnames():
                    name = _library_name(path, archive)
                    _check_member(path, archive, name, session)
                    lib = _load_there(path, _unpack(path, archive, name, folder), session)
                    return make_factory_there(lib, *_graph_and_weights(path, archive, folder), session)
        except (tarfile.ReadError, EOFError):
            pass  # perhaps a library
    if not path.endswith((".so", ".tar")):
        raise CoExecError(f"{path} is not a compiled model: {_KINDS}")
    _check_file(path, session)
    lib = _load_there(path, path, session)
    try:
        lib["get_graph_json"]
    except AttributeError:
        raise CoExecError(f"{path} is not a compiled model (it has no graph): {_KINDS}") from None
    return lib


def make_factory_there(
    lib: tvm.runtime.Module, graph: str, weights: bytes, session: tvm.rpc.RPCSession
) -> tvm.runtime.Module:
    """Return an executor factory of a library that is loaded on an RPC server.

    Parameters
    ----------
    lib : Module
    graph : str
        The executor's JSON.
    weights : bytes
        Of `relay.save_param_dict`.
    session : RPCSession

    Returns
    -------
    Module
    """
    return session.get_function("tvm_coexec.executor_factory")(graph, lib, bytearray(weights))


def _load_there(path: str, library: str, session: tvm.rpc.RPCSession) -> tvm.runtime.Module:
    name = os.path.basename(library)
    with explained(f"{path} can't be loaded on the RPC server"):
        session.upload(library)
        try:
            return session.load_module(name)
        finally:
            session.remove(name)


def _from_tvmc(path: str, archive: tarfile.TarFile) -> tvm.runtime.Module:
    with tempfile.TemporaryDirectory() as folder:
        lib = _library(path, archive, folder)
        graph, packed = _graph_and_weights(path, archive, folder)
    try:
        weights = relay.load_param_dict(packed)
        create = tvm.get_global_func("tvm.graph_executor_factory.create")
        return create(graph, lib, "default", *(part for pair in weights.items() for part in pair))
    except (tvm.TVMError, ValueError) as err:
        raise CoExecError(f"{path} is damaged: {one_line(err)}; compile the model again") from None


def _graph_and_weights(path: str, archive: tarfile.TarFile, folder: str) -> tuple[str, bytes]:
    weights = read_weights(path, archive)
    with open(_unpack(path, archive, _GRAPH, folder), encoding="utf-8") as stream:
        return stream.read(), weights


def read_weights(path: str, archive: tarfile.TarFile) -> bytes:
    """Return the weights in an archive of ``tvmc compile``, as `relay.save_param_dict` writes them."""
    member = archive.extractfile(_WEIGHTS) if _WEIGHTS in archive.getnames() else None
    if member is None:
        raise CoExecError(f"{path} is incomplete: it has no {_WEIGHTS}; compile the model again")
    return member.read()


def _library_name(path: str, archive: tarfile.TarFile) -> str:
    name = next((n for n in _LIBRARIES if n in archive.getnames()), None)
    if name is None:
        raise CoExecError(f"{path} is incomplete: it has no {_LIBRARIES[0]}; compile the model again")
    return name


def _library(path: str, archive: tarfile.TarFile, folder: str) -> tvm.runtime.Module:
    name = _library_name(path, archive)
    _check_member(path, archive, name)
    library = _unpack(path, archive, name, folder)
    try:
        return _load(path, library)
    except (tvm.TVMError, RuntimeError, OSError) as err:
        raise CoExecError(f"{path}: its {name} cannot be loaded ({one_line(err)}); compile the model again") from None


def _unpack(path: str, archive: tarfile.TarFile, name: str, folder: str) -> str:
    member = archive.extractfile(name)
    if member is None:
        raise CoExecError(f"{path} is damaged: its {name} is not a file; compile the model again")
    to = os.path.join(folder, name)
    with open(to, "wb") as out:
        shutil.copyfileobj(member, out)
    return to


def input_types(lib: Any, session: tvm.rpc.RPCSession | None = None) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and type of each input of a model.

    Parameters
    ----------
    lib : executor factory
    session : RPCSession, optional
        The server that has loaded `lib`; by default this process.

    Returns
    -------
    dict of str to (tuple of int, str)
    """
    graph = Graph(graph_json_of(lib))
    if session is None:
        weights = set(getattr(lib, "module", lib)["get_graph_params"]().keys())
    else:
        weights = set(json.loads(session.get_function("tvm_coexec.param_names")(lib)))
    entries = {graph.nodes[graph.entries[i].node].name: graph.entries[i] for i in graph.inputs}
    return {name: (e.shape, e.dtype) for name, e in entries.items() if name not in weights}


def random_inputs(lib: Any, seed: int = 0, session: tvm.rpc.RPCSession | None = None) -> dict[str, np.ndarray]:
    """Draw random inputs of a model: normally distributed floats, integers 0 or 1.

    Parameters
    ----------
    lib : executor factory
    seed : int
    session : RPCSession, optional
        As `input_types` takes it.

    Returns
    -------
    dict of str to numpy.ndarray
    """
    rng = np.random.default_rng(seed)
    return {name: random_tensor(shape, dtype, rng) for name, (shape, dtype) in input_types(lib, session).items()}


def read_inputs(path: str, lib: Any, session: tvm.rpc.RPCSession | None = None) -> dict[str, np.ndarray]:
    """Read inputs of a model from a file that `numpy.savez` wrote.

    Parameters
    ----------
    path : str
    lib : executor factory
    session : RPCSession, optional
        As `input_types` takes it.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    CoExecError
        If the file is missing or not such a file, or if an input is missing, unknown, or of another shape or type.
    """
    try:
        with np.load(path) as stored:
            found = dict(stored.items())
    except (OSError, ValueError, TypeError, AttributeError):
        raise CoExecError(f"{path} is not a complete .npz file; write it with numpy.savez") from None
    wanted = input_types(lib, session)
    for name in found:
        if name not in wanted:
            raise CoExecError(f"{path}: the model has no input '{name}'; it takes {', '.join(wanted)}")
    for name, (shape, dtype) in wanted.items():
        if name not in found:
            raise CoExecError(f"{path} has no input '{name}'; add it with numpy.savez")
        if found[name].shape != shape or found[name].dtype != np.dtype(dtype):
            given = f"{found[name].dtype}{list(found[name].shape)}"
            raise CoExecError(f"{path}: '{name}' is {given}, the model takes {dtype}{list(shape)}")
    return found
