"""Profiles that come with the package, and the search for one by name or by devices.

Each is a JSON file that ``coexec fit`` wrote. ``test_bed`` is of one core of a server, and pocl on another core.
``generic`` is for unknown devices: a board whose CPU and GPU have similar speed.
"""

from __future__ import annotations

from pathlib import Path

from tvm_coexec.core.errors import CoExecError

from .. import Profile

FOLDER = Path(__file__).parent
GENERIC = "generic"
FILE = "profile.json"  # of a tuned model, in its folder


def names() -> list[str]:
    """Return the names of the profiles."""
    return sorted(p.stem for p in FOLDER.glob("*.json"))


def path_of(name: str) -> Path | None:
    """Return the file of a profile by name; `None` if there is no such profile."""
    path = FOLDER / f"{name}.json"
    return path if name in names() else None


def find(name: str, also: tuple[str, ...] = ()) -> Path:
    """Return the file of a profile by path or name.

    Parameters
    ----------
    name : str
        File, shipped profile, or folder of `coexec tune`.
    also : tuple of str
        Further allowed words to name in the error.

    Raises
    ------
    CoExecError
        If there is neither a file nor a profile of that name, or a folder has none.
    """
    path = Path(name)
    if path.is_dir():
        if (path / FILE).is_file():
            return path / FILE
        raise CoExecError(f"the folder {name} has no {FILE}: give the folder of a finished `coexec tune`, or a file")
    found = path if path.exists() else path_of(name)
    if found is None:
        known = ", ".join((*also, *names()))
        raise CoExecError(f"there is no profile {name}: give a file of `coexec fit`, or one of {known}")
    return found


def find_matching(targets: dict[str, str], devices: dict[str, str]) -> tuple[str, Profile] | None:
    """Find the profile that was measured with these targets on these devices.

    Parameters
    ----------
    targets : dict of str to str
        Texts of the targets of ``cpu`` and ``gpu``.
    devices : dict of str to str
        Names of the devices, as in `Profile.names`.

    Returns
    -------
    (str, Profile) or None
        Name and profile.
    """
    for name in names():
        profile = Profile.load(FOLDER / f"{name}.json")
        if name != GENERIC and profile.targets == targets and profile.names == devices:
            return name, profile
    return None
