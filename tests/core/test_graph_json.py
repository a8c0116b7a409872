"""Kernel graphs as files: nothing is lost, and a damaged file is one sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.planner import goldens, graphs
from tests.planner.random_graphs import random_graph
from tvm_coexec import CoExecError
from tvm_coexec.core.access import AccessMap, ClampedMap, InputAccess, MirroredMap, NonEmptyMap
from tvm_coexec.core.kernel_graph import REDUCED, KernelGraph, SplitAxis, Tensor
from tvm_coexec.core.refusals import Refusal


def every_feature() -> KernelGraph:
    """A small graph with each kind of map, a reduction, a tuple, a scalar, no elements, refusals and a reason."""
    base = graphs.residual()
    maps = (
        (AccessMap(2, -1, 1, 1, 32), ClampedMap(1, -3, -3, 1, 32, 3, 34)),
        (NonEmptyMap(1, 0, 1, 2, 32),),
        (MirroredMap(1, -2, -2, 1, 32, 1),),
        (),
    )
    rows = SplitAxis("h", 2, 32, 2, 4, (InputAccess(2, maps),), False)
    after = (InputAccess(1, ((),), after_join=True),)
    total = SplitAxis("ic", REDUCED, 48, 1, 4, after, True)
    first = replace(base.kernels[0], axes=(base.kernels[0].axes[0], rows, total), cpu_only='its "schedule" is wrong')
    odd = (Tensor((), "bool"), Tensor((2, 0, 3), "int8"), Tensor((-1, 4), "float16"))
    last = replace(base.kernels[4], axes=(), reason="it returns a tuple", outputs=(*base.kernels[4].outputs, *odd))
    inputs = (("größe", base.inputs[0][1]), ("mask", odd[0]))
    graph = KernelGraph((first, *base.kernels[1:4], last), inputs, (4, -2), "")
    return graph.restrict([Refusal(1, "oc", "no schedule"), Refusal(2, "h", "no schedule for 8 rows", 8)])


@pytest.mark.parametrize(
    "graph",
    [every_feature(), graphs.straight(3), KernelGraph((), (), (), "it has control flow"), random_graph(3, 20)],
    ids=["every feature", "straight", "no kernels", "random"],
)
def test_nothing_is_lost(graph, tmp_path):
    graph.save(tmp_path / "g.json")
    again = KernelGraph.load(tmp_path / "g.json")
    assert again == graph and again.fingerprint() == graph.fingerprint()
    assert again.to_json() == graph.to_json() == (tmp_path / "g.json").read_text()


def test_a_kernel_is_a_line():
    lines = every_feature().to_json().splitlines()
    assert sum(line.startswith('  {"name":') for line in lines) == 5
    assert json.loads("\n".join(lines))["version"] == 1


@pytest.mark.parametrize("network", goldens.NETWORKS)
def test_frozen_networks_are_written_as_they_are_read(network):
    path = goldens.graph_path(network)
    assert KernelGraph.load(path).to_json() == path.read_text(encoding="utf-8")


def leaves(node: object, path: tuple = ()) -> Iterator[tuple]:
    """Paths to all values within JSON; what an operator's attributes hold is the operator's affair."""
    if path and path[-1] == "attrs":
        yield path
        return
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def damaged(d: dict, path: tuple, value: object) -> str:
    d = copy.deepcopy(d)
    *front, last = path
    at = d
    for key in front:
        at = at[key]
    if value is KeyError:
        del at[last]
    else:
        at[last] = value
    return json.dumps(d)


@pytest.mark.parametrize("value", [None, "x", -7, 1.5, True, [], {}, KeyError], ids=str)
def test_damaged_files_are_one_sentence(value):
    d = json.loads(every_feature().to_json())
    tried = 0
    for path in leaves(d):
        text = damaged(d, path, value)
        if json.loads(text) == d:
            continue
        try:
            KernelGraph.from_json(text, "net.json")
        except CoExecError as err:
            message = str(err)
        else:
            continue
        assert message.startswith("net.json ") and "\n" not in message and "--save-graph" in message, (path, message)
        tried += 1
    assert tried > 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["kernels"][1].update(inputs=[1]), "net.json is damaged: in kernel 1, there is no value 1"),
        (lambda d: d["kernels"][1].update(op=3), "in kernel 1, 3 is not text"),
        (lambda d: d["kernels"][2].pop("flops"), "kernel 2 lacks 'flops'"),
        (lambda d: d["kernels"][2].update(flops=-1.0), "-1.0 is not a number of operations"),
        (lambda d: d["kernels"][2].update(cost=1), "has the unknown key 'cost'"),
        (lambda d: d["kernels"][2].update(kinds=["conv"]), "1 kinds do not fit the operators of 'nn.conv2d"),
        (lambda d: d["kernels"][2].update(kinds=["conv", "odd"]), "'odd' is not a valid OpKind"),
        (lambda d: d["kernels"][0]["axes"][1].update(extent=31), "axis 'h' is not one of the output"),
        (lambda d: d["kernels"][0]["axes"][1].update(needs=[]), "axis 'h' has 0 needs for 1 inputs"),
        (lambda d: d["kernels"][0]["axes"][1].update(granule=0), "0 is less than 1"),
        (lambda d: d["kernels"][0]["axes"][1]["needs"][0]["paths"][1][0].pop(), "'nonempty' has 5 integers"),
        (lambda d: d.update(outputs=[5]), "there is no value 5"),
        (lambda d: d.update(fingerprint="0" * 16), "its fingerprint does not match"),
        (lambda d: d["kernels"][0]["attrs"].update(groups=2), "its fingerprint does not match"),
        (lambda d: d.update(version=2), "is a kernel graph of version 2; this release reads version 1"),
        (lambda d: d.update(kind="profile"), "is not a kernel graph"),
    ],
)
def test_what_is_wrong_is_named(change, says):
    d = json.loads(every_feature().to_json())
    change(d)
    with pytest.raises(CoExecError) as caught:
        KernelGraph.from_json(json.dumps(d), "net.json")
    assert says in str(caught.value)


def test_other_files(tmp_path):
    text = every_feature().to_json()
    for bad in ("", text[:-20], "[]", "3", '{"segments": []}'):
        with pytest.raises(CoExecError, match=r"^net\.json is not "):
            KernelGraph.from_json(bad, "net.json")
    with pytest.raises(CoExecError, match=r"can't read kernel graph .*none\.json: No such file"):
        KernelGraph.load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CoExecError, match=r"can't read kernel graph .*binary\.json"):
        KernelGraph.load(tmp_path / "binary.json")
    with pytest.raises(CoExecError, match="can't write"):
        every_feature().save(tmp_path / "no" / "g.json")
