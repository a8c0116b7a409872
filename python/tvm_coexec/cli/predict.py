"""``coexec predict``: predict a model's kernels and its latency on each device."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tvm_coexec.core.files import write_atomically
from tvm_coexec.core.texts import shorten

from . import checks
from .model_argument import add_model
from .tables import print_table

LONGEST_NAME = 60  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "profile",
        metavar="PROFILE",
        help="a file that `coexec fit` or `coexec tune` wrote, a folder of the latter, or a shipped profile's name",
    )
    add_model(parser)
    parser.add_argument("--device", choices=("cpu", "gpu", "both"), default="both", help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", help="write the predictions to this file")


def run(args: argparse.Namespace) -> int:
    """Predict and print the table."""
    from tvm_coexec.cost_models import load_costs
    from tvm_coexec.cost_models import shipped as profiles
    from tvm_coexec.measuring.read_model import load_model

    if args.json:
        checks.folder_of(args.json)
    costs = load_costs(profiles.find(args.profile))
    graph = load_model(args.model, args.input_shapes).graph()
    devices = ("cpu", "gpu") if args.device == "both" else (args.device,)
    kernels: list[dict[str, Any]] = [
        {"kernel": k.index, "name": k.name, "output": "x".join(map(str, k.outputs[0].shape))}
        | {f"{d} ms": costs.whole_s(d, k) * 1e3 for d in devices}
        for k in graph.kernels
    ]
    shown = [k | {"name": shorten(k["name"], LONGEST_NAME)} for k in kernels]
    print_table(shown, f"{args.model} by {args.profile}: {costs.description}")
    networks = {d: costs.network_s(d, graph) for d in devices}
    energy = {}
    for d, seconds in networks.items():
        text = f"{d}: {seconds * 1e3:.3f} ms for the whole network of {len(kernels)} kernels"
        if costs.power is not None:
            energy[d] = costs.energy_j(seconds, costs.busy_s(d, graph))
            text += f", {energy[d] * 1e3:.1f} mJ"
        print(text)
    if args.json:
        rows = [
            {"kernel": k["kernel"], "name": k["name"], **{f"{d}_s": k[f"{d} ms"] / 1e3 for d in devices}}
            for k in kernels
        ]
        write_atomically(
            args.json, json.dumps({"kernels": rows, "network_s": networks, "energy_j": energy}, indent=1) + "\n"
        )
    return 0
