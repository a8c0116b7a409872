"""Find the gauge by which a machine tells what energy it uses."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tvm_coexec.core.errors import CoExecError

from .board_files import BoardFiles

Raw = tuple[float, ...]  # the numbers of one reading, in units of the gauge's own


class Gauge(ABC):
    """A gauge of the energy that a machine uses.

    Attributes
    ----------
    name : str
        Kind and parts, for people.
    settle_s : float
        Time for which a state has to last before the gauge shows it.
    least_s, most_s : float
        Shortest and longest duration of a reading.
    changes : int
        Number of times that the gauge must change during a reading.
    """

    name: str
    settle_s: float
    least_s: float
    most_s: float
    changes: int

    @abstractmethod
    def read(self) -> Raw:
        """Read the gauge; `CoExecError` if it can't be read, or no longer shows the energy used."""

    @abstractmethod
    def joules(self, before: Raw, after: Raw, seconds: float) -> float:
        """Return the energy between two readings, which are `seconds` apart."""


def find_gauge(files: BoardFiles, root: str = "/", where: str = "this machine") -> Gauge:
    """Find the best gauge: RAPL, which has the finer resolution, or else a battery that is discharging.

    Parameters
    ----------
    files : BoardFiles
    root : str
        Folder of ``sys``.
    where : str
        The machine, for error messages.

    Raises
    ------
    CoExecError
        If there is none, or none that can be used; the text states what to do.
    """
    from .battery import Battery
    from .rapl import Rapl

    refused = []
    for kind in (Rapl, Battery):
        try:
            found = kind.find(files, root.rstrip("/"))
        except CoExecError as err:
            refused.append(str(err))
            continue
        if found is not None:
            return found
    if refused:
        raise CoExecError(f"the energy of {where} can't be read: {refused[0]}")
    raise CoExecError(
        f"{where} has no gauge of its energy: there is neither a counter in /sys/class/powercap nor a battery in "
        "/sys/class/power_supply; leave out --energy, or give readings of a power meter to `coexec fit --meter`"
    )
