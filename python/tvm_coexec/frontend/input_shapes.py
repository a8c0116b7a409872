"""Sizes of a model's inputs: those that the file leaves open, and those given with ``--input-shapes``.

The compiler needs every size. An ONNX file may leave sizes open and name them (``batch``, ``seq_len``); equal names
stand for equal sizes in all inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.texts import list_some

if TYPE_CHECKING:
    from onnx import ModelProto

OPTION = "--input-shapes"
_UNNAMED = "?"
# Sizes to propose for open ones: of images, and of other inputs.
_IMAGE, _OTHER = 224, 128


@dataclass(frozen=True)
class ModelInput:
    """An input of a model, as stated in its file.

    Attributes
    ----------
    name : str
    sizes : tuple of (int or str), or None
        Size per dimension; an open size is text: its name, ``?`` if it has none, or an invalid number. `None` if the
        file does not state the rank.
    """

    name: str
    sizes: tuple[int | str, ...] | None

    @property
    def open_sizes(self) -> list[str]:
        """The open sizes, in order."""
        return [s for s in self.sizes or () if isinstance(s, str)]

    @property
    def text(self) -> str:
        """The sizes as ``[batch,3,224,224]``."""
        return "of unknown rank" if self.sizes is None else f"[{','.join(map(str, self.sizes))}]"


def inputs_of(proto: ModelProto, path: str) -> list[ModelInput]:
    """Return the inputs that users supply: those without a value in the file.

    Raises
    ------
    CoExecError
        If an input is not a tensor.
    """
    constants = {t.name for t in proto.graph.initializer}
    found = []
    for entry in proto.graph.input:
        if entry.name in constants:
            continue
        kind = entry.type.WhichOneof("value")
        if kind != "tensor_type":
            raise CoExecError(f"input '{entry.name}' of {path} is {(kind or 'of no type').removesuffix('_type')}, "
                              "but only tensors are supported; export the model with tensors as inputs")  # fmt: skip
        tensor = entry.type.tensor_type
        sizes = tuple(map(_size, tensor.shape.dim)) if tensor.HasField("shape") else None
        found.append(ModelInput(entry.name, sizes))
    return found


def _size(dim: Any) -> int | str:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value > 0 else str(dim.dim_value)
    return dim.dim_param or _UNNAMED


def resolve_shapes(
    inputs: Sequence[ModelInput], given: Mapping[str, Sequence[object]] | None, path: str, one_image: bool = False
) -> dict[str, tuple[int, ...]]:
    """Find the shape of every input.

    Parameters
    ----------
    inputs : sequence of ModelInput
    given : mapping of str to sequence, optional
        Shapes by input, as TVM's parser of ``--input-shapes`` returns them; other sizes than positive
        integers are open.
    path : str
        Path of the model, for errors.
    one_image : bool
        Whether an open first size becomes 1 if it is the only open size of its input.

    Returns
    -------
    dict of str to tuple of int

    Raises
    ------
    CoExecError
        For an unknown input, a shape of the wrong rank, and sizes that stay open, which the text lists.
    """
    shapes = _match(inputs, given or {}, path)
    sizes = {i.name: list(shapes.get(i.name, i.sizes or ())) for i in inputs}
    _share(inputs, sizes)
    for entry in inputs:
        its = sizes[entry.name]
        if one_image and its and [n for n, s in enumerate(its) if isinstance(s, str)] == [0]:
            its[0] = 1
            _share(inputs, sizes)
    still = [ModelInput(i.name, tuple(sizes[i.name]) if i.sizes is not None or i.name in shapes else None)
             for i in inputs]  # fmt: skip
    lacking = [i for i in still if i.sizes is None or i.open_sizes]
    if lacking:
        raise CoExecError(_open_text(lacking, path))
    return {name: tuple(int(s) for s in its) for name, its in sizes.items()}


def select_shapes(
    models: Mapping[str, Sequence[ModelInput]], given: Mapping[str, Sequence[object]]
) -> dict[str, dict[str, Sequence[object]]]:
    """Assign given shapes to several models.

    Parameters
    ----------
    models : mapping of str to sequence of ModelInput
        Inputs by model. A single model receives all shapes.
    given : mapping of str to sequence

    Returns
    -------
    dict of str to dict
        For each model, the shapes of its inputs.

    Raises
    ------
    CoExecError
        For a name that is not an input of any model.
    """
    if len(models) == 1:
        return {path: dict(given) for path in models}
    for name in given:
        if not any(_named(inputs, name) for inputs in models.values()):
            raise CoExecError(f"{OPTION}: none of the models has an input '{name}'; check the name")
    return {path: {n: s for n, s in given.items() if _named(inputs, n)} for path, inputs in models.items()}


def _match(
    inputs: Sequence[ModelInput], given: Mapping[str, Sequence[object]], path: str
) -> dict[str, list[int | str]]:
    """Return the given shapes by input, with the file's names for sizes that stay open."""
    found: dict[str, list[int | str]] = {}
    for name, shape in given.items():
        entry = _named(inputs, name)
        if entry is None:
            known = list_some([f"'{i.name}' {i.text}" for i in inputs], 8) or "none"
            raise CoExecError(f"{OPTION}: the model {path} has no input '{name}'; its inputs are: {known}")
        if entry.sizes is not None and len(shape) != len(entry.sizes):
            raise CoExecError(f"{OPTION}: input '{entry.name}' of {path} has {len(entry.sizes)} dimensions, "
                              f"{entry.text}, but {len(shape)} sizes are given: give {len(entry.sizes)}")  # fmt: skip
        if 0 in [s for s in shape if isinstance(s, int)]:
            raise CoExecError(f"{OPTION}: a size of input '{entry.name}' of {path} is 0; give sizes of at least 1")
        names = [s if isinstance(s, str) else _UNNAMED for s in entry.sizes or [_UNNAMED] * len(shape)]
        found[entry.name] = [s if isinstance(s, int) and s > 0 else n for s, n in zip(shape, names, strict=True)]
    return found


