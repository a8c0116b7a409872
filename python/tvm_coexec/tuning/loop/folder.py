"""The folder of a run: what it is of, and the state from which a run continues. Its results are in `results`."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import read_json, write_atomically
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.cost_models import Costs, MeasuredCosts, Profile, TunedCosts, load_costs
from tvm_coexec.cost_models.measured import UNUSABLE_S, WHOLE
from tvm_coexec.cost_models.shipped import FILE as PROFILE
from tvm_coexec.targets import target_text

logger = logging.getLogger("tvm_coexec")

KIND = "tuned"
STATE = "state"
_HEAD = "folder.json"
_FAILED = "failed.json"
DEVICES = ("cpu", "gpu")


@dataclass(frozen=True)
class Identity:
    """What a folder is of.

    Attributes
    ----------
    model : str
        Fingerprint of the kernel graph.
    targets : dict of str to str
        Text of the target by device.
    """

    model: str
    targets: Mapping[str, str]

    @staticmethod
    def of(model: str, targets: Sequence[Target]) -> Identity:
        """Return the identity of a kernel graph's fingerprint and two targets."""
        return Identity(model, {d: target_text(t) for d, t in zip(DEVICES, targets, strict=True)})

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"version": 1, "kind": KIND, "model": self.model, "targets": dict(self.targets)}

    @staticmethod
    def load(path: Path) -> tuple[Identity, dict[str, Any]]:
        """Read the identity at the head of a file, and the rest of it; `CoExecError` names a damaged file."""
        d = read_json(path, KIND, "summary")
        try:
            targets = {name: str(d["targets"][name]) for name in DEVICES}
            return Identity(str(d["model"]), targets), d
        except (KeyError, TypeError) as err:
            raise CoExecError(f"{path} is damaged (it lacks {err}); tune into another folder") from None

    def check(self, now: Identity, folder: str) -> None:
        """Raise `CoExecError` if a folder is of another model, or of other targets."""
        if self.model != now.model:
            raise CoExecError(other_model(folder, self.model, now.model))
        check_targets(self.targets, now.targets, folder)


def other_model(folder: str, there: str, here: str = "") -> str:
    """Return the message for a folder of another model."""
    this = f"{here} here" if here else "this one is another"
    return (
        f"{folder} was tuned for another model, or other shapes of its inputs (kernel graph {there}, {this}): give its "
        "own model, or another folder"
    )


def check_targets(there: Mapping[str, str], here: Mapping[str, str], folder: str) -> None:
    """Raise `CoExecError` if targets differ."""
    for device in DEVICES:
        if there[device] != here[device]:
            raise CoExecError(
                f"{folder} was tuned for another {device} ('{there[device]}', now it is '{here[device]}'): give that "
                "target, or another folder"
            )


class Folder:
    """A folder that a run writes; opened by `open_folder`.

    Attributes
    ----------
    path : Path
    trials_path : Path
        AutoTVM's log of all trials.
    journal : Journal
        Kernels that were checked and timed.
    """

    def __init__(self, path: Path):
        self.path, self.state = path, path / STATE
        self.trials_path = self.state / "trials.log"
        self.journal = Journal(self.state / "kernels.jsonl")

    def __truediv__(self, name: str) -> str:
        return str(self.path / name)

    def load_costs(self) -> Costs | None:
        """Return the costs that the first run in the folder started with; `None` if there was none."""
        path = self.state / PROFILE
        if not path.exists():
            return None
        costs = load_costs(path)
        if isinstance(costs, MeasuredCosts):
            for device, signature in json.loads((self.state / _FAILED).read_text(encoding="utf-8")):
                costs.add(device, signature, WHOLE, 0, UNUSABLE_S)
        return costs

    def save_costs(self, costs: Costs, graph: KernelGraph) -> None:
        """Keep the costs that the run starts with; `CoExecError` for a class that has no file."""
        if not isinstance(costs, (Profile, MeasuredCosts, TunedCosts)):
            raise CoExecError(
                f"profile: costs of the class {type(costs).__name__} can't be written to a file, which tuning needs to "
                "continue: give a profile"
            )
        # files of measured costs leave out what failed, because another release may run it
        failed = sorted({(d, k.signature()) for d in DEVICES for k in graph.kernels if costs.has_failed(d, k)})
        write_atomically(str(self.state / _FAILED), json.dumps(failed) + "\n")
        costs.save(str(self.state / PROFILE))


