"""Fit a profile to a dataset, transfer it to other devices with few samples, or refine it with new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tvm_coexec.core.devices import has_work_groups
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.progress import progress

from .co_run import fit_co_run
from .dataset import DEVICES, Sample, Samples
from .device_names import devices_of, find_difference
from .device_parameters import merge_parameters
from .features.workload import Workload
from .fit_links import fit_host_copy, fit_link, fit_unified, wait_beyond_copies
from .models.adjust import refine_model
from .models.analytic import AnalyticModel
from .models.base import LatencyModel, assign_folds, check_samples
from .models.moved import MovedModel
from .models.registry import make_model
from .models.regression import fit_non_negative, round_digits
from .one_thread import on_one_thread
from .plan_records import fit_plan_factor
from .profile import CROSSING, LINKS, Profile
from .profile_costs import NetworkCorrection
from .provenance import Provenance

_FEW_FOLDS = 3  # of the cross-validation of models that are slow to fit
# With fewer, one disturbed network decides what is constant and what each kernel adds.
_NETWORKS_FOR_ALL = 6


@on_one_thread
def fit_profile(
    samples: Samples,
    model: str = "analytic",
    description: str = "",
    max_bytes: int = 4096,
    parameters: Mapping[str, Any] | None = None,
) -> Profile:
    """Fit a profile to a dataset.

    Parameters
    ----------
    samples : Samples
    model : str
        Name of the latency model of both devices, one of `registry.MODELS`. Those of the literature have analytic terms
        for the classes that they were not fitted to.
    description : str
        Description in plans; derived from the header if empty.
    max_bytes : int
        Maximum size of each device's analytic model. The terms of thirty classes take half of it; the rest is for
        trees.
    parameters : mapping, optional
        Parameters of the devices by hand (see `read_parameters`); the others are those that the dataset has.

    Returns
    -------
    Profile

    Raises
    ------
    CoExecError
        If a device has no usable sample, or there is no such model or parameter.
    """
    targets, names = devices_of(samples)
    known = merge_parameters(samples.header.get("parameters") or {}, parameters or {})
    models, errors = {}, {}
    for device in DEVICES:
        workloads, seconds = _training_data(samples, device)
        work_groups = has_work_groups(device, names[device])
        make = partial(make_model, model, device, max_bytes, work_groups, known.get(device))
        models[device] = make().fit(workloads, seconds).for_device(device)
        errors[device] = _cross_validate(make, samples.of(device), workloads, seconds)
    text = description or _describe(samples)
    origin = Provenance.of_samples(samples)
    profile = Profile(models, error=errors, description=text, targets=targets, names=names, provenance=origin)
    return _fit_system(replace(profile, parameters=known), samples)


@on_one_thread
def transfer_profile(profile: Profile | Sequence[Profile], samples: Samples) -> Profile:
    """Transfer profiles to other devices, with a few of their samples.

    Parameters
    ----------
    profile : Profile or sequence of Profile
        Of other devices. What the samples lack, such as links, is that of the first.
    samples : Samples
        10 to 50 kernels are enough (see `choose_informative`).

    Returns
    -------
    Profile
        Its error is found in cross-validation on these samples, as `fit_profile` does, and is never less than that of
        the first profile, which was fitted to more samples.

    Raises
    ------
    CoExecError
        If a profile has models other than analytic ones.
    """
    profiles = [profile] if isinstance(profile, Profile) else list(profile)
    _, names = devices_of(samples)
    makes = {
        device: partial(
            MovedModel, [_movable(p.devices[device]) for p in profiles], has_work_groups(device, names[device])
        )
        for device in DEVICES
    }

    def move(device: str, workloads: list[Workload], seconds: np.ndarray) -> LatencyModel:
        return makes[device]().fit(workloads, seconds)

    others = "another device's profile" if len(profiles) == 1 else f"{len(profiles)} other devices' profiles"
    moved = _adapt(profiles[0], samples, move, f"{_describe(samples)}, from {others}")
    return replace(moved, error={**moved.error, **_errors_of_moved(makes, samples, moved.error)})


def _errors_of_moved(
    makes: Mapping[str, Callable[[], LatencyModel]], samples: Samples, least: Mapping[str, float]
) -> dict[str, float]:
    """Return the error of moved models by device; a device without samples keeps its own."""
    errors = {}
    for device, make in makes.items():
        measured = samples.of(device)
        if measured:
            own = _cross_validate(make, measured, *_training_data(samples, device))
            errors[device] = max(own, least.get(device, 0.0))
    return errors


@on_one_thread
def refine_profile(profile: Profile, samples: Samples) -> Profile:
    """Refine a profile with new samples of the same devices; raises the errors of `transfer_profile`."""

    def refine(device: str, workloads: list[Workload], seconds: np.ndarray) -> LatencyModel:
        return refine_model(_movable(profile.devices[device]), workloads, seconds)

    return _adapt(profile, samples, refine, profile.description)


def _movable(model: LatencyModel) -> AnalyticModel | MovedModel:
    if not isinstance(model, AnalyticModel | MovedModel):
        raise CoExecError(f"a profile with a '{model.name}' model can't be transferred or refined; fit a new one")
    return model


def find_other_device(profile: Profile, samples: Samples) -> str:
    """Describe how the devices and targets of a dataset differ from the profile's; empty if they are the same."""
    if not samples.header.get("devices"):
        return ""
    targets, names = devices_of(samples)
    theirs = {"target": targets, "device": names}
    return find_difference({"target": profile.targets, "device": profile.names}, theirs)


