"""Profiles: the fitted coefficients of a pair of devices, as frozen data and as a JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tvm_coexec.core.devices import parse_runtime
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import damage, read_json, write_atomically

from .co_run import CoRun
from .costs import DEFAULT_HOST_COPY, DEFAULT_LINK, Link, UnifiedMemory, parse_seconds
from .dataset import DEVICES
from .device_parameters import DeviceParameters, parse_parameters
from .models.base import LatencyModel
from .models.registry import model_from_json
from .models.saved import VERSION
from .power import Power
from .profile_costs import NetworkCorrection, ProfileCosts
from .provenance import Provenance

CROSSING = ("upload", "download")
LINKS = (*CROSSING, "host_copy")


@dataclass(frozen=True)
class Profile(ProfileCosts):
    """Costs of a pair of devices: kernels, copies, co-run slowdown, whole networks and power.

    `fit_profile` fits one to a dataset; `dataclasses.replace` changes one.

    Attributes
    ----------
    devices : mapping of str to LatencyModel
        ``cpu`` and ``gpu``.
    upload, download, host_copy : Link
        See `Costs`. On memory that both devices share, copies cost nothing per byte.
    sync_s, enqueue_s : float
        See `Costs`. Older profiles include `sync_s` in the constant of the download, which has the same effect.
    contention : mapping of str to CoRun
        Co-run slowdown by device: how many times as long it takes while the other one works, too.
    unified : UnifiedMemory or None
        See `Costs`; measured where this package's runtime shares or maps the devices' memory.
    networks : mapping of str to NetworkCorrection
    power : Power or None
    error : mapping of str to float
        Relative error of sums over networks, by device, in cross-validation.
    plan_factor : float
        Co-run calibration (see `plan_records.fit_plan_factor`).
    description : str
        Devices and targets of the measurements.
    targets, names : mapping of str to str
        TVM target and name by device. A name is the model and, for a CPU, the number of threads.
    runtime, tvm_links
        See `Costs`.
    provenance : Provenance
        When and with which schedules the samples were measured; empty in profiles of earlier releases.
    parameters : mapping of str to DeviceParameters
        By device; empty in profiles of earlier releases.
    """

    devices: Mapping[str, LatencyModel]
    upload: Link = DEFAULT_LINK
    download: Link = DEFAULT_LINK
    host_copy: Link = DEFAULT_HOST_COPY
    sync_s: float = 0.0
    enqueue_s: float = 0.0
    unified: UnifiedMemory | None = None
    contention: Mapping[str, CoRun] = field(default_factory=lambda: dict.fromkeys(DEVICES, CoRun()))
    networks: Mapping[str, NetworkCorrection] = field(default_factory=dict)
    power: Power | None = None
    error: Mapping[str, float] = field(default_factory=dict)
    plan_factor: float = 1.0
    description: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "own"
    tvm_links: Mapping[str, Link] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    parameters: Mapping[str, DeviceParameters] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the profile as JSON, one line per part."""
        d: dict[str, Any] = {"version": VERSION, "kind": "profile", "description": self.description}
        d |= {"origin": origin} if (origin := self.provenance.to_json()) else {}
        parameters = {n: p.to_json() for n, p in self.parameters.items()}
        d |= {"parameters": parameters} if parameters else {}
        d |= {"targets": self.targets, "names": self.names, "error": self.error}
        d["contention"] = {n: c.to_json() for n, c in self.contention.items()}
        d["links"] = {n: [getattr(self, n).constant_s, getattr(self, n).per_byte_s] for n in LINKS}
        d |= {"runtime": self.runtime} if self.runtime != "own" else {}
        tvm_links = {n: [link.constant_s, link.per_byte_s] for n, link in self.tvm_links.items()}
        d |= {"tvm_links": tvm_links} if tvm_links else {}
        d |= {"sync": self.sync_s} if self.sync_s else {}
        d |= {"enqueue": self.enqueue_s} if self.enqueue_s else {}
        d |= {"unified": u.to_json()} if (u := self.unified) else {}
        d["networks"] = {n: [c.a_s, c.b_s, c.c] for n, c in self.networks.items()}
        d["power"] = self.power.to_json() if self.power else None
        d |= {"plans": self.plan_factor} if self.plan_factor != 1.0 else {}
        d["devices"] = {n: json.loads(m.to_json()) for n, m in self.devices.items()}
        parts = [f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in d.items()]
        return "{" + ",\n".join(parts) + "}\n"

    def save(self, path: str | os.PathLike) -> None:
        """Write the profile; the file is replaced atomically."""
        write_atomically(os.fspath(path), self.to_json())

    @staticmethod
    def load(path: str | os.PathLike) -> Profile:
        """Read a profile.

        Raises
        ------
        CoExecError
            If the file can't be read or is damaged; the text names it.
        """
        return Profile.from_json(read_json(path, "profile", "profile"), os.fspath(path))

    @staticmethod
    def from_json(d: dict[str, Any], source: str = "profile") -> Profile:
        """Read the object of `to_json`; `CoExecError` names the source if it is damaged."""
        try:
            return Profile(
                devices={n: model_from_json(d["devices"][n]).for_device(n) for n in DEVICES},
                **{n: Link.from_json(d["links"][n]) for n in LINKS},
                sync_s=parse_seconds("sync", d.get("sync", 0.0)),
                enqueue_s=parse_seconds("enqueue", d.get("enqueue", 0.0)),
                unified=UnifiedMemory.from_json(d["unified"]) if "unified" in d else None,
                contention={n: CoRun.from_json(d["contention"][n]) for n in DEVICES},
                networks={str(n): NetworkCorrection(*map(float, v)) for n, v in d["networks"].items()},
                power=Power.from_json(d["power"]) if d["power"] else None,
                error={str(n): float(v) for n, v in d["error"].items()},
                plan_factor=_parse_factor(d.get("plans", 1.0)),
                description=str(d["description"]),
                targets={str(n): str(v) for n, v in d["targets"].items()},
                names={str(n): str(v) for n, v in d["names"].items()},
                runtime=parse_runtime(d.get("runtime", "own")),
                tvm_links={n: Link.from_json(d["tvm_links"][n]) for n in CROSSING if "tvm_links" in d},
                provenance=Provenance.from_json(d.get("origin", {})),
                parameters=parse_parameters(d.get("parameters", {})),
            )
        except (CoExecError, KeyError, TypeError, ValueError, AttributeError) as err:
            raise CoExecError(f"profile {source} is damaged ({damage(err)}); fit it again") from None


def _parse_factor(value: Any) -> float:
    factor = float(value)
    if not 0.0 < factor < float("inf"):
        raise ValueError(f"plans {value}")
    return factor
