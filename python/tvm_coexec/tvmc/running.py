"""``tvmc run`` on several devices.

TVM's own ``drive_run`` and ``run_module`` do the work: inputs, fill modes, RPC, timing, profiling, outputs. They pass
a single device, on which the executor would silently run all of a module for two devices. So `create_hook` adds the
devices that the graph names. The command then names the CPU as its device: inputs are set and the clock is read there,
so that times are wall-clock times with the result on the CPU (a GPU's timer may count only its own kernels).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import numpy as np
import tvm
from tvm.driver.tvmc import TVMCException, runner
from tvm.driver.tvmc.model import TVMCResult
from tvm.driver.tvmc.tracker import tracker_host_port_from_cli
from tvm.rpc.base import RPC_SESS_MASK

from tvm_coexec import gpu_runtimes, remote
from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.executor import create as executor
from tvm_coexec.executor.graph_json import numpy_dtype
from tvm_coexec.remote.errors import is_broken, why
from tvm_coexec.tracing.load import check_archive, open_model

from . import trace_run as profiling
from .messages import LOG_LEVELS, reported
from .package import DEVICE_NAMES, device_types, graph_device_types, name_of
from .patching import Overlay, replaced
from .sessions import Sessions
from .staging import StagedFiles

logger = logging.getLogger("tvm_coexec")

CPU = DEVICE_NAMES["cpu"]
MICRO = "micro"


def take_device_list(add_parser: Callable) -> Callable:
    """Wrap argparse's ``add_parser``: ``--device`` of the new parser takes a list and has no default."""

    def add(name: str, **kwargs: object) -> argparse.ArgumentParser:
        parser = add_parser(name, **kwargs)
        stock = parser.add_argument

        def add_argument(*flags: str, **options: object) -> argparse.Action:
            if "--device" in flags:
                parser.set_defaults(device_choices=options.pop("choices", ()))
                options |= {
                    "default": None,
                    "metavar": "DEVICE[,DEVICE]",
                    "help": f"target device to run the compiled module: {', '.join([*DEVICE_NAMES, MICRO])}, or "
                    "several of them such as 'cpu,cl'. Defaults to all that the module was compiled for.",
                }
            return stock(*flags, **options)

        parser.add_argument = add_argument
        return parser

    return add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``tvmc run``."""
    parser.add_argument(
        "--adaptive",
        action="store_true",
        help="run whichever is the fastest now, of the plan and each device alone: for a module compiled with "
        "--coexec-adaptive.",
    )


def _check_adaptive(args: argparse.Namespace) -> None:
    if args.adaptive and args.profile:
        raise TVMCException("--profile shows the plan's timeline, and --adaptive may run another one: leave one out")
    if args.adaptive and args.rpc_tracker:
        raise TVMCException(
            "--adaptive runs on this machine only: leave --rpc-tracker out, or call tvm_coexec.create(lib, devices, "
            "adaptive=True) with the library and devices of an RPC session"
        )


def _check_server(args: argparse.Namespace) -> None:
    """Check the server or tracker, since TVM waits a minute for one that is not there, and without end for its key.

    TVM ignores a key without a tracker: the one of the environment serves here, as for ``coexec``.
    """
    if args.rpc_key and not args.rpc_tracker:
        args.rpc_tracker = remote.default_tracker()
        if args.rpc_tracker is None:
            raise TVMCException(
                "--rpc-key needs --rpc-tracker HOST:PORT, or TVM_TRACKER_HOST and TVM_TRACKER_PORT; without both the "
                "module runs on this machine"
            )
    if not args.rpc_tracker:
        return
    try:
        host, port = tracker_host_port_from_cli(args.rpc_tracker)
        if host is None:
            raise ValueError
        if args.rpc_key:
            remote.connect_tracker(f"{host}:{port}", args.rpc_key)
        else:
            remote.parse_reachable("RPC server", f"{host}:{port}")
    except CoExecError as err:
        raise TVMCException(f"--rpc-tracker: {err}") from None
    except ValueError:  # of urllib, if the port is no number
        raise TVMCException(f"--rpc-tracker: {args.rpc_tracker} is not of the form HOST:PORT") from None


def drive_run(args: argparse.Namespace) -> int | None:
    """Run ``tvmc run``; TVM's own, unless the module needs several devices."""
    given = _parse_devices(args.device, dict.fromkeys([*args.device_choices, *DEVICE_NAMES, MICRO]))
    if given == [MICRO] or args.list_options:
        args.device = MICRO if given == [MICRO] else "cpu"
        return runner.drive_run(args)
    _check_adaptive(args)
    _check_server(args)
    needed = device_types(args.PATH, args.adaptive)
    if needed and not args.rpc_tracker:
        with reported(args.verbose, "running failed"):
            check_archive(args.PATH)
    profiling.check(args, needed)
    get_top_results = _any_shape(runner.get_top_results)
    if len(needed) < 2 and not args.adaptive:
        # TVM's default is the CPU, even for modules compiled for other devices
        default = given[0] if given else name_of(needed[0]) if needed else "cpu"
        args.device = next((d for d in given if DEVICE_NAMES.get(d) in needed), default)
        with replaced(runner, get_top_results=get_top_results):
            return runner.drive_run(args)
    _check_given(args.PATH, given, needed)
    logger.setLevel(LOG_LEVELS[min(args.verbose, 2)])
    with reported(args.verbose, "running failed"), _remote_errors(needed):
        if not args.rpc_tracker:
            for device_type in needed:
                _require(tvm.runtime.Device(device_type, 0), "")
        with StagedFiles() as files:
            if args.outputs:
                # numpy would append the suffix to a file name
                args.outputs = files.stage(args.outputs if args.outputs.endswith(".npz") else args.outputs + ".npz")
            if args.inputs and os.path.isfile(args.inputs) and not zipfile.is_zipfile(args.inputs):
                raise TVMCException(f"--inputs: {args.inputs} is not a complete .npz file; write it with numpy.savez")
            args.device = "cpu"
            ours: dict[str, object] = {
                "make_inputs_dict": _check_shapes(runner.make_inputs_dict),
                "get_top_results": get_top_results,
            }
            there: Sessions | None = None
            if args.rpc_tracker:
                names = map(name_of, needed)
                there = Sessions(args.PATH, [kind for kind in map(_kind_of, names) if kind in remote.KINDS])
                ours["request_remote"] = there.opens(runner.request_remote)
                ours["rpc"] = Overlay(runner.rpc, connect=there.opens(_connect))
                create = _create_there(runner.executor.create, there)
            else:
                create = _create_here(args.PATH, args.adaptive)
            ours["executor"] = Overlay(runner.executor, create=create)
            if args.profile:
                debug = runner.debug_executor
                hook = profiling.create_hook(debug.create, args, files, there, list(needed))
                ours["debug_executor"] = Overlay(debug, create=hook)
            with replaced(runner, **ours):
                return runner.drive_run(args)