def fit_network_correction(
    kernels: Sequence[float], sums_s: Sequence[float], seconds: Sequence[float]
) -> NetworkCorrection:
    """Fit non-negative coefficients with the least relative error.

    Parameters
    ----------
    kernels, sums_s, seconds : sequence of float
        For each network: number of kernels, sum of their times, and time end to end. With fewer than six networks only
        the factor `NetworkCorrection.c` is fitted.
    """
    x = np.stack([np.ones(len(seconds)), np.asarray(kernels, float), np.asarray(sums_s, float)], 1)
    y = np.asarray(seconds, float)
    if len(y) >= _NETWORKS_FOR_ALL:
        return NetworkCorrection(*round_digits(fit_non_negative(x, y)))
    return NetworkCorrection(0.0, 0.0, _round(np.median(y / x[:, 2])))


def _adapt(profile: Profile, samples: Samples, adapt: Callable[..., LatencyModel], description: str) -> Profile:
    models = {}
    for device, model in profile.devices.items():
        moved = adapt(device, *_training_data(samples, device)) if samples.of(device) else _movable(model)
        models[device] = moved.for_device(device)
    targets, names = devices_of(samples)
    # A file of verified plans alone renews no kernel: the profile's samples stay those that they were.
    origin = Provenance.of_samples(samples) if samples.usable else profile.provenance
    parameters = merge_parameters(samples.header.get("parameters") or {}, {}) or profile.parameters
    moved_profile = replace(
        profile,
        devices=models,
        description=description,
        targets=targets,
        names=names,
        provenance=origin,
        parameters=parameters,
    )
    return _fit_system(moved_profile, samples)


def _fit_system(profile: Profile, samples: Samples) -> Profile:
    """Fit everything except kernels: links, co-run slowdown, networks and plans."""
    found: dict[str, Any] = {}
    for name in LINKS:
        copies = [c for c in samples.links if c["link"] == name]
        if copies:
            found[name] = (fit_host_copy if name == "host_copy" else fit_link)(copies)
    for name in CROSSING:
        copies = [c for c in samples.tvm_links if c["link"] == name]
        if copies:
            found["tvm_links"] = found.get("tvm_links", {}) | {name: fit_link(copies)}
    if samples.links:
        found["runtime"] = samples.header.get("runtime", "own")
    if samples.enqueues:
        found["enqueue_s"] = _round(np.median(samples.enqueues))
    if samples.round_trips:  # a round trip through a kernel, whose launch overhead is counted separately
        links = (found.get(n, getattr(profile, n)) for n in CROSSING)
        enqueue_s = found.get("enqueue_s", profile.enqueue_s)
        found["sync_s"] = wait_beyond_copies(float(np.median(samples.round_trips)), enqueue_s, *links)
    if samples.unified:
        found["unified"] = fit_unified(samples.unified)
    contention, networks = dict(profile.contention), dict(profile.networks)
    for device in DEVICES:
        pairs = [c for c in samples.contention if c["device"] == device]
        if pairs:
            contention[device] = fit_co_run(pairs, contention.get(device))
        whole = [n for n in samples.networks if n["device"] == device and n["sum_s"] > 0]
        if whole:
            columns = [[n[key] for n in whole] for key in ("kernels", "sum_s", "seconds")]
            networks[device] = fit_network_correction(*columns)
    factor = fit_plan_factor(samples.plans)
    if factor is not None:
        found["plan_factor"] = _round(factor)
    return replace(profile, contention=contention, networks=networks, **found)


def _round(value: float | np.floating) -> float:
    return float(round_digits(np.array([value]))[0])


def _training_data(samples: Samples, device: str) -> tuple[list[Workload], np.ndarray]:
    usable = samples.of(device)
    if not usable:
        raise CoExecError(f"the samples have no measured kernel of the {device}; measure some with `coexec profile`")
    return [s.workload for s in usable], np.array([s.seconds for s in usable])


def _cross_validate(
    make: Callable[[], LatencyModel], samples: list[Sample], workloads: list[Workload], seconds: np.ndarray
) -> float:
    """Return the relative error of sums of times in cross-validation.

    Plans are sums over a network, so each network is left out in turn, and the predicted sum of its kernels is compared
    with the measured one. With fewer than three networks, folds are fifths of the kernels, with all shares of a kernel
    in one fold. The error is the median over networks, or over kernels.
    """
    check_samples(workloads, seconds)
    networks = [s.network for s in samples]
    real = sorted({n for n in networks if n and n != "designed"})
    by_network = len(real) >= 3
    if by_network:
        fold = np.array([real.index(n) if n in real else -1 for n in networks])
    else:
        fold = assign_folds([s.signature or str(i) for i, s in enumerate(samples)], 5)
    if make().is_slow_to_fit:
        fold = np.where(fold < 0, fold, fold % _FEW_FOLDS)
    missed: list[float] = []
    for k in progress(range(fold.max() + 1), "cross-validation", "fold"):
        inside, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(inside) or not len(out):
            continue
        # classes that occur only in the left-out fold need no warning
        model = make().fit([workloads[i] for i in inside], seconds[inside]).silence_warnings()
        predicted = model.predict([workloads[i] for i in out])
        if by_network:
            for name in sorted({networks[i] for i in out}):
                own = np.array([networks[i] == name for i in out])
                missed.append(abs(predicted[own].sum() / seconds[out][own].sum() - 1))
        else:
            missed += np.abs(predicted / seconds[out] - 1).tolist()
    if not missed:
        return 0.0
    return float(round_digits(np.array([np.median(missed)]), 3)[0])


def _describe(samples: Samples) -> str:
    targets, names = devices_of(samples)
    devices = [f"{d}: {targets[d] or '?'} on {names[d] or '?'}" for d in DEVICES]
    return f"fitted to {len(samples.usable)} measured kernels; " + "; ".join(devices)