@contextmanager
def open_folder(path: str, identity: Identity, settings: Mapping[str, Any]) -> Iterator[Folder]:
    """Create a folder, or continue in one, and keep other runs out of it.

    Parameters
    ----------
    path : str
    identity : Identity
    settings : mapping
        Options that the sequence of trials depends on.

    Raises
    ------
    CoExecError
        If the folder is not one of this function, is of another model, of other targets or other settings, is in use,
        or can't be written.
    """
    where = Path(path)
    head = where / STATE / _HEAD
    check_free(path)
    try:
        head.parent.mkdir(parents=True, exist_ok=True)
        lock = open(head.parent / "lock", "w", encoding="utf-8")  # noqa: SIM115 (held until the end)
    except OSError as err:
        raise CoExecError(f"can't write {path}: {err.strerror}; choose another folder") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CoExecError(f"another process is tuning into {path}: wait for it, or give another folder") from None
        if head.exists():
            found, d = Identity.load(head)
            found.check(identity, path)
            _check_settings(path, d.get("settings", {}), settings)
        else:
            text = json.dumps(identity.to_json() | {"settings": dict(settings)}, indent=1)
            write_atomically(str(head), text + "\n")
        folder = Folder(where)
        for log in (folder.trials_path, folder.journal.path):
            repair_lines(log)
        folder.journal.read()
        yield folder


def check_free(path: str) -> None:
    """Raise `CoExecError` if a path is neither free, nor an empty folder, nor the folder of a run."""
    where = Path(path)
    if where.exists() and not where.is_dir():
        raise CoExecError(f"{path} is a file: give a folder for the results of tuning")
    if where.is_dir() and any(where.iterdir()) and not (where / STATE / _HEAD).exists():
        first = min(p.name for p in where.iterdir())
        only_lock = first == STATE and not any(p.name != "lock" for p in (where / STATE).iterdir())
        if not only_lock:  # else a run was interrupted before its first step
            raise CoExecError(f"{path} is not a folder of tuning (it has {first}): give a new or an empty folder")


def _check_settings(path: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise CoExecError(
                f"{path} was started with other options ({name} {before.get(name)}, now {now.get(name)}): repeat "
                "them to continue, or give another folder"
            )


def repair_lines(path: Path) -> None:
    """Complete or drop the last line of a file of JSON lines, if writing it was interrupted."""
    if not path.exists():
        return
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return
    last = data.rpartition(b"\n")[2]
    try:
        json.loads(last)
    except ValueError:
        logger.warning("%s: the last line is incomplete (a run was interrupted) and is left out", path)
        os.truncate(path, len(data) - len(last))
    else:
        with open(path, "ab") as file:
            file.write(b"\n")


def has_run(path: Path) -> bool:
    """Return whether a run has started in a folder."""
    return (path / STATE / _HEAD).exists()


class Journal:
    """A file of JSON lines, each of them what was found for a key.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[str, dict[str, Any]] = {}
        self._file: IO[str] | None = None

    def read(self) -> None:
        """Read the file; `CoExecError` names a damaged line."""
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                d = json.loads(line)
                self.found[str(d["key"])] = d
            except (ValueError, KeyError, TypeError):
                raise CoExecError(
                    f"line {number} of {self.path} is damaged: remove the line, its kernel is measured again"
                ) from None

    def write(self, key: str, **values: Any) -> dict[str, Any]:
        """Append a line, and return its object."""
        if self._file is None:
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (held until close)
        d = {"key": key, **values}
        self._file.write(json.dumps(d) + "\n")
        self._file.flush()
        self.found[key] = d
        return d

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
