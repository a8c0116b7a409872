"""Energy counters of the kernel's power capping framework: RAPL of Intel and AMD processors, and counters like it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tvm_coexec.core.errors import CoExecError

from .board_files import BoardFiles, find_number, read_number
from .gauges import Gauge, Raw

FOLDER = "/sys/class/powercap"
# A zone's name is its control type and numbers, as in intel-rapl:0:2. The same processor may have its registers in
# memory as well (intel-rapl-mmio).
_ZONE = re.compile(r"^(?P<type>[\w-]+):(?P<package>\d+)(?P<part>:\d+)?$")
_ALIAS = "-mmio"
# Within a package are the cores and the GPU of the processor; memory is not.
_APART = "dram"
_PLATFORM = "psys"
_MICRO = 1e-6


@dataclass(frozen=True)
class Zone:
    """A counter.

    Attributes
    ----------
    path : str
        Of its folder.
    name : str
        Such as ``package-0``.
    range_uj : int
        Value after which it starts again at 0; 0 if unknown.
    """

    path: str
    name: str
    range_uj: int

    @property
    def counter(self) -> str:
        """Path of the counter."""
        return f"{self.path}/energy_uj"


class Rapl(Gauge):
    """Sum of the counters of all packages and their memory.

    Parameters
    ----------
    files : BoardFiles
    zones : tuple of Zone
    """

    settle_s, least_s, most_s, changes = 0.3, 2.0, 20.0, 5

    def __init__(self, files: BoardFiles, zones: tuple[Zone, ...]):
        self._files, self.zones = files, zones
        self.name = f"RAPL ({', '.join(z.name for z in zones)})"

    @staticmethod
    def find(files: BoardFiles, root: str) -> Rapl | None:
        """Return the machine's; `None` if it has none, `CoExecError` if the counters can't be read."""
        zones: list[Zone] = []
        platform: list[Zone] = []
        for name in files.list(root + FOLDER):
            match = _ZONE.match(name)
            if match is None or match["type"].endswith(_ALIAS):
                continue
            path = f"{root}{FOLDER}/{name}"
            try:
                label = files.read(f"{path}/name")
            except OSError:
                continue
            if "energy_uj" not in files.list(path):
                continue
            if match["part"] is not None and label != _APART:
                continue
            if match["part"] is not None:
                label = f"{label} of package {match['package']}"
            zone = Zone(path, label, find_number(files, f"{path}/max_energy_range_uj") or 0)
            (platform if label == _PLATFORM else zones).append(zone)
        # psys counts what the packages count and more, where the board is wired for it, which nothing tells
        found = Rapl(files, tuple(zones or platform))
        if not found.zones:
            return None
        found.read()
        return found

    def read(self) -> Raw:
        """See `Gauge.read`: microjoules of each zone."""
        return tuple(float(self._read(zone)) for zone in self.zones)

    def _read(self, zone: Zone) -> int:
        try:
            return read_number(self._files, zone.counter)
        except (OSError, ValueError) as err:
            why = getattr(err, "strerror", None) or str(err)
            raise CoExecError(
                f"{zone.counter}: {why}; run as root, or let all users read it: sudo chmod a+r {FOLDER}/*/energy_uj"
            ) from None

    def joules(self, before: Raw, after: Raw, seconds: float) -> float:
        """See `Gauge.joules`; a counter may have started again at 0 once."""
        total_uj = 0.0
        for zone, b, a in zip(self.zones, before, after, strict=True):
            if a < b and not zone.range_uj:
                raise CoExecError(f"{zone.counter} went down, and nothing tells its range; run the command again")
            total_uj += a - b + (zone.range_uj if a < b else 0)
        return _MICRO * total_uj
