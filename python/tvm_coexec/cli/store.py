"""``coexec store``: keep measured latencies in a file, and look up models in it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tvm_coexec.core.cache import cache_folder
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.texts import shorten

from . import checks
from .model_argument import add_model
from .plan import GRAPH_SUFFIX
from .tables import print_table

LONGEST_NAME = 60  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument(
            "--store", metavar="FILE", help="the store (default: latencies.sqlite in the user's cache folder)"
        )
        return sub

    add = action("add", "add the measurements of files that `coexec profile` or `verify=True` wrote")
    add.add_argument("samples", nargs="+", metavar="SAMPLES")
    query = action("query", "show what was measured of a model's kernels and of the whole model")
    add_model(query)
    query.add_argument("--machine", default="", metavar="NAME", help="only measurements of this device, by its name")
    query.add_argument("--json", metavar="FILE", help="write the answer to this file")
    action("list", "show how many measurements there are of each device")
    export = action("export", "write all measurements as JSON lines")
    export.add_argument("-o", "--output", required=True, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return {"add": _add, "query": _query, "list": _list, "export": _export}[args.action](args)


def _add(args: argparse.Namespace) -> int:
    from tvm_coexec.cost_models.dataset import read_samples
    from tvm_coexec.cost_models.store import LatencyStore, entries_of

    entries = [e for path in args.samples for e in entries_of(read_samples(path), Path(path).name)]
    if not entries:
        raise CoExecError(f"{', '.join(args.samples)}: no measurements to add; run `coexec profile` first")
    store = LatencyStore(_path(args))
    changed = store.add(entries)
    print(f"{store.path}: {changed} of {len(entries)} measurements are new or shorter than the stored ones")
    return 0


def _query(args: argparse.Namespace) -> int:
    from tvm_coexec.cost_models.store import LatencyStore

    if args.json:
        checks.folder_of(args.json)
    store = LatencyStore(_path(args), create=False)
    graph = _read_graph(args)
    by_device = {d: store.find_kernels(graph, d, args.machine) for d in ("cpu", "gpu")}
    kernels_s = {d: [e.seconds if e else None for e in found] for d, found in by_device.items()}
    rows = [
        {"kernel": k.index, "name": shorten(k.name, LONGEST_NAME)}
        | {f"{d} ms": None if (s := seconds[k.index]) is None else s * 1e3 for d, seconds in kernels_s.items()}
        for k in graph.kernels
    ]
    print_table(rows, f"{args.model} in {store.path}")
    for d, seconds in kernels_s.items():
        known = [s for s in seconds if s is not None]
        print(f"{d}: {len(known)} of {len(seconds)} kernels were measured, {sum(known) * 1e3:.3f} ms in all")
    name = Path(args.model).stem
    networks = store.find(kind="network", hash=graph.fingerprint()) + store.find(kind="network", hash=name)
    networks = [e for e in networks if not args.machine or e.machine == args.machine]
    for e in networks:
        print(f"whole network on {e.device} ({e.machine or 'unknown'}): {e.seconds * 1e3:.3f} ms, {e.source}")
    if args.json:
        answer = {"graph": graph.fingerprint(), "kernels_s": kernels_s, "networks": [asdict(e) for e in networks]}
        write_atomically(args.json, json.dumps(answer, indent=1) + "\n")
    return 0


def _read_graph(args: argparse.Namespace) -> KernelGraph:
    """Read a model, or a saved kernel graph, which needs no TVM."""
    if args.model.endswith(GRAPH_SUFFIX):
        if args.input_shapes is not None:
            raise CoExecError(f"{args.model} is a saved kernel graph: leave out --input-shapes")
        return KernelGraph.load(args.model)
    from tvm_coexec.measuring.read_model import load_model

    return load_model(args.model, args.input_shapes).graph()


def _list(args: argparse.Namespace) -> int:
    from tvm_coexec.cost_models.store import LatencyStore

    store = LatencyStore(_path(args), create=False)
    print_table(store.count(), store.path)
    return 0


def _export(args: argparse.Namespace) -> int:
    from tvm_coexec.cost_models.store import LatencyStore

    checks.folder_of(args.output)
    entries = LatencyStore(_path(args), create=False).find()
    write_atomically(args.output, "".join(json.dumps(asdict(e)) + "\n" for e in entries))
    print(f"{args.output}: {len(entries)} measurements")
    return 0


def _path(args: argparse.Namespace) -> str:
    if args.store:
        return args.store
    folder = cache_folder()
    if folder is None:
        raise CoExecError("there is no cache folder (TVM_COEXEC_CACHE_DIR=off): give --store FILE")
    return str(folder / "latencies.sqlite")