def _named(inputs: Sequence[ModelInput], name: str) -> ModelInput | None:
    """Find the input of that name.

    TVM's parser accepts words, dots, colons and one slash in a name, so it reduces ``net/in-0`` to ``0``: such a suffix
    stands for the input whose name ends with it, if there is only one.
    """
    exact = next((i for i in inputs if i.name == name), None)
    if exact is not None:
        return exact
    ending = [i for i in inputs if i.name.endswith(name) and re.match(r"[^\w:.]$", i.name[-len(name) - 1])]
    return ending[0] if len(ending) == 1 else None


def _share(inputs: Sequence[ModelInput], sizes: dict[str, list[int | str]]) -> None:
    """Set open sizes to the value of the same name in another input, unless values differ."""
    known: dict[str, set[int]] = {}
    for entry in inputs:
        for name, size in zip(entry.sizes or (), sizes[entry.name], strict=False):
            if isinstance(name, str) and isinstance(size, int) and _is_name(name):
                known.setdefault(name, set()).add(size)
    for its in sizes.values():
        for n, size in enumerate(its):
            if isinstance(size, str) and len(known.get(size, ())) == 1:
                its[n] = next(iter(known[size]))


def _is_name(size: str) -> bool:
    return size != _UNNAMED and not size.lstrip("-").isdigit()


def _open_text(lacking: Sequence[ModelInput], path: str) -> str:
    texts = []
    for entry in lacking:
        if entry.sizes is None:
            texts.append(f"input '{entry.name}' has no shape")
        else:
            texts.append(f"input '{entry.name}' has open sizes: {', '.join(entry.open_sizes)}")
    wanted = _proposed(lacking)
    quote = '"' if " " in wanted else ""
    rest = f"; and {len(texts) - 3} more inputs" if len(texts) > 3 else ""
    return f"{'; '.join(texts[:3])}{rest} (model {path}); give {OPTION} {quote}{wanted}{quote}, or other sizes"


def _proposed(lacking: Sequence[ModelInput]) -> str:
    """Make an example of the option that sets all sizes; equal names are given once."""
    chosen: dict[str, int] = {}
    texts = []
    for entry in lacking:
        if entry.sizes is not None and all(s in chosen for s in entry.open_sizes):
            continue
        sizes = []
        for n, size in enumerate(("?", "?") if entry.sizes is None else entry.sizes):
            guess = 1 if n == 0 else _IMAGE if len(entry.sizes or ()) == 4 and n > 1 else _OTHER
            sizes.append(chosen.get(size, guess) if isinstance(size, str) else size)
            if isinstance(size, str) and _is_name(size):
                chosen.setdefault(size, int(sizes[-1]))
        texts.append(f"{entry.name}:[{','.join(map(str, sizes))}]")
    return " ".join(texts)