def _connect(host: str, port: int) -> tvm.rpc.RPCSession:
    return remote.connect(f"{host}:{port}")


def _parse_devices(text: str | None, known: Collection[str]) -> list[str]:
    names = [] if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise TVMCException(f"--device: unknown device '{name}'; use one of {', '.join(known)}")
    if MICRO in names[1:] or names[:1] == [MICRO] != names:
        raise TVMCException(f"--device: '{MICRO}' can't be combined with other devices; give it alone")
    return names


def _check_given(path: str, given: list[str], needed: list[int]) -> None:
    if given and not {DEVICE_NAMES.get(d) for d in given}.issuperset(needed):
        names = ",".join(name_of(t) for t in needed)
        raise TVMCException(
            f"{path} needs the devices {names}, and --device names only {','.join(given)}: leave --device out, or "
            f"give --device {names}"
        )


@contextmanager
def _remote_errors(needed: list[int]) -> Iterator[None]:
    """Explain errors of RPC servers and trackers whose own text says little or nothing."""
    try:
        yield
    except tvm.TVMError as err:
        if not isinstance(err, tvm.error.RPCError):
            if (text := why(err)) == one_line(err):
                raise
            raise TVMCException(text if is_broken(err) else f"--rpc-tracker: {text}") from err
        devices = ",".join(name_of(t) for t in needed)
        raise TVMCException(
            f"the RPC server can't run the module ({one_line(err)}): check that it has the devices {devices} with "
            "`coexec connect`"
        ) from err


def _any_shape(stock: Callable) -> Callable:
    """Wrap ``get_top_results``, which takes the first row of the first output: a scalar or vector is one."""

    def get_top_results(result: TVMCResult, most: int) -> np.ndarray:
        first = result.outputs["output_0"]
        if first.size == 0:
            raise TVMCException("--print-top: the first output has no elements; leave the option out")
        if first.ndim < 2:
            result = TVMCResult({**result.outputs, "output_0": first.reshape(1, -1)}, result.times)
        return stock(result, most)

    return get_top_results


