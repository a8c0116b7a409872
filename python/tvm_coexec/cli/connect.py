"""``coexec connect``: load the runtime on a TVM RPC server, and print what the server then has."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically

from . import checks, rpc

if TYPE_CHECKING:
    from tvm_coexec.remote import Board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("rpc", nargs="?", metavar="HOST:PORT", help="address of the RPC server")
    rpc.add_arguments(parser, direct=False)
    parser.add_argument("--no-upload", action="store_true", help="load nothing: print what the server has as it is")
    parser.add_argument("--json", metavar="FILE", help="write what is printed to this file")


def run(args: argparse.Namespace) -> int:
    """Connect, and print what the server has."""
    server = rpc.server_of(args)
    if server is None:
        raise CoExecError("no server is named: give the HOST:PORT of an RPC server, or --rpc-key")
    if args.json:
        checks.folder_of(args.json)
    from tvm_coexec import remote

    session = remote.connect(server.address, server.tracker, server.key, upload=not args.no_upload)
    with remote.closing(session):
        board = remote.describe(session)
        print(to_text(board, remote.server_of(session)), end="")
    if args.json:
        write_atomically(args.json, json.dumps(dataclasses.asdict(board), indent=1) + "\n")
    if board.why and board.why_no_vulkan:
        raise CoExecError(f"the server has no OpenCL device: {board.why}; and no Vulkan device: {board.why_no_vulkan}")
    return 0


def to_text(board: Board, address: str) -> str:
    """Return the description of a server as lines."""
    machine = f" ({board.machine}, {board.platform})" if board.machine else ""
    lines = [f"{address}{machine}: a call takes {board.round_trip_s * 1e3:.3f} ms"]
    lines.append(f"runtime: {f'tvm-coexec {board.version}' if board.version else 'none of this package'}")
    lines.append(f"OpenCL: {_describe_runtime(board.opencl, board.why)}")
    lines.append(f"Vulkan: {_describe_runtime(board.vulkan, board.why_no_vulkan)}")
    for device in board.devices:
        lines += _device_lines(device)
    return "".join(line + "\n" for line in lines)


def _describe_runtime(runtime: str, why: str) -> str:
    return _RUNTIMES[runtime] + (f"; no device: {why}" if why and runtime != "none" else "")


_RUNTIMES = {
    "own": "the runtime of tvm-coexec",
    "tvm": "the runtime of TVM; runs can't be traced there, and each copy between the devices waits for all kernels",
    "none": "none",
}


def _device_lines(device: dict) -> list[str]:
    lines = [
        f"{device['kind']}({device['id']}): {device['name']}, {device['compute_units']} compute units, "
        f"{device['version']}"
    ]
    lines.append(f"  memory mode: {device['memory_mode']}")
    if "wait" in device:
        times = [f"{name} {s * 1e6:.0f} us" for name, s in device["wait"].items() if name != "method"]
        measured = f" (until the end of a short kernel is noticed: {', '.join(times)})" if times else ""
        lines.append(f"  wait method: {device['wait']['method']}{measured}")
    if device.get("clock_ns") is not None:
        lines.append(f"  clock: known on the host's clock within {device['clock_ns'] / 1e3:.1f} us")
    return lines
