"""Choose the costs for planning: one policy for the pass and for ``coexec plan``."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import tvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import Costs, Profile, load_costs
from tvm_coexec.cost_models import shipped as profiles
from tvm_coexec.cost_models.device_names import find_difference
from tvm_coexec.targets import target_text

from .host_info import schedules_digest
from .local_devices import memory_here, name_devices, runtime_here, why_not_here
from .on_the_spot import measure

logger = logging.getLogger("tvm_coexec")

MEASURE = "measure"
_NOTICE = (
    "measuring this model's kernels on both devices, which takes minutes and is kept for the next time; with a profile "
    "(coexec profile, coexec fit), or the profile 'generic', nothing is measured"
)


@dataclass(frozen=True)
class Chosen:
    """Costs and a description of their origin."""

    costs: Costs
    origin: str


def choose_costs(
    prepared: tvm.IRModule,
    cpu: Target,
    gpu: Target,
    profile: object | None,
    axis: str = "auto",
    opencl_runtime: str | None = None,
    memory: str | None = None,
) -> Chosen:
    """Choose the costs for planning.

    Parameters
    ----------
    prepared : IRModule
        After `relay_passes.prepare`.
    cpu, gpu : Target
    profile : str, path, Costs or None
        A file, the name of a profile that comes with the package (see `cost_models.shipped`), a cost model, or
        ``measure`` to measure this model's kernels on this machine. `None` takes the package's profile of these devices
        and targets; without one the kernels are measured, and if the devices are not on this machine, the generic
        profile is used.
    axis : str
        The axis to measure shares along, or ``auto``.
    opencl_runtime : {"own", "tvm"} or None
        The runtime that the module will run on. `None` is the one in use, if the devices are here; otherwise, and for a
        cost model, the one that the costs are of.
    memory : {"copied", "mapped", "shared"} or None
        How tensors will cross between the devices. `None` is what the costs say of the devices; they are copied where
        they do not say it, and where the devices are here and this package's runtime copies.

    Returns
    -------
    Chosen
        The description of the costs is in every plan and report.

    Raises
    ------
    CoExecError
        If the profile can't be read or is not a cost model, or if ``measure`` is requested without the devices.
    """
    if not isinstance(profile, Costs) and not why_not_here(cpu, gpu):
        opencl_runtime = opencl_runtime or runtime_here(gpu)
        if memory is None and (opencl_runtime == "tvm" or memory_here(gpu) == "copied"):
            memory = "copied"
    chosen = _choose(prepared, cpu, gpu, profile, axis, opencl_runtime or "own")
    costs = chosen.costs if opencl_runtime is None else chosen.costs.on_runtime(opencl_runtime)
    if memory is None and costs.unified is not None:
        memory = costs.unified.memory
    return Chosen(costs if memory is None else costs.on_memory(memory), chosen.origin)


def _choose(
    prepared: tvm.IRModule, cpu: Target, gpu: Target, profile: object | None, axis: str, opencl_runtime: str
) -> Chosen:
    if profile is None:
        return _choose_default(prepared, cpu, gpu, axis, opencl_runtime)
    if isinstance(profile, Costs):
        return Chosen(profile, profile.description)
    if not isinstance(profile, (str, os.PathLike)):
        raise CoExecError(
            "profile must be a file, a name or a cost model (a subclass of tvm_coexec.cost_models.Costs), not "
            f"{type(profile).__name__}"
        )
    if profile == MEASURE:
        if why := why_not_here(cpu, gpu):
            raise CoExecError(f"profile '{MEASURE}': kernels can't be measured here ({why}); give a profile")
        return Chosen(_measure(prepared, cpu, gpu, axis, opencl_runtime), "measured here")
    path = profiles.find(os.fspath(profile), also=(MEASURE,))
    costs = load_costs(path)
    if isinstance(costs, Profile) and path.stem != profiles.GENERIC:
        _warn_of_others(os.fspath(profile), costs, cpu, gpu)
        _warn_of_schedules(os.fspath(profile), costs)
    return Chosen(costs, os.fspath(profile))


def _choose_default(prepared: tvm.IRModule, cpu: Target, gpu: Target, axis: str, opencl_runtime: str) -> Chosen:
    if why := why_not_here(cpu, gpu):
        logger.warning(
            "kernels can't be measured here (%s): planning with the generic profile of another board; for better plans "
            "make a profile of the devices (coexec profile, coexec fit)",
            why,
        )
        return Chosen(load_generic(), "generic, of another board, since the devices are not here; give a profile")
    found = profiles.find_matching({"cpu": target_text(cpu), "gpu": target_text(gpu)}, name_devices(gpu))
    if found is None:
        return Chosen(_measure(prepared, cpu, gpu, axis, opencl_runtime, _NOTICE), "measured here")
    _warn_of_schedules(*found)
    logger.info("planning with the profile '%s' that comes with tvm-coexec: %s", found[0], found[1].description)
    return Chosen(found[1], f"{found[0]}, which comes with tvm-coexec and is of these devices")


def _measure(
    prepared: tvm.IRModule, cpu: Target, gpu: Target, axis: str, opencl_runtime: str, notice: str = ""
) -> Costs:
    """Measure with the copies of the runtime that is asked for, or of TVM's own, where that is the only one here."""
    both = {opencl_runtime, runtime_here(gpu)}
    return measure(prepared, cpu, gpu, axis, notice, opencl_runtime="tvm" if "tvm" in both else "own")


def load_generic() -> Profile:
    """Load the profile for unknown devices."""
    return Profile.load(profiles.FOLDER / f"{profiles.GENERIC}.json")


def _warn_of_others(name: str, profile: Profile, cpu: Target, gpu: Target) -> None:
    """Warn if a profile is of other targets or devices."""
    now = {"target": {"cpu": target_text(cpu), "gpu": target_text(gpu)}}
    if not why_not_here(cpu, gpu):
        now["device"] = name_devices(gpu)
    if other := find_difference({"target": profile.targets, "device": profile.names}, now):
        logger.warning("the profile %s is of other devices (%s): its times may be far off", name, other)


def _warn_of_schedules(name: str, profile: Profile) -> None:
    """Warn if a profile was measured with other OpenCL schedules than those that kernels are compiled with now."""
    if profile.provenance.differs_in_schedules(schedules_digest()):
        logger.warning(
            "the profile %s was measured with other schedules than those of this release (%s): its times may be off; "
            "measure again with coexec profile and coexec fit",
            name,
            profile.provenance.to_text(),
        )
