"""Files of models: JSON, or NumPy's npz where the state has arrays. Nothing is ever unpickled.

A state is a dict of JSON values. If it has the key ``arrays``, that is a dict of arrays by name, and the model's file
is an npz (a zip archive of arrays, readable by ``numpy.load(path, allow_pickle=False)``) with these members:

``header``
    The rest of the state as JSON, UTF-8 bytes in an array of uint8: ``version``, ``kind``, ``model``, the model's own
    keys, and ``arrays``, which maps each array's name to its type and shape.
``arrays/NAME``
    One for each name in the header.

Inside another JSON file, such as a profile, an array is ``{"dtype", "shape", "base64"}``, little-endian.
"""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import damage, read_json

VERSION = 1
ARRAYS = "arrays"
# Types of arrays in files: all are numbers, and little-endian on every machine.
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "int32", "int64")

State = dict[str, Any]


def to_json(state: State) -> str:
    """Return a state as one line of JSON."""
    return json.dumps(encode_arrays(state), separators=(",", ":"), allow_nan=False)


def encode_arrays(state: State) -> State:
    """Return a state whose arrays are JSON values."""
    if ARRAYS not in state:
        return state
    return {**state, ARRAYS: {name: _encode(a) for name, a in state[ARRAYS].items()}}


def decode_arrays(state: State) -> State:
    """Return a state whose arrays are arrays again.

    Raises
    ------
    ValueError, KeyError, TypeError
        If one is damaged, or has a value that is not finite.
    """
    if ARRAYS not in state:
        return state
    return {**state, ARRAYS: {str(name): _decode(str(name), d) for name, d in state[ARRAYS].items()}}


def to_npz(state: State) -> bytes:
    """Return the content of an npz file; the same state gives the same bytes."""
    arrays = {name: np.asarray(a, order="C") for name, a in state[ARRAYS].items()}
    for name, a in arrays.items():
        _check(name, a)
    described = {name: [a.dtype.name, list(a.shape)] for name, a in arrays.items()}
    header = json.dumps({**state, ARRAYS: described}, separators=(",", ":"), allow_nan=False).encode()
    members = {"header": np.frombuffer(header, np.uint8), **{f"arrays/{n}": a for n, a in arrays.items()}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, a in members.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as f:
                np.lib.format.write_array(f, a.astype(a.dtype.newbyteorder("<"), copy=False), allow_pickle=False)
    return buffer.getvalue()


def read_state(path: str | os.PathLike, kind: str, what: str) -> State:
    """Read a model's file, JSON or npz, whatever its name ends with.

    Parameters
    ----------
    path : str or path
    kind : str
        The value of ``kind`` that the file must have.
    what : str
        What it is, for messages (``latency model``).

    Returns
    -------
    dict
        The state; its arrays, if any, are arrays.

    Raises
    ------
    CoExecError
        If the file can't be read, is of another kind or version, or is damaged; the text names it.
    """
    path = os.fspath(path)
    try:
        if not _is_npz(path):
            return decode_arrays(read_json(path, kind, what, VERSION))
        return _read_npz(path, kind, what)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise damaged(path, what, err) from None


def damaged(path: str | os.PathLike, what: str, err: Exception) -> CoExecError:
    """Make the error for a damaged file."""
    return CoExecError(f"{what} {os.fspath(path)} is damaged ({damage(err)}); fit it again")


def take_array(state: Mapping[str, Any], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return an array of a state.

    Parameters
    ----------
    state : mapping
    name : str
    shape : tuple of (int or None)
        The shape that it must have; `None` for any extent.

    Raises
    ------
    ValueError
        If it is missing or has another shape.
    """
    found = state.get(ARRAYS, {}).get(name)
    if found is None:
        raise ValueError(f"it lacks the array '{name}'")
    if len(found.shape) != len(shape) or any(n is not None and n != m for n, m in zip(shape, found.shape, strict=True)):
        wanted = " x ".join("n" if n is None else str(n) for n in shape)
        raise ValueError(f"the array '{name}' has shape {list(found.shape)} instead of {wanted}")
    return found


def _is_npz(path: str) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read(2) == b"PK"
    except OSError:
        return False  # the reader of JSON raises the error


def _read_npz(path: str, kind: str, what: str) -> State:
    try:
        with np.load(path, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as err:
        raise ValueError(str(err) or "it is truncated") from None
    header = json.loads(members["header"].astype(np.uint8).tobytes().decode("utf-8"))
    if not isinstance(header, dict) or header.get("kind") != kind or header.get("version") != VERSION:
        raise CoExecError(f"{what} {path} is not a {what} of version {VERSION}; fit it again or give another file")
    arrays = {}
    for name, (dtype, shape) in header[ARRAYS].items():
        if f"arrays/{name}" not in members:
            raise ValueError(f"it lacks the array '{name}'")
        a = members[f"arrays/{name}"]
        if a.dtype.name != dtype or list(a.shape) != shape:
            raise ValueError(f"the array '{name}' is {a.dtype.name} {list(a.shape)} instead of {dtype} {shape}")
        arrays[name] = _check(name, a)
    return {**header, ARRAYS: arrays}


def _encode(a: np.ndarray) -> State:
    data = np.ascontiguousarray(a.astype(a.dtype.newbyteorder("<"), copy=False))
    return {"dtype": a.dtype.name, "shape": list(a.shape), "base64": base64.b64encode(data.tobytes()).decode("ascii")}


def _decode(name: str, d: State) -> np.ndarray:
    if d["dtype"] not in DTYPES:
        raise ValueError(f"the array '{name}' has the type {d['dtype']!r}")
    data = base64.b64decode(d["base64"], validate=True)
    a = np.frombuffer(data, np.dtype(d["dtype"]).newbyteorder("<"))
    return _check(name, a.astype(d["dtype"]).reshape([int(n) for n in d["shape"]]))


def _check(name: str, a: np.ndarray) -> np.ndarray:
    if a.dtype.name not in DTYPES:
        raise ValueError(f"the array '{name}' has the type {a.dtype.name}")
    if not np.isfinite(a).all():
        raise ValueError(f"the array '{name}' has a value that is not a finite number")
    return a
