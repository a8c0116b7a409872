"""The arguments that name a TVM RPC server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tvm_coexec.core.errors import CoExecError

if TYPE_CHECKING:
    from tvm_coexec.remote import Server


def add_arguments(parser: argparse.ArgumentParser, direct: bool = True) -> None:
    """Add the arguments: with `direct`, the server's own address is the option ``--rpc``."""
    add = parser.add_argument_group("devices of another machine, by TVM's RPC").add_argument
    if direct:
        add("--rpc", metavar="HOST:PORT", help="the machine's RPC server")
    add("--rpc-tracker", metavar="HOST:PORT", help="or its tracker (default: TVM_TRACKER_HOST and TVM_TRACKER_PORT)")
    add("--rpc-key", metavar="KEY", help="the machine's key at the tracker")


def server_of(args: argparse.Namespace) -> Server | None:
    """Return the server that the arguments name; `None` for this machine."""
    if args.rpc is None and args.rpc_tracker is None and not args.rpc_key:
        return None
    from tvm_coexec.remote import Server, default_tracker, parse_reachable

    if args.rpc is not None:
        if args.rpc_tracker is not None or args.rpc_key:
            raise CoExecError(f"the RPC server {args.rpc} is named directly: leave --rpc-tracker and --rpc-key out")
        parse_reachable("RPC server", args.rpc)
        return Server(args.rpc)
    if not args.rpc_key:
        raise CoExecError("--rpc-tracker needs --rpc-key, the machine's key at the tracker")
    tracker = args.rpc_tracker or default_tracker()
    if tracker is None:
        raise CoExecError("--rpc-key needs --rpc-tracker HOST:PORT, or TVM_TRACKER_HOST and TVM_TRACKER_PORT")
    parse_reachable("tracker", tracker)
    return Server(None, tracker, args.rpc_key)
