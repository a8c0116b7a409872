"""Gauges of batteries: power, current, or what is left of energy or charge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from tvm_coexec.core.errors import CoExecError

from .board_files import BoardFiles, find_number, read_number
from .gauges import Gauge, Raw

FOLDER = "/sys/class/power_supply"
DISCHARGING = "Discharging"
_MICRO = 1e-6
_J_PER_WH = 3600.0
# Kinds of readings, the finest first: files, and whether they are of power or of what is left. Energy and charge change
# in steps of some 10 mWh.
_KINDS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("power_now",), True),
    (("current_now", "voltage_now"), True),
    (("energy_now",), False),
    (("charge_now", "voltage_now"), False),
    (("charge_counter", "voltage_now"), False),
)


@dataclass(frozen=True)
class Cell:
    """A battery, and which of its files tell the energy.

    Attributes
    ----------
    path : str
        Of its folder.
    files : tuple of str
        One of a quantity, or two whose product is it.
    is_power : bool
        Whether the product is power; otherwise it is the energy left.
    """

    path: str
    files: tuple[str, ...]
    is_power: bool

    @property
    def name(self) -> str:
        """Name of the battery and its files."""
        return f"{self.path.rsplit('/', 1)[-1]}: {' x '.join(self.files)}"

    def convert(self, values: Iterable[float]) -> float:
        """Return watts, or the joules left. Files are in millionths: of watts, amperes and volts, or of these hours."""
        product = 1.0
        for v in values:
            product *= _MICRO * v
        # current is negative while discharging, by some drivers
        return abs(product) if self.is_power else _J_PER_WH * product


class Battery(Gauge):
    """Sum of the batteries that power the machine, while none is charged.

    Parameters
    ----------
    files : BoardFiles
    cells : tuple of Cell
    """

    settle_s = 5.0

    def __init__(self, files: BoardFiles, cells: tuple[Cell, ...]):
        self._files, self.cells = files, cells
        self.name = f"battery ({', '.join(c.name for c in cells)})"
        is_power = all(c.is_power for c in cells)
        # Fuel gauges show new values every 0.25 to 30 s; a step of 10 mWh is 36 J.
        self.least_s, self.most_s = (10.0, 60.0) if is_power else (30.0, 300.0)
        self.changes = 10 if is_power else 5

    @staticmethod
    def find(files: BoardFiles, root: str) -> Battery | None:
        """Return the machine's; `None` if it has none, `CoExecError` if the battery tells nothing or is charged."""
        cells, silent = [], []
        for name in files.list(root + FOLDER):
            path = f"{root}{FOLDER}/{name}"
            if _read_text(files, f"{path}/type") != "Battery" or _read_text(files, f"{path}/scope") == "Device":
                continue  # a charger, or the battery of a mouse
            if find_number(files, f"{path}/present") == 0:
                continue
            for names, is_power in _KINDS:
                values = [find_number(files, f"{path}/{n}") for n in names]
                if None not in values and (any(values) or not is_power):
                    cells.append(Cell(path, names, is_power))
                    break
            else:
                silent.append(path)
        if not cells and silent:
            known = ", ".join(names[0] for names, _ in _KINDS)
            raise CoExecError(
                f"{silent[0]} has none of {known} with a value; give readings of a power meter to `coexec fit --meter`"
            )
        found = Battery(files, tuple(cells))
        if not found.cells:
            return None
        found.read()
        return found

    def read(self) -> Raw:
        """See `Gauge.read`: for each battery watts, or the joules left."""
        states = {c: _read_text(self._files, f"{c.path}/status") for c in self.cells}
        wrong = {c: s for c, s in states.items() if s != DISCHARGING}
        # of two batteries one is used at a time, and the other one is idle; a charger charges one or holds both
        if len(wrong) == len(states) or any(s == "Charging" for s in states.values()):
            cell, state = next(iter(wrong.items()))
            raise CoExecError(
                f"the battery {cell.path} is not discharging (its status is '{state}'), so it does not show what the "
                "machine uses: unplug the charger, and run the same command again"
            )
        try:
            return tuple(
                cell.convert(float(read_number(self._files, f"{cell.path}/{n}")) for n in cell.files)
                for cell in self.cells
            )
        except (OSError, ValueError) as err:
            why = getattr(err, "strerror", None) or str(err)
            raise CoExecError(f"{self.name} can't be read: {why}; run the same command again") from None

    def joules(self, before: Raw, after: Raw, seconds: float) -> float:
        """See `Gauge.joules`; power is taken to change linearly between readings."""
        return sum(
            seconds * fmean((b, a)) if cell.is_power else b - a
            for cell, b, a in zip(self.cells, before, after, strict=True)
        )


def _read_text(files: BoardFiles, path: str) -> str:
    try:
        return files.read(path)
    except OSError:
        return ""
