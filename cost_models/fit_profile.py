"""A profile from samples: fitted to them, transferred to another device by few of them, or refined by newer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tvm_coexec.core.devices import runs_on_cpu_cores
from tvm_coexec.core.errors import CoExecError

from .costs import Link
from .dataset import DEVICES, Sample, Samples
from .device_names import devices_of, find_difference
from .features.workload import Workload
from .models.adjust import refine_model, transfer_model
from .models.analytic import AnalyticModel
from .models.base import LatencyModel, check_samples, folds_by_kernel
from .models.boosted import BoostedModel
from .models.regression import non_negative_sum, rounded
from .plan_records import fit_plan_factor
from .profile import LINKS, Profile
from .profile_costs import NetworkCorrection


def fit_profile(samples: Samples, boosted: bool = False, description: str = "", max_bytes: int = 4096) -> Profile:
    """A profile of everything that was measured.

    Parameters
    ----------
    samples : Samples
    boosted : bool
        Add boosted residuals, at tens of kilobytes a device.
    description : str
        What plans say of the profile; made from the header if empty.
    max_bytes : int
        Largest size of each device's model.

    Returns
    -------
    Profile

    Raises
    ------
    CoExecError
        When a device has no usable sample.
    """
    targets, names = devices_of(samples)
    models, errors = {}, {}
    for device in DEVICES:
        workloads, seconds = _arrays(samples, device)
        work_groups = device == "gpu" and runs_on_cpu_cores(names["gpu"])

        def make(work_groups: bool = work_groups) -> LatencyModel:
            if boosted:
                return BoostedModel(fallback=True, work_groups=work_groups)
            return AnalyticModel(max_bytes, fallback=True, work_groups=work_groups)

        models[device] = make().fit(workloads, seconds).for_device(device)
        errors[device] = _cross_validate(make, samples.of(device), workloads, seconds)
    text = description or _describe(samples)
    profile = Profile(models, error=errors, description=text, targets=targets, names=names)
    return _fit_surroundings(profile, samples)


def transfer_profile(profile: Profile, samples: Samples) -> Profile:
    """A profile of another device, from this one and a few samples of that device.

    Parameters
    ----------
    profile : Profile
        It stays as it is.
    samples : Samples
        10 to 50 kernels are enough (see `representative`).

    Raises
    ------
    CoExecError
        When the profile has other models than analytic ones.
    """
    return _move(profile, samples, transfer_model, _describe(samples) + ", from another device's profile")


def refine_profile(profile: Profile, samples: Samples) -> Profile:
    """A profile with newer samples of the same devices; raises like `transfer_profile`."""
    return _move(profile, samples, refine_model, profile.description)


def find_other_device(profile: Profile, samples: Samples) -> str:
    """In what the samples' devices and targets differ from the profile's; empty where they are the same."""
    if not samples.header.get("devices"):
        return ""
    targets, names = devices_of(samples)
    theirs = {"target": targets, "device": names}
    return find_difference({"target": profile.targets, "device": profile.names}, theirs)


def fit_network_correction(
    kernels: Sequence[float], sums_s: Sequence[float], seconds: Sequence[float]
) -> NetworkCorrection:
    """Coefficients with the least relative error, not negative.

    Parameters
    ----------
    kernels, sums_s, seconds : sequence of float
        Per network: number of kernels, sum of their times, and time end to end. Of fewer than four networks only the
        factor `NetworkCorrection.c` is fitted.
    """
    x = np.stack([np.ones(len(seconds)), np.asarray(kernels, float), np.asarray(sums_s, float)], 1)
    y = np.asarray(seconds, float)
    if len(y) >= 4:
        return NetworkCorrection(*rounded(non_negative_sum(x, y)))
    return NetworkCorrection(0.0, 0.0, _round(np.median(y / x[:, 2])))


def _move(profile: Profile, samples: Samples, move: Callable[..., AnalyticModel], description: str) -> Profile:
    models = {}
    for device, model in profile.devices.items():
        if not isinstance(model, AnalyticModel):
            raise CoExecError(f"a profile with a '{model.name}' model can't be transferred or refined; fit a new one")
        moved = move(model, *_arrays(samples, device)) if samples.of(device) else model
        models[device] = moved.for_device(device)
    targets, names = devices_of(samples)
    moved_profile = replace(profile, devices=models, description=description, targets=targets, names=names)
    return _fit_surroundings(moved_profile, samples)


def _fit_surroundings(profile: Profile, samples: Samples) -> Profile:
    """The profile with what the samples say beyond kernels: links, contention, networks, plans."""
    found: dict[str, Any] = {}
    for name in LINKS:
        copies = [c for c in samples.links if c["link"] == name]
        if copies:
            found[name] = fit_link(copies)
    if samples.enqueues:
        found["enqueue_s"] = _round(np.median(samples.enqueues))
    if samples.meetings:  # the round trip of a small tensor through a kernel, whose launch is counted on its own
        found["sync_s"] = max(0.0, _round(np.median(samples.meetings) - found.get("enqueue_s", profile.enqueue_s)))
    contention, networks = dict(profile.contention), dict(profile.networks)
    for device in DEVICES:
        pairs = [c for c in samples.contention if c["device"] == device]
        if pairs:
            contention[device] = max(1.0, _round(np.median([c["together_s"] / c["alone_s"] for c in pairs])))
        whole = [n for n in samples.networks if n["device"] == device and n["sum_s"] > 0]
        if whole:
            columns = [[n[key] for n in whole] for key in ("kernels", "sum_s", "seconds")]
            networks[device] = fit_network_correction(*columns)
    factor = fit_plan_factor(samples.plans)
    if factor is not None:
        found["plan_factor"] = _round(factor)
    return replace(profile, contention=contention, networks=networks, **found)


def _round(value: float | np.floating) -> float:
    return float(rounded(np.array([value]))[0])


def _arrays(samples: Samples, device: str) -> tuple[list[Workload], np.ndarray]:
    usable = samples.of(device)
    if not usable:
        raise CoExecError(f"there is no measured kernel of the {device} among the samples; measure some")
    return [s.workload for s in usable], np.array([s.seconds for s in usable])


def _cross_validate(
    make: Callable[[], LatencyModel], samples: list[Sample], workloads: list[Workload], seconds: np.ndarray
) -> float:
    """Relative error of sums of times, of kernels that a model was not fitted to.

    Plans are sums over a network. So each network is left out in turn, and the model's prediction of the sum of its
    kernels is compared with what they took. With fewer than three networks, a fifth of the kernels is left out instead,
    all shares of a kernel together. The error is the median, over networks or kernels.
    """
    check_samples(workloads, seconds)
    networks = [s.network for s in samples]
    real = sorted({n for n in networks if n and n != "designed"})
    by_network = len(real) >= 3
    if by_network:
        fold = np.array([real.index(n) if n in real else -1 for n in networks])
    else:
        fold = folds_by_kernel([s.signature or str(i) for i, s in enumerate(samples)], 5)
    missed: list[float] = []
    for k in range(fold.max() + 1):
        inside, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(inside) or not len(out):
            continue
        # a class that was left out on purpose needs no warning
        model = make().fit([workloads[i] for i in inside], seconds[inside]).quiet()
        predicted = model.predict([workloads[i] for i in out])
        if by_network:
            missed.append(abs(predicted.sum() / seconds[out].sum() - 1))
        else:
            missed += np.abs(predicted / seconds[out] - 1).tolist()
    if not missed:
        return 0.0
    return float(rounded(np.array([np.median(missed)]), 3)[0])


def fit_link(copies: list[dict[str, Any]]) -> Link:
    """A link from copies of several sizes: records with ``bytes`` and ``seconds``; coefficients are not negative."""
    nbytes = np.array([c["bytes"] for c in copies], float)
    seconds = np.array([c["seconds"] for c in copies], float)
    constant, slope = rounded(non_negative_sum(np.stack([np.ones_like(nbytes), nbytes], 1), seconds))
    return Link(max(constant, 1e-7), slope)


def _describe(samples: Samples) -> str:
    targets, names = devices_of(samples)
    devices = [f"{d}: {targets[d] or '?'} on {names[d] or '?'}" for d in DEVICES]
    return f"fitted to {len(samples.usable)} measured kernels; " + "; ".join(devices)
