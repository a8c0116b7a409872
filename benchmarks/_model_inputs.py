"""Inputs of models that are not known: sizes for what a file leaves open, and values that the model accepts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.random_inputs import random_tensor
from tvm_coexec.frontend.input_shapes import OPTION, ModelInput

if TYPE_CHECKING:
    from onnx import ModelProto

Shapes = dict[str, list[int]]

FILE = "input_shapes.txt"
IMAGE, SEQUENCE, SAMPLES = 224, 128, 16000
# What the name of an open size says; the first that fits counts.
_BY_NAME = (
    (r"batch|^n$|^b$|^bs$", 1),
    (r"height|width|^h$|^w$|row|col", IMAGE),
    (r"sample|audio|wav", SAMPLES),
    (r"seq|len|token|time|frame|step|^t$|^l$|^s$", SEQUENCE),
)
_CHANNELS = (1, 2, 3, 4)
# Operators through which an index reaches the table that it is for.
_PASSING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten")
_INTEGERS = ("int", "uint")


def default_shapes(inputs: Sequence[ModelInput]) -> Shapes:
    """Shapes for all inputs: open sizes by their names, else by their position.

    A size of the name ``batch`` is 1, of ``height`` or ``width`` `IMAGE`, of ``seq_len`` and the like `SEQUENCE`. Of a
    nameless one the first is 1; the two spatial ones of an image (channels first or last) are `IMAGE`, others
    `SEQUENCE`. Equal names have equal sizes.
    """
    known: dict[str, int] = {}
    return {
        entry.name: [
            size if isinstance(size, int) else known.setdefault(_key(entry, at), _guess(entry, at))
            for at, size in enumerate(entry.sizes or ())
        ]
        for entry in inputs
    }


def _key(entry: ModelInput, at: int) -> str:
    """The name of an open size; one without a name has a name of its own."""
    assert entry.sizes is not None
    size = str(entry.sizes[at])
    return size if re.search("[A-Za-z]", size) else f"{entry.name} {at}"


def _guess(entry: ModelInput, at: int) -> int:
    sizes: Sequence[int | str] = entry.sizes or ()
    if at == 0:
        return 1
    word = re.sub(r"[^a-z]+", " ", str(sizes[at]).lower()).strip()
    for pattern, value in _BY_NAME:
        if re.search(pattern, word):
            return value
    if len(sizes) != 4:
        return SEQUENCE
    is_last = sizes[3] in _CHANNELS and sizes[1] not in _CHANNELS
    spatial = (1, 2) if is_last else (2, 3)
    return IMAGE if at in spatial else 3


def read_shapes(texts: Sequence[str], folder: Path) -> dict[str, Shapes]:
    """Shapes by file name: lines of ``input_shapes.txt`` in the folder, then `texts`, as ``MODEL.onnx=x:[1,3,64,64]``.

    Raises
    ------
    CoExecError
        For a text of another form.
    """
    from tvm.driver.tvmc.shape_parser import parse_shape_string

    file = folder / FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found: dict[str, Shapes] = {}
    for text in [*(line for line in lines if line.strip() and not line.startswith("#")), *texts]:
        name, equals, shapes = text.partition("=")
        try:
            found[name.strip()] = parse_shape_string(shapes.strip()) if equals else {}
        except Exception:  # of the parser, for another form
            found.clear()
        if not found.get(name.strip()):
            raise CoExecError(f"{OPTION} {text!r} is not of the form MODEL.onnx=NAME:[1,3,64,64]; write it so")
    return found


def table_sizes(proto: ModelProto) -> dict[str, int]:
    """For each input that is an index into a constant table, the number of the table's entries (the least of several).

    An embedding's index has as many valid values as the table has rows. Casts and reshapes are followed.
    """
    tables = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    origin = {entry.name: entry.name for entry in proto.graph.input if entry.name not in tables}
    found: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type in _PASSING and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in tables and node.input[1] in origin:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            name, size = origin[node.input[1]], tables[node.input[0]][axis]
            found[name] = min(size, found.get(name, size))
    return found


def make_inputs(
    types: Mapping[str, tuple[Sequence[int], str]], sizes: Mapping[str, int], seed: int = 0
) -> dict[str, np.ndarray]:
    """Random inputs by name.

    Parameters
    ----------
    types : mapping of str to (sequence of int, str)
        Shape and type of each input.
    sizes : mapping of str to int
        A result of `table_sizes`: such integers are below the size; others, perhaps masks or flags, are 0 or 1.
    seed : int
    """
    rng = np.random.default_rng(seed)
    made = {}
    for name, (shape, dtype) in types.items():
        if dtype.startswith(_INTEGERS) and name in sizes:
            most = min(sizes[name], np.iinfo(dtype).max + 1)
            made[name] = rng.integers(0, most, tuple(shape)).astype(dtype)
        else:
            made[name] = random_tensor(shape, dtype, rng)
    return made
