"""A profile: what was learnt of a pair of devices, and the costs that a planner gets from it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tvm_coexec.core.access import Range
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import damage, read_json, write_atomically
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph

from .costs import Costs, Device, Link
from .dataset import DEVICES, Sample, Samples
from .features.describe import describe, describe_shares
from .features.workload import Workload, stack
from .measured import MeasuredCosts
from .models.adjust import refined, transferred
from .models.analytic import AnalyticModel
from .models.base import VERSION, LatencyModel, check_samples, folds_by_kernel, never_faster
from .models.boosted import BoostedModel
from .models.registry import model_from_json
from .models.regression import non_negative_sum, rounded
from .plan_records import plan_factor
from .power import Busy, Power

_LINKS = ("upload", "download", "host_copy")
_DEFAULT_LINK = Link(5e-5, 2e-10)
_DEFAULT_HOST_COPY = Link(5e-6, 2e-10)


@dataclass(frozen=True)
class NetworkCorrection:
    """Seconds of a whole network from its kernels: ``a_s + b_s * kernels + c * sum``.

    Kernels are measured one by one, from warm caches; in a network the executor adds a little for each, and caches are
    colder.
    """

    a_s: float = 0.0
    b_s: float = 0.0
    c: float = 1.0

    @staticmethod
    def fit(kernels: Sequence[float], sums_s: Sequence[float], seconds: Sequence[float]) -> NetworkCorrection:
        """Coefficients with the least relative error, not negative.

        Parameters
        ----------
        kernels, sums_s, seconds : sequence of float
            Per network: number of kernels, sum of their times, and time end to end. Of fewer than four networks only
            `c` is fitted.
        """
        x = np.stack([np.ones(len(seconds)), np.asarray(kernels, float), np.asarray(sums_s, float)], 1)
        y = np.asarray(seconds, float)
        if len(y) >= 4:
            return NetworkCorrection(*rounded(non_negative_sum(x, y)))
        return NetworkCorrection(0.0, 0.0, float(rounded(np.array([np.median(y / x[:, 2])]))[0]))

    def seconds(self, kernels: float, sum_s: float) -> float:
        """Seconds end to end."""
        return self.a_s + self.b_s * kernels + self.c * sum_s


@dataclass
class Profile:
    """A pair of devices as `Costs`: kernels, copies, contention, whole networks, and power.

    Attributes
    ----------
    devices : dict of str to LatencyModel
        ``cpu`` and ``gpu``.
    upload, download, host_copy : Link
        See `Costs`; the download carries what a meeting costs beyond its copies. On memory that both devices share,
        copies cost nothing per byte.
    enqueue_s : float
        What the CPU spends on handing one kernel to the GPU.
    contention : dict of str to float
        How many times as long a device takes while the other works, too.
    networks : dict of str to NetworkCorrection
    power : Power or None
    error : dict of str to float
        By how much sums of each device's kernels are off, of networks that the model was not fitted to.
    plan_factor : float
        How many times longer plans with chains took than predicted, where plans were verified (see `plan_records`).
    description : str
        Devices and targets it was measured on.
    targets, names : dict of str to str
        Per device its TVM target, and what it is: model and, of a CPU, number of threads.
    """

    devices: dict[str, LatencyModel]
    upload: Link = _DEFAULT_LINK
    download: Link = _DEFAULT_LINK
    host_copy: Link = _DEFAULT_HOST_COPY
    enqueue_s: float = 0.0
    contention: dict[str, float] = field(default_factory=lambda: dict.fromkeys(DEVICES, 1.0))
    networks: dict[str, NetworkCorrection] = field(default_factory=dict)
    power: Power | None = None
    error: dict[str, float] = field(default_factory=dict)
    plan_factor: float = 1.0
    description: str = ""
    targets: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for device, model in self.devices.items():
            for part in (model, getattr(model, "base_", None)):
                if isinstance(part, AnalyticModel):
                    part.device = device

    @staticmethod
    def fit(samples: Samples, boosted: bool = False, description: str = "", max_bytes: int = 4096) -> Profile:
        """Everything that the samples tell.

        Parameters
        ----------
        samples : Samples
        boosted : bool
            Add boosted residuals, at tens of kilobytes a device.
        description : str
            What plans say of the profile; made from the header if empty.
        max_bytes : int
            Largest size of each device's model.

        Raises
        ------
        CoExecError
            When a device has no usable sample.
        """
        profile = Profile({}, description=description or _describe(samples), **_devices(samples))
        for device in DEVICES:
            workloads, seconds = _arrays(samples, device)

            def make(work_groups: bool = device == "gpu" and runs_on_cpu_cores(profile.names["gpu"])) -> LatencyModel:
                if boosted:
                    return BoostedModel(fallback=True, work_groups=work_groups)
                return AnalyticModel(max_bytes, fallback=True, work_groups=work_groups)

            profile.devices[device] = make().fit(workloads, seconds)
            profile.error[device] = _error(make, samples.of(device), workloads, seconds)
        return profile._around(samples)

    def transferred(self, samples: Samples) -> Profile:
        """This profile moved to the device that a few samples are of."""
        return self._moved(samples, transferred, _describe(samples) + ", from another device's profile")

    def refined(self, samples: Samples) -> Profile:
        """This profile with newer samples of the same devices taken in."""
        return self._moved(samples, refined, self.description)

    def other_devices(self, samples: Samples) -> str:
        """In what the samples' devices and targets differ from the profile's; empty where they are the same."""
        if not samples.header.get("devices"):
            return ""
        other = _devices(samples)
        theirs = {"target": other["targets"], "device": other["names"]}
        return difference({"target": self.targets, "device": self.names}, theirs)

    def _moved(self, samples: Samples, move, description: str) -> Profile:
        models = {}
        for device, model in self.devices.items():
            if not isinstance(model, AnalyticModel):
                raise CoExecError(f"a profile with a '{model.name}' model can't be moved or refined; fit it anew")
            models[device] = move(model, *_arrays(samples, device)) if samples.of(device) else model
        return replace(self, devices=models, description=description, **_devices(samples))._around(samples)

    def _around(self, samples: Samples) -> Profile:
        """The rest that samples tell: links, contention, networks, plans."""
        made = replace(self, contention=dict(self.contention), networks=dict(self.networks))
        for name in _LINKS:
            copies = [c for c in samples.links if c["link"] == name]
            if copies:
                setattr(made, name, _fit_link(copies))
        if samples.enqueues:
            made.enqueue_s = float(rounded(np.array([np.median(samples.enqueues)]))[0])
        if samples.meetings:  # in a meeting one kernel is enqueued, which is counted on its own
            link, meeting = made.download, float(np.median(samples.meetings)) - made.enqueue_s
            made.download = Link(*rounded(np.array([link.constant_s + max(0.0, meeting), link.per_byte_s])))
        for device in DEVICES:
            pairs = [c for c in samples.contention if c["device"] == device]
            if pairs:
                ratios = np.array([c["together_s"] / c["alone_s"] for c in pairs])
                made.contention[device] = max(1.0, float(rounded(np.array([np.median(ratios)]))[0]))
            whole = [n for n in samples.networks if n["device"] == device and n["sum_s"] > 0]
            if whole:
                columns = [[n[key] for n in whole] for key in ("kernels", "sum_s", "seconds")]
                made.networks[device] = NetworkCorrection.fit(*columns)
        factor = plan_factor(samples.plans)
        if factor is not None:
            made.plan_factor = float(rounded(np.array([factor]))[0])
        return made

    def whole_s(self, device: Device, kernel: Kernel) -> float:
        """See `Costs.whole_s`: as part of a network, the executor's own time for a kernel included."""
        if kernel.is_free:
            return 0.0
        return float(self._in_network(device, self.devices[device].predict(describe(kernel, device)))[0])

    def whole_of_many(self, device: Device, kernels: Sequence[Kernel]) -> np.ndarray:
        """`whole_s` of many kernels at once, shape (n,)."""
        seconds, at = np.zeros(len(kernels)), [i for i, k in enumerate(kernels) if not k.is_free]
        if at:
            predicted = self.devices[device].predict([describe(kernels[i], device) for i in at])
            seconds[at] = self._in_network(device, predicted)
        return seconds

    def shares_s(self, device: Device, kernel: Kernel, dim: int, ranges: Sequence[Range]) -> np.ndarray:
        """See `Costs.shares_s`; a larger share never takes less time, unless its blocks are better ones."""
        rows = np.asarray(ranges, float).reshape(-1, 2)
        seconds, some = np.zeros(len(rows)), rows[:, 1] > rows[:, 0]
        if some.any():
            seconds[some] = self.shares_of_many(device, [(kernel, dim, rows[some])])[0]
        return seconds

    def shares_of_many(self, device: Device, requests: Sequence[tuple[Kernel, int, np.ndarray]]) -> list[np.ndarray]:
        """`shares_s` of many kernels at once, class by class: what a planner asks for a whole network.

        Parameters
        ----------
        device : {"cpu", "gpu"}
        requests : sequence of (Kernel, int, array)
            Kernel, dimension, and ranges of shape (n, 2), none of them empty.

        Returns
        -------
        list of array
            Seconds, of shape (n,) each.
        """
        found: list[np.ndarray] = [np.zeros(len(rows)) for _, _, rows in requests]
        whole: dict[int, Workload] = {}
        by_class: dict[str, list[tuple[int, Workload]]] = {}
        for number, (kernel, dim, rows) in enumerate(requests):
            if kernel.is_free:
                continue
            if id(kernel) not in whole:
                whole[id(kernel)] = describe(kernel, device)
            shares = describe_shares(kernel, device, dim, rows, whole[id(kernel)])
            by_class.setdefault(shares.key, []).append((number, shares))
        for members in by_class.values():
            together = stack([w for _, w in members])
            sizes = [w.size for _, w in members]
            seconds = np.array(self.devices[device].predict(together), float)
            never_faster(together, seconds, np.repeat(np.arange(len(sizes)), sizes))
            parts = np.split(self._in_network(device, seconds), np.cumsum(sizes)[:-1])
            for (number, _), part in zip(members, parts, strict=True):
                found[number] = part
        return found

    def _in_network(self, device: Device, seconds: np.ndarray) -> np.ndarray:
        correction = self.networks.get(device)
        return seconds if correction is None else correction.b_s + correction.c * seconds

    def slowdown(self, device: Device) -> float:
        """See `Costs.slowdown`."""
        return self.contention.get(device, 1.0)

    def network_s(self, device: Device, graph: KernelGraph) -> float:
        """Seconds of a whole network on one device."""
        constant = self.networks[device].a_s if device in self.networks else 0.0
        return constant + sum(self.whole_s(device, k) for k in graph.kernels)

    def busy_s(self, device: Device, graph: KernelGraph) -> dict[str, float]:
        """Seconds that a device computes for a whole network, by device and kernel class (see `Reading.busy_s`)."""
        busy: dict[str, float] = {}
        for k in graph.kernels:
            name = f"{device}/{describe(k, device).kind}"
            busy[name] = busy.get(name, 0.0) + self.whole_s(device, k)
        return busy

    def energy_j(self, seconds: float, busy_s: Busy) -> float:
        """Joules of a run; `CoExecError` when the profile has no power (see `Power.energy_j`)."""
        if self.power is None:
            raise CoExecError("the profile has no power; fit one with Power.fit from meter readings and add it")
        return self.power.energy_j(seconds, busy_s)

    def to_json(self) -> str:
        """The whole profile, a line for each part."""
        d: dict[str, Any] = {"version": VERSION, "kind": "profile", "description": self.description}
        d |= {"targets": self.targets, "names": self.names, "error": self.error, "contention": self.contention}
        d["links"] = {n: [getattr(self, n).constant_s, getattr(self, n).per_byte_s] for n in _LINKS}
        d |= {"enqueue": self.enqueue_s} if self.enqueue_s else {}
        d["networks"] = {n: [c.a_s, c.b_s, c.c] for n, c in self.networks.items()}
        d["power"] = self.power.to_json() if self.power else None
        d |= {"plans": self.plan_factor} if self.plan_factor != 1.0 else {}
        d["devices"] = {n: json.loads(m.to_json()) for n, m in self.devices.items()}
        parts = [f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in d.items()]
        return "{" + ",\n".join(parts) + "}\n"

    def save(self, path: str | os.PathLike) -> None:
        """Write the profile; the file is replaced as a whole or not at all."""
        write_atomically(os.fspath(path), self.to_json())

    @staticmethod
    def load(path: str | os.PathLike) -> Profile:
        """Read what `save` wrote.

        Raises
        ------
        CoExecError
            Naming the file, when it can't be read or is damaged.
        """
        d = read_json(path, "profile", "profile")
        try:
            return Profile(
                devices={n: model_from_json(d["devices"][n]) for n in DEVICES},
                **{n: Link(*map(float, d["links"][n])) for n in _LINKS},
                enqueue_s=float(d.get("enqueue", 0.0)),
                contention={n: float(d["contention"][n]) for n in DEVICES},
                networks={str(n): NetworkCorrection(*map(float, v)) for n, v in d["networks"].items()},
                power=Power.from_json(d["power"]) if d["power"] else None,
                error={str(n): float(v) for n, v in d["error"].items()},
                plan_factor=_factor(d.get("plans", 1.0)),
                description=str(d["description"]),
                targets={str(n): str(v) for n, v in d["targets"].items()},
                names={str(n): str(v) for n, v in d["names"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise CoExecError(f"profile {os.fspath(path)} is damaged ({damage(err)}); fit it again") from None


def load_costs(path: str | os.PathLike) -> Costs:
    """The costs in a file: a `Profile`, or the `MeasuredCosts` of one model.

    Raises
    ------
    CoExecError
        Naming the file, when it can't be read, is neither, or is damaged.
    """
    path = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as f:
            is_profile = json.load(f).get("kind") == "profile"
    except (OSError, ValueError, AttributeError):
        is_profile = False  # the other reader says what is wrong
    return Profile.load(path) if is_profile else MeasuredCosts.load(path)


def _arrays(samples: Samples, device: str) -> tuple[list[Workload], np.ndarray]:
    usable = samples.of(device)
    if not usable:
        raise CoExecError(f"there is no measured kernel of the {device} among the samples; measure some")
    return [s.workload for s in usable], np.array([s.seconds for s in usable])


def _error(make, samples: list[Sample], workloads: list[Workload], seconds: np.ndarray) -> float:
    """By how much sums of times are off, of kernels that a model was not fitted to.

    Plans are sums over a network. So each network is left out in turn, and what the model makes of all of its kernels
    together is held against what they took. With fewer than three of them, a fifth of the kernels is left out instead,
    all shares of one together. The error is the median, over networks or kernels.
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
        model = make().fit([workloads[i] for i in inside], seconds[inside])
        for part in (model, getattr(model, "base_", None)):
            if isinstance(part, AnalyticModel):  # that a class is left out is no news here
                part.quiet()
        predicted = model.predict([workloads[i] for i in out])
        if by_network:
            missed.append(abs(predicted.sum() / seconds[out].sum() - 1))
        else:
            missed += np.abs(predicted / seconds[out] - 1).tolist()
    if not missed:
        return 0.0
    return float(rounded(np.array([np.median(missed)]), 3)[0])


def _factor(value: Any) -> float:
    factor = float(value)
    if not 0.0 < factor < float("inf"):
        raise ValueError(f"plans {value}")
    return factor


def _fit_link(copies: list[dict[str, Any]]) -> Link:
    nbytes = np.array([c["bytes"] for c in copies], float)
    seconds = np.array([c["seconds"] for c in copies], float)
    constant, slope = rounded(non_negative_sum(np.stack([np.ones_like(nbytes), nbytes], 1), seconds))
    return Link(max(constant, 1e-7), slope)


def difference(a: dict[str, dict[str, str]], b: dict[str, dict[str, str]]) -> str:
    """The first of what two pairs of devices are told to be that is not the same; what is not told is no difference."""
    for what, by_device in a.items():
        for device, text in by_device.items():
            other = b.get(what, {}).get(device, "")
            if text and other and text != other:
                return f"{device} {what} '{text}', not '{other}'"
    return ""


def _devices(samples: Samples) -> dict[str, dict[str, str]]:
    """Targets and names of the devices."""
    devices = samples.header.get("devices") or {}
    of = {n: devices.get(n) or {} for n in DEVICES}
    names = {n: device_name(str(d.get("name", "")), str(d.get("threads") or "")) for n, d in of.items()}
    return {"targets": {n: str(d.get("target", "")) for n, d in of.items()}, "names": names}


def device_name(name: str, threads: str = "") -> str:
    """What a device is called in profiles: its model and, of a CPU, how many threads TVM's code runs on."""
    return f"{name}, threads: {threads}" if threads else name


def runs_on_cpu_cores(name: str) -> bool:
    """Whether an OpenCL device is made of CPU cores, by how pocl and Intel's runtime call theirs."""
    return name.startswith(("pthread", "basic", "cpu")) or "CPU" in name


def _describe(samples: Samples) -> str:
    found = _devices(samples)
    names = [f"{n}: {found['targets'][n] or '?'} on {found['names'][n] or '?'}" for n in DEVICES]
    return f"fitted to {len(samples.usable)} measured kernels; " + "; ".join(names)
