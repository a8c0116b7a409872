"""Kernel graphs as files: versioned JSON with one line per kernel.

Empty fields of a kernel (axes, a reason, a refusal) are left out. An access map is a list: the name of its kind, then
its numbers. Reading checks every value, so that a damaged file gives a one-sentence error and never a wrong plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from .access import InputAccess, map_from_list
from .errors import CoExecError
from .kernel_graph import REDUCED, Kernel, KernelGraph, SplitAxis, Tensor
from .op_kinds import OpKind
from .partial_reads import CONSTANT, PartialRead

KIND, VERSION = "kernel graph", 1


def write_graph(graph: KernelGraph) -> str:
    """Return the graph as JSON."""
    head = {
        "version": VERSION,
        "kind": KIND,
        "fingerprint": graph.fingerprint(),
        "reason": graph.reason,
        "inputs": [[name, *_tensor_to_json(t)] for name, t in graph.inputs],
        "outputs": graph.outputs,
    }
    lines = ",\n".join(f" {json.dumps(k)}: {_compact(v)}" for k, v in head.items())
    kernels = ",\n".join("  " + _compact(_kernel_to_json(k)) for k in graph.kernels)
    return f'{{\n{lines},\n "kernels": [\n{kernels}\n ]\n}}\n'


def is_kernel_graph(path: str) -> bool:
    """Whether a file is one that `coexec plan --save-graph` wrote, judged by its first bytes."""
    try:
        with open(path, "rb") as file:
            start = file.read(200)
    except OSError:
        return False
    return start.lstrip().startswith(b"{") and f'"kind": "{KIND}"'.encode() in start


def read_graph(text: str, source: str = "kernel graph") -> KernelGraph:
    """Read a graph from `write_graph`; see `KernelGraph.from_json`."""
    try:
        d = json.loads(text)
    except ValueError as err:
        raise CoExecError(f"{source} is not JSON ({err}); write it again with coexec plan --save-graph") from None
    if not isinstance(d, dict) or d.get("kind") != KIND:
        raise CoExecError(f"{source} is not a kernel graph; give a file that coexec plan --save-graph wrote")
    if d.get("version") != VERSION:
        raise CoExecError(
            f"{source} is a kernel graph of version {d.get('version')!r}; this release reads version {VERSION}: write "
            "it again with coexec plan --save-graph"
        )
    where = "it"
    try:
        inputs = tuple((_text(name), _tensor(rest)) for name, *rest in d["inputs"])
        kernels = []
        for index, kernel in enumerate(_list(d["kernels"])):
            where = f"kernel {index}"
            kernels.append(_kernel(index, kernel, len(inputs)))
        where = "it"
        outputs = tuple(_value(v, len(kernels), len(inputs)) for v in _list(d["outputs"]))
        graph = KernelGraph(tuple(kernels), inputs, outputs, _text(d["reason"]))
        if graph.fingerprint() != d["fingerprint"]:
            raise ValueError("its fingerprint does not match its kernels, inputs and outputs")
    except KeyError as err:
        raise _damaged(source, f"{where} lacks {err}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as err:
        raise _damaged(source, f"in {where}, {err}" if where != "it" else str(err)) from None
    return graph


def _damaged(source: str, what: str) -> CoExecError:
    return CoExecError(f"{source} is damaged: {what}; write it again with coexec plan --save-graph")


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _tensor_to_json(tensor: Tensor) -> list:
    return [list(tensor.shape), tensor.dtype]


def _kernel_to_json(kernel: Kernel) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "op": kernel.op,
        "kinds": [k.value for k in kernel.kinds],
        "attrs": kernel.attrs,
        "inputs": kernel.inputs,
        "in_tensors": [_tensor_to_json(t) for t in kernel.in_tensors],
        "outputs": [_tensor_to_json(t) for t in kernel.outputs],
        "weight_bytes": kernel.weight_bytes,
        "flops": kernel.flops,
        **{k: v for k in ("reason", "cpu_only", "refused", "functions") if (v := getattr(kernel, k))},
        **({"partial_reads": [astuple(r) for r in kernel.partial_reads]} if kernel.partial_reads else {}),
        **({"axes": [_axis_to_json(a) for a in kernel.axes]} if kernel.axes else {}),
    }


def _axis_to_json(axis: SplitAxis) -> dict[str, Any]:
    return {
        "name": axis.name,
        "dim": axis.dim,
        "extent": axis.extent,
        "granule": axis.granule,
        "align": axis.align,
        "weights": axis.weights,
        "needs": [None if n is None else _need_to_json(n) for n in axis.needs],
        **({"refused_rows": axis.refused_rows} if axis.refused_rows else {}),
    }


def _need_to_json(need: InputAccess) -> dict[str, Any]:
    paths = [[m.to_list() for m in path] for path in need.paths]
    return {"dim": need.dim, "paths": paths, **({"after_join": True} if need.after_join else {})}


def _kernel(index: int, d: dict, inputs: int) -> Kernel:
    _known(d, "a kernel", _KERNEL_KEYS)
    name, values = _text(d["name"]), tuple(_value(v, index, inputs) for v in _list(d["inputs"]))
    kinds = tuple(OpKind(k) for k in _list(d["kinds"]))
    if len(kinds) != name.count("+") + 1:
        raise ValueError(f"{len(kinds)} kinds do not fit the operators of {name!r}")
    outputs = tuple(_tensor(t) for t in _list(d["outputs"]))
    if not outputs:
        raise ValueError("a kernel has at least one output")
    return Kernel(
        index,
        name,
        _text(d["op"]),
        _object(d["attrs"]),
        values,
        tuple(_tensor(t) for t in _list(d["in_tensors"])),
        outputs,
        _natural(d["weight_bytes"]),
        _number(d["flops"]),
        tuple(_axis(a, outputs[0], len(values)) for a in _list(d.get("axes", []))),
        _text(d.get("reason", "")),
        kinds,
        _text(d.get("cpu_only", "")),
        tuple((_text(a), _text(why)) for a, why in _list(d.get("refused", []))),
        tuple((_text(f), _number(n)) for f, n in _list(d.get("functions", []))),
        tuple(_partial_read(r, len(_list(d["in_tensors"]))) for r in _list(d.get("partial_reads", []))),
    )


def _partial_read(data: list, tensors: int) -> PartialRead:
    tensor, nbytes, accessed = _list(data)
    if not CONSTANT <= _integer(tensor) < tensors:
        raise ValueError(f"partial read of tensor {tensor}, which the kernel does not have")
    return PartialRead(tensor, _natural(nbytes), _natural(accessed))


def _axis(d: dict, output: Tensor, inputs: int) -> SplitAxis:
    _known(d, "an axis", ("name", "dim", "extent", "granule", "align", "weights", "needs", "refused_rows"))
    needs = tuple(None if n is None else _need(n) for n in _list(d["needs"]))
    axis = SplitAxis(
        _text(d["name"]),
        _integer(d["dim"]),
        _natural(d["extent"], 1),
        _natural(d["granule"], 1),
        _natural(d["align"], 1),
        needs,
        _flag(d["weights"]),
        tuple(_natural(n, 1) for n in _list(d.get("refused_rows", []))),
    )
    if axis.dim != REDUCED and not (0 <= axis.dim < len(output.shape) and output.shape[axis.dim] == axis.extent):
        raise ValueError(f"axis {axis.name!r} is not one of the output {list(output.shape)}")
    if len(needs) != inputs:
        raise ValueError(f"axis {axis.name!r} has {len(needs)} needs for {inputs} inputs")
    return axis


def _need(d: dict) -> InputAccess:
    _known(d, "a need", ("dim", "paths", "after_join"))
    paths = tuple(tuple(map_from_list(_list(m)) for m in _list(path)) for path in _list(d["paths"]))
    return InputAccess(_natural(d["dim"]), paths, _flag(d.get("after_join", False)))


_KERNEL_KEYS = (
    *("name", "op", "kinds", "attrs", "inputs", "in_tensors", "outputs", "weight_bytes", "flops"),
    *("reason", "cpu_only", "refused", "functions", "partial_reads", "axes"),
)


def _known(d: dict, what: str, keys: tuple[str, ...]) -> None:
    if unknown := sorted(set(_object(d)) - set(keys)):
        raise ValueError(f"{what} has the unknown key {unknown[0]!r} (allowed: {', '.join(keys)})")


def _tensor(data: list) -> Tensor:
    shape, dtype = _list(data)
    return Tensor(tuple(_natural(n, -1) for n in _list(shape)), _text(dtype))


def _value(value: object, kernels: int, inputs: int) -> int:
    """Check that a value is an input or the output of an earlier kernel."""
    if not -inputs <= _integer(value) < kernels:
        raise ValueError(f"there is no value {value}")
    return value  # type: ignore[return-value]


def _checker(kinds: tuple[type, ...], what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) not in kinds:
            raise ValueError(f"{_brief(value)} is not {what}")
        return value

    return check


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:37]}..."


_list = _checker((list,), "a list")
_object = _checker((dict,), "an object")
_text = _checker((str,), "text")
_flag = _checker((bool,), "true or false")
_integer = _checker((int,), "an integer")
_float = _checker((int, float), "a number")


def _natural(value: object, least: int = 0) -> int:
    if _integer(value) < least:
        raise ValueError(f"{value} is less than {least}")
    return value  # type: ignore[return-value]


def _number(value: object) -> float:
    if not 0 <= _float(value) < float("inf"):
        raise ValueError(f"{value} is not a number of operations")
    return float(value)  # type: ignore[arg-type]
