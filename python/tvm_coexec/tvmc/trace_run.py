"""``tvmc run --profile`` of a module for several devices.

TVM's debug executor runs every kernel alone and waits for it, so its times do not show what runs concurrently. So the
module is first run as `tvmc run` runs it, with our recorder (see `tracing`), and that table is printed above TVM's.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.driver.tvmc import TVMCException

from tvm_coexec import gpu_runtimes
from tvm_coexec.executor.create import find_devices
from tvm_coexec.tracing import Recording, Tracer, table
from tvm_coexec.tracing.load import open_library, open_model
from tvm_coexec.tracing.outputs import Outputs

from .patching import Overlay
from .sessions import Sessions
from .staging import StagedFiles

logger = logging.getLogger("tvm_coexec")

_FILES = {
    "trace": "write the median run for ui.perfetto.dev or chrome://tracing (JSON)",
    "png": "draw expected and measured timelines as an image",
    "html": "draw them as an HTML page with tooltips",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``tvmc run``."""
    group = parser.add_argument_group(
        "co-execution", "Files to write with --profile for a module that uses two devices."
    )
    for name, text in _FILES.items():
        group.add_argument(_flag(name), metavar="FILE", help=text + ".")


_NOT_RECORDED = "each kernel is timed alone; concurrent execution is not recorded: %s"


def _flag(name: str) -> str:
    return f"--profile-{name}"


def check(args: argparse.Namespace, needed: list[int]) -> None:
    """Raise `TVMCException` for an output file that would stay empty."""
    given = next((name for name in _FILES if getattr(args, f"profile_{name}", None)), None)
    if given is None:
        return
    option = _flag(given)
    if not args.profile:
        raise TVMCException(f"{option} has no effect without --profile: add --profile")
    if len(needed) < 2:
        raise TVMCException(f"{option} is for modules that need several devices: use coexec trace for {args.PATH}")
    runtime = gpu_runtimes.runtime_of_types(needed)
    if not args.rpc_tracker and not runtime.is_ours():
        raise TVMCException(runtime.why_not_ours(f"{option} has nothing to write"))


def create_hook(
    stock: Callable, args: argparse.Namespace, files: StagedFiles, there: Sessions | None, needed: list[int]
) -> Callable:
    """Wrap ``debug_executor.create``: the new module also records its runs, if it can.

    Parameters
    ----------
    stock : callable
        ``create(graph_json, library, device, ...)``, for all devices of the graph.
    args : Namespace
        The command's arguments.
    files : StagedFiles
        Stages the output files until the command has succeeded.
    there : Sessions, optional
        The session of an RPC server that runs the module; by default this machine does.
    needed : list of int
        Types of the devices that the module runs on.
    """
    staged = {n: files.stage(path) for n in _FILES if (path := getattr(args, f"profile_{n}", None))}
    if there is None and not gpu_runtimes.runtime_of_types(needed).is_ours():
        logger.warning(_NOT_RECORDED, "TVM's own runtime is in use for the GPU")
        return stock
    outputs = Outputs(**staged)

    def create(graph_json: str, library: object, device: object, *rest: object, **kwargs: object) -> object:
        tracer = Tracer()
        if there is None:
            # TVM's library and device belong to an in-process RPC session, which wraps functions once more
            module = stock(graph_json, open_library(args.PATH), find_devices(graph_json), *rest, **kwargs)
            ours = tracer.create(open_model(args.PATH))
        else:
            module = stock(graph_json, library, device, *rest, **kwargs)
            if not there.records():
                why = "the RPC server does not use this package's OpenCL runtime"
                if staged:
                    raise TVMCException(f"{_flag(next(iter(staged)))} has nothing to write: {why}")
                logger.warning(_NOT_RECORDED, why)
                return module
            factory = there.make_factory(graph_json, library)
            ours = tracer.create(factory, find_devices(graph_json, there.session))

        def set_input(*given: object, **named: object) -> None:
            module.set_input(*given, **named)
            ours.set_input(*given, **named)

        def profile(*inputs: object, **named: object) -> _Both:
            recording = tracer.record(ours.run)
            name = Path(args.PATH).stem
            lines = outputs.write(recording, name)
            for n, path in staged.items():
                lines = [line.replace(path, getattr(args, f"profile_{n}")) for line in lines]
            return _Both(recording, module.profile(*inputs, **named), name, lines)

        def benchmark(device: object, *given: object, **named: object) -> object:
            # here: instead of the CPU of the in-process RPC session, which is the same device
            return ours.benchmark(tvm.cpu() if there is None else device, *given, **named)

        return Overlay(module, set_input=set_input, profile=profile, benchmark=benchmark)

    return create


@dataclass(frozen=True)
class _Both:
    """The printed result: our table, then TVM's."""

    recording: Recording
    kernels: object
    name: str
    lines: list[str]

    def __str__(self) -> str:
        files = "".join(line + "\n" for line in self.lines)
        return f"{table(self.recording, self.name)}{files}\neach kernel alone, by TVM's debug executor:\n{self.kernels}"
