"""Functions for build scripts: partition a module, or partition and build it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import tvm
from tvm import relay
from tvm.target import Target

from .core.errors import CoExecError
from .executor.annotations import annotate_graph
from .executor.lowering_errors import explain_lowering
from .executor.variants import PREFIX
from .partition import CoExecPartition, plan_of
from .pass_context import deployment_context
from .targets import targets, why_not_linkable
from .tuning.loop import Tuned, load_tuned
from .whole import check_buildable, target_of_whole

__all__ = ["build", "partition_for_coexec", "plan_of", "targets"]

if TYPE_CHECKING:
    from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule


def partition_for_coexec(mod: tvm.IRModule, params: dict | None = None, **opts: object) -> tvm.IRModule:
    """Split a module between a CPU and a GPU.

    Parameters
    ----------
    mod : IRModule
        A Relay module.
    params : dict of str to NDArray, optional
        Its weights; they become constants.
    **opts
        Options of `CoExecPartition`.

    Returns
    -------
    IRModule
        Build it with ``relay.build(mod, target=tvm_coexec.targets(cpu, gpu))``.
    """
    return CoExecPartition(params=params, **opts)(mod)


def build(
    mod: tvm.IRModule,
    params: dict | None = None,
    cpu: str | Target = "llvm",
    gpu: str | Target = "opencl",
    tuned: str | os.PathLike | Tuned | None = None,
    **opts: object,
) -> GraphExecutorFactoryModule:
    """Partition and compile in one step.

    Parameters
    ----------
    mod, params
        The module and its weights.
    cpu, gpu : str or Target
        See `tvm_coexec.targets`.
    tuned : path or Tuned, optional
        What `tune` found for this model, or its folder: its records are in force, and its plan is used. With options
        that ask for another plan (``axis``, ``memory``...), its profile is used instead of the plan.
    **opts
        Options of `CoExecPartition`.

    Returns
    -------
    GraphExecutorFactoryModule
        TVM's own class; ``export_library`` and ``GraphModule(lib["default"](cpu_device, gpu_device))`` work as usual. A
        model that stays whole is built for the CPU alone. With ``adaptive=True`` it also holds each device alone, for
        ``create(lib, adaptive=True)``; everything else uses the split program. For the CPU of another machine
        ``export_library`` needs a cross compiler, ``cc="aarch64-linux-gnu-g++"``, and raises `CoExecError` without.

    Raises
    ------
    CoExecError
        For an invalid option, and for a model that TVM's graph executor can't run: one with inputs of open shape,
        data-dependent shapes, or control flow, or with a kernel that TVM can't compile; and for results of tuning
        another model, or for other targets.
    """
    found = load_tuned(tuned) if isinstance(tuned, (str, os.PathLike)) else tuned
    in_force: AbstractContextManager[None] = nullcontext()
    if found is not None:
        opts, in_force = found.choose_options(opts), found.in_force(targets(cpu, gpu))
    with deployment_context(), in_force, explain_lowering(targets(cpu, gpu)[0]):
        partition = CoExecPartition(params=params, cpu=cpu, gpu=gpu, **opts)
        partition.report_costs = None if found is None else found.profile
        split = partition(mod)
        both, plan = targets(cpu, gpu), plan_of(split)
        if plan is None:
            check_buildable(split)
            lib = relay.build(split, target=target_of_whole(split, cpu, gpu))
        else:
            variants = {
                name: annotate_graph(partial(relay.build, alone, target=both, mod_name=PREFIX + name), its_plan, None)
                for name, (its_plan, alone) in partition.alone.items()
            }
            lib = annotate_graph(
                lambda: relay.build(split, target=both),
                plan,
                partition.report,
                variants=variants if partition.options.adaptive else None,
            )
    _check_exports(lib, both[0])
    return lib


def _check_exports(lib: GraphExecutorFactoryModule, cpu: Target) -> None:
    """For the CPU of another machine, refuse to link without a cross compiler: TVM would show pages of the linker's."""
    why = why_not_linkable(cpu, "export_library(..., cc=COMPILER)")
    if why is None:
        return
    stock = lib.export_library

    def export_library(file_name: str, fcompile: object = None, *args: object, **options: object) -> object:
        if fcompile is None and not options.get("cc") and not str(file_name).endswith(".tar"):
            raise CoExecError(f"{file_name} can't be linked: {why}")
        return stock(file_name, fcompile, *args, **options)

    lib.export_library = export_library