def _check_shapes(stock: Callable) -> Callable:
    """Wrap ``make_inputs_dict``: accept numpy's names of types, and name the input whose shape is wrong."""

    def make_inputs_dict(
        shape_dict: dict, dtype_dict: dict, inputs: str | None = None, *args: object, **kwargs: object
    ) -> dict:
        types = {name: numpy_dtype(str(dtype)) for name, dtype in dtype_dict.items()}
        made = stock(shape_dict, types, inputs, *args, **kwargs)
        for name, value in made.items():
            shape = tuple(int(d) for d in shape_dict[name])
            if value.shape != shape:
                raise TVMCException(
                    f"--inputs: '{name}' has shape {value.shape}, but the module takes {shape}; correct the file"
                )
        return made

    return make_inputs_dict


def create_hook(stock: Callable) -> Callable:
    """Wrap ``create(graph_json, library, device, ...)`` of an executor: add the devices that the graph names."""

    def create(graph_json: str, library: object, device: object, *args: object, **kwargs: object) -> object:
        return stock(graph_json, library, _all_devices(graph_json, device), *args, **kwargs)

    return create


def _create_here(path: str, adaptive: bool) -> Callable:
    """An executor's ``create`` that shares memory between the devices where it can, as `tvm_coexec.create` does.

    TVM's library and device belong to an in-process RPC session, which can't share memory.
    """

    def create(_graph_json: str, _library: object, _device: object, *_args: object) -> Overlay:
        module = executor.create(open_model(path), adaptive=adaptive)

        def benchmark(_device: object, *given: object, **named: object) -> object:
            # instead of the RPC session's CPU, which is the same device
            result = module.benchmark(tvm.cpu(), *given, **named)
            if adaptive:
                sys.stderr.write(f"{_describe(module.stats())}\n")
            return result

        ours: dict[str, object] = {"benchmark": benchmark}
        if adaptive:
            ours["load_params"] = lambda _: None  # they are in the library that was opened
        return Overlay(module, **ours)

    return create


def _describe(stats: dict) -> str:
    times = ", ".join(f"{name} {v['now_s'] * 1e3:.3f}" for name, v in stats["variants"].items())
    return (
        f"adaptive: {stats['variant']} in use after {stats['switches']} changes and {stats['probes']} probes; ms by "
        f"the last runs of each: {times}"
    )


def _create_there(stock: Callable, there: Sessions) -> Callable:
    """An executor's ``create`` on an RPC server: as `_create_here`, if the server has this package's runtime."""

    def create(graph_json: str, library: object, device: object, *args: object) -> object:
        factory = there.make_factory(graph_json, library)
        if factory is None:
            return stock(graph_json, library, device, *args)
        module = executor.create(factory, executor.find_devices(graph_json, there.session))
        return Overlay(module, load_params=lambda _weights: None)  # the factory has them

    return create


def _all_devices(graph_json: str, device: object) -> object:
    if not isinstance(device, tvm.runtime.Device):
        return device  # a list: the caller has named all devices
    needed = graph_device_types(graph_json)
    if len(needed) < 2:
        return device
    if device.device_type % RPC_SESS_MASK != CPU:
        names = ", ".join(name_of(t) for t in needed)
        raise TVMCException(f"the module runs on {names}: name the CPU as its device; the others are added")
    session = getattr(device, "_rpc_sess", None)
    found = [device]
    for device_type in needed:
        if device_type != CPU:
            other = tvm.runtime.Device(device_type, 0) if session is None else session.device(device_type, 0)
            _require(other, "" if session is None else " of the RPC server")
            found.append(other)
    logger.info("running on %s", ", ".join(map(str, found)))
    return found


def _require(device: tvm.runtime.Device, where: str) -> None:
    if device.exist:
        return
    name = name_of(device.device_type % RPC_SESS_MASK)
    session = getattr(device, "_rpc_sess", None)
    kind = _kind_of(name)
    why = gpu_runtimes.why_unavailable(kind) if session is None else remote.why_unavailable(session, kind)
    raise TVMCException(f"the module needs the device {name}{where}, which is missing: {why or 'none was found'}")


def _kind_of(name: str) -> str:
    """Return the kind of target of a device that tvmc calls by a name."""
    return {"cl": "opencl"}.get(name, name)
