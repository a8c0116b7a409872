"""``tvmc tune``: TVM's own, with errors of one line, before the first trial where that is possible.

TVM's command reads the limits of the local GPU whatever it tunes and where. Here they are read only for the
auto-scheduler, which needs them, and from the RPC server on which it measures.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
from typing import Any
from urllib.parse import urlparse

from tvm import auto_scheduler
from tvm.driver.tvmc import TVMCException, autotuner
from tvm.driver.tvmc.target import reconstruct_target_args, target_from_cli
from tvm.target import Target

from tvm_coexec.core.devices import GPU_NAMES
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.gpu_runtimes import why_unavailable
from tvm_coexec.opencl.load import is_ours
from tvm_coexec.opencl.schedules.device import has_textures
from tvm_coexec.remote import Server, closing
from tvm_coexec.remote.runners import WITHOUT_TEXTURES, check_remote
from tvm_coexec.tuning.log import read_log
from tvm_coexec.tuning.tuners import gpu_limits

from . import joint_tuning
from .messages import LOG_LEVELS, reported
from .model_file import Frontends
from .options import flag
from .patching import Overlay, replaced

logger = logging.getLogger("tvm_coexec")

DEFAULT_TRACKER_PORT = 9090  # of TVM's command

KNOWN_DEVICES = ("mali", "adreno")  # OpenCL devices of which TVM's auto-scheduler knows all limits


def drive_tune(args: argparse.Namespace) -> int:
    """Run ``tvmc tune``."""
    given = [name for name in joint_tuning.OPTIONS if getattr(args, "coexec_" + name, None) is not None]
    if getattr(args, "coexec", False):
        with reported(args.verbose, "tuning failed"):
            logger.setLevel(LOG_LEVELS[min(args.verbose, 2)])
            joint_tuning.drive(args, _server(args))
        return 0
    if given:
        raise TVMCException(f"{flag(given[0])} has no effect without --coexec: add --coexec")
    with reported(args.verbose, "tuning failed"):
        logger.setLevel(LOG_LEVELS[min(args.verbose, 2)])
        _check_files(args)
        target, _ = target_from_cli(args.target, reconstruct_target_args(args))
        server = _server(args)
        _check_device(target, server)
        limits = functools.partial(_limits, args.enable_autoscheduler, target, server)
        scheduler = Overlay(auto_scheduler, HardwareParams=lambda **options: limits(options))
        with replaced(autotuner, auto_scheduler=scheduler, frontends=Frontends()):
            autotuner.drive_tune(args)
    return 0


def _check_files(args: argparse.Namespace) -> None:
    folder = os.path.dirname(os.path.abspath(args.output))
    if os.path.isdir(args.output) or not os.access(folder, os.W_OK):
        raise CoExecError(f"--output: {args.output} can't be written; give a file in a folder that exists")
    if args.tuning_records:
        if not os.path.isfile(args.tuning_records):
            raise CoExecError(f"--tuning-records: there is no file {args.tuning_records}")
        read_log(args.tuning_records, "--tuning-records")


def _server(args: argparse.Namespace) -> Server | None:
    """Return the server to measure on, if the command names one."""
    if not args.rpc_tracker and not args.rpc_key:
        return None
    if not args.rpc_tracker or not args.rpc_key:
        raise CoExecError("--rpc-tracker and --rpc-key belong together: give both, or neither to tune on this machine")
    address = urlparse(f"//{args.rpc_tracker}")
    return Server(tracker=f"{address.hostname}:{address.port or DEFAULT_TRACKER_PORT}", key=args.rpc_key)


def _check_device(target: Target, server: Server | None) -> None:
    """Check that the target's device is there, before the model is read."""
    if server is not None and server.tracker is not None:
        host, _, port = server.tracker.rpartition(":")
        check_remote(target, server.key, host, int(port))
    elif has_textures(target) and is_ours():
        raise CoExecError(f"--target '{target.kind.name} -device=adreno' keeps tensors in textures, {WITHOUT_TEXTURES}")
    elif why := why_unavailable(target.kind.name):
        raise CoExecError(
            f"--target {target.kind.name}: this machine has no such device ({why}); tune on another one with "
            "--rpc-tracker and --rpc-key"
        )


def _limits(
    needed: bool, target: Target, server: Server | None, options: dict[str, Any]
) -> auto_scheduler.HardwareParams | None:
    """Return the limits of the device, by the options of ``HardwareParams`` where they are given."""
    if not needed:  # by AutoTVM
        return None
    if server is None or target.kind.name not in GPU_NAMES or target.attrs.get("device") in KNOWN_DEVICES:
        return auto_scheduler.HardwareParams(**options)
    with closing(server.connect()) as session:
        device = session.device(target.kind.name)
        found = gpu_limits(device.max_shared_memory_per_block, device.max_threads_per_block, device.warp_size)
    given = {name: options[name] for name in found if options[name] is not None}
    return auto_scheduler.HardwareParams(**found | given)
