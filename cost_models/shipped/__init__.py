"""Profiles that come with the package, and which of them fits devices and targets.

Each is a JSON file that ``coexec fit`` has made. ``test_bed`` is of one core of a server and of pocl on another;
``generic`` stands for a board whose CPU and GPU are of similar speed, where nothing better is known.
"""

from __future__ import annotations

from pathlib import Path

from tvm_coexec.core.errors import CoExecError

from .. import Profile

FOLDER = Path(__file__).parent
GENERIC = "generic"


def names() -> list[str]:
    """Names of the profiles."""
    return sorted(p.stem for p in FOLDER.glob("*.json"))


def path_of(name: str) -> Path | None:
    """The file of a profile by its name, `None` when there is no such profile."""
    path = FOLDER / f"{name}.json"
    return path if name in names() else None


def find(name: str, also: tuple[str, ...] = ()) -> Path:
    """The file of a profile by its path or its name.

    Parameters
    ----------
    name : str
    also : tuple of str
        Other words that the error should offer.

    Raises
    ------
    CoExecError
        When there is neither.
    """
    found = Path(name) if Path(name).exists() else path_of(name)
    if found is None:
        known = ", ".join((*also, *names()))
        raise CoExecError(f"there is no profile {name}: give a file of `coexec fit`, or one of {known}")
    return found


def matching(targets: dict[str, str], devices: dict[str, str]) -> tuple[str, Profile] | None:
    """The profile that was measured with these targets on these devices.

    Parameters
    ----------
    targets : dict of str to str
        ``cpu`` and ``gpu`` as texts.
    devices : dict of str to str
        Their names, as in `Profile.names`.

    Returns
    -------
    (str, Profile) or None
        Its name and itself.
    """
    for name in names():
        profile = Profile.load(FOLDER / f"{name}.json")
        if name != GENERIC and profile.targets == targets and profile.names == devices:
            return name, profile
    return None
