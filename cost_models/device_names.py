"""How profiles name devices and targets, and in what two pairs of devices differ."""

from __future__ import annotations

from collections.abc import Mapping

from .dataset import DEVICES, Samples


def name_device(name: str, threads: str = "") -> str:
    """The name of a device in profiles: its model and, of a CPU, the number of threads that TVM's code runs on."""
    return f"{name}, threads: {threads}" if threads else name


def devices_of(samples: Samples) -> tuple[dict[str, str], dict[str, str]]:
    """Targets and names of the devices in the header of a file of samples, empty texts where it has none."""
    devices = samples.header.get("devices") or {}
    found = {n: devices.get(n) or {} for n in DEVICES}
    targets = {n: str(d.get("target", "")) for n, d in found.items()}
    return targets, {n: name_device(str(d.get("name", "")), str(d.get("threads") or "")) for n, d in found.items()}


def find_difference(a: Mapping[str, Mapping[str, str]], b: Mapping[str, Mapping[str, str]]) -> str:
    """The first property in which two pairs of devices differ, in words; empty where there is none.

    Parameters
    ----------
    a, b : mapping of str to mapping of str to str
        Property by name and device. An empty or missing text is unknown, which is no difference.
    """
    for what, by_device in a.items():
        for device, text in by_device.items():
            other = b.get(what, {}).get(device, "")
            if text and other and text != other:
                return f"{device} {what} '{text}', not '{other}'"
    return ""
