"""The rewritten graph for the executor."""

from __future__ import annotations

import json
import re

from tests.executor.memory.graphs import Writer, chains
from tests.executor.memory.test_check import written
from tvm_coexec.executor.graph_json import Graph, read_document, write_json


def functions(text: str) -> list[str]:
    short = {"tvmgen_default_fused_conv": "conv", "tvmgen_default_fused_concatenate": "concatenate"}
    return [short.get(n.function, n.function) + " " + "cg"[not Graph(text).entries[n.outputs[0]].on_cpu]
            for n in Graph(text).nodes if n.function]  # fmt: skip


def test_fine():
    """The input's copy stays, since its memory may be exchanged; the result's join, for the same reason, is ours."""
    text, _ = written(chains(2), "fine")
    assert functions(text) == [
        *("__copy g", "conv g", "coexec_signal g", "conv c", "__nop g", "__nop g", "conv g", "coexec_signal g"),
        *("__copy c", "__nop c", "conv c", "__copy c", "coexec_join c"),
    ]


def test_mapped():
    """Memory is mapped before the CPU writes it, given back where the GPU reads it; nothing is joined in place."""
    text, _ = written(chains(2), "mapped")
    assert functions(text) == [
        *("__copy g", "conv g", "coexec_map c", "conv c", "__copy g", "concatenate g", "conv g"),
        *("__copy c", "concatenate c", "conv c", "__copy c", "concatenate c"),
    ]


def test_fetched():
    text, _ = written(chains(2), "fetched")
    assert functions(text) == [
        *("__copy g", "conv g", "coexec_fetch c", "conv c", "__copy g", "concatenate g", "conv g", "coexec_fetch c"),
        *("__copy c", "concatenate c", "conv c", "__copy c", "concatenate c"),
    ]


def test_copied():
    text, _ = written(chains(2), "copied")
    assert functions(text) == functions(json.dumps(chains(2).document))


def test_the_rewritten_graph_passes_the_executors_checks():
    """Rows, heads, arguments and lists fit the nodes that were added; annotations are not repeated."""
    graph = chains(3)
    graph.document["metadata"] = {"coexec": {"version": 1}}
    text, storages = written(Graph(json.dumps(graph.document)), "fine")
    document = json.loads(text)
    count = document["node_row_ptr"][-1]
    assert len(document["node_row_ptr"]) == len(document["nodes"]) + 1
    assert {len(values) for _, values in document["attrs"].values()} == {count}
    assert document["arg_nodes"] == [i for i, n in enumerate(document["nodes"]) if n["op"] == "null"]
    assert all(0 <= i[0] < len(document["nodes"]) for n in document["nodes"] for i in n["inputs"])
    assert max(document["attrs"]["storage_id"][1]) == len(storages) - 1
    assert "metadata" not in document
    names = [n["name"] for n in document["nodes"]]
    assert len(set(names)) == len(names) and set(names) >= {n.name for n in graph.nodes}


def test_a_reshaped_result_has_its_sources_storage_id():
    """TVM finds by it which kernel writes into an output that the caller has exchanged."""
    w = Writer()
    y = w.kernel("cpu", [w.copy(w.kernel("gpu", [w.copy(w.input("x", (1, 32)), "gpu")]), "cpu")])
    text, _ = written(w.graph(w.reshape(y, (32,))), "fine")
    entries = Graph(text).entries
    assert entries[-1].storage == entries[-2].storage


def test_the_join_of_a_reshaped_result_is_replaced():
    """The caller may exchange the memory of the reshaped tensor, which is that of the joined one."""
    w = Writer()
    x = w.input("x", (1, 32))
    y = w.concatenate("cpu", [w.kernel("cpu", [x]), w.kernel("cpu", [x])])
    text, _ = written(w.graph(w.reshape(y, (64,))), "fine")
    assert functions(text)[-2:] == ["coexec_join c", "__nop c"]


def test_a_download_of_a_reshaped_tensor_starts_after_the_reshape():
    w = Writer()
    g = w.kernel("gpu", [w.copy(w.input("x", (1, 32)), "gpu")])
    text, _ = written(w.graph(w.copy(w.reshape(g, (32,)), "cpu")), "fetched")
    assert functions(text) == ["__copy g", "conv g", "__nop g", "coexec_fetch c", "__copy c"]


def test_names_are_written_as_tvm_reads_them():
    """TVM knows the escapes of quotes, backslashes and line ends; it takes all other characters as they are."""
    names = ["größe", "入力", "\U0001f600", "\u2028", 'a"b', "a\\b", "a\\u00e9", "a\nb\tc", "a\bb\x07c"]
    text = write_json(dict.fromkeys(names, 0))
    assert list(read_document(text)) == names
    assert set(re.findall(r"\\(.)", text)) == set('"\\nt')
    w = Writer()
    w.input(names[0], (1, 32))
    assert names[0] in written(w.graph(w.kernel("cpu", [0])), "fine")[0]
