"""Datasets: files of measurements in JSON lines, appended while measuring.

The first line is the header: devices, targets, versions. Every other line is a record with a ``record`` field:
``sample`` (a kernel or share, or the reason why it could not be measured), ``reference``, ``copy``, ``meeting``,
``enqueue``, ``contention``, ``network``, ``energy``, ``points`` or ``plan``. A run that is interrupted leaves at most
an incomplete last line, which readers drop; any other damage is an error that names the line.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from tvm_coexec.core.devices import parse_memory
from tvm_coexec.core.errors import CoExecError

from .energy_records import EnergyRecord
from .features.workload import Workload
from .plan_records import PlanRecord

logger = logging.getLogger("tvm_coexec")

VERSION = 1
KIND = "samples"
DEVICES = ("cpu", "gpu")
LINKS = ("upload", "download", "host_copy")
# Fields of the header that must be equal for measurements to be comparable.
SETTING_KEYS = ("devices", "tvm", "schedules", "runtime")

# Relative spread and reference drift above which a measurement is noisy.
MAX_SPREAD, MAX_DRIFT = 0.2, 1.2

Key = tuple[str, str, int, "tuple[int, int] | None"]


def is_noisy(spread: float, pace: float) -> bool:
    """Whether other load or throttling may have affected a measurement.

    Parameters
    ----------
    spread : float
        Relative spread: median of the repeats over the shortest one, minus 1.
    pace : float
        Reference drift: time of the reference kernel over its shortest time.
    """
    return spread > MAX_SPREAD or pace > MAX_DRIFT


@dataclass(frozen=True)
class Sample:
    """Measurement of a kernel, or of one device's share of it.

    Attributes
    ----------
    device : str
        ``cpu`` or ``gpu``.
    workload : Workload
        Of one kernel: its numbers are scalars.
    seconds : float
        The shortest of the repeats, since other load only adds time. 0 if there is an `error`.
    spread : float
        Relative spread (see `is_noisy`).
    repeats : int
    network : str
        Name of the model; ``designed`` for the designed set of kernels.
    kernel, signature : str
        Name and signature of the kernel (see `Kernel`).
    dim : int
        Output dimension that is split; -1 for a whole kernel and for the reduction.
    rows : (int, int) or None
        Output range of the share (for the reduction: range of input channels); `None` for a whole kernel.
    load : float
        Cores that other processes used meanwhile.
    mhz : float
        Clock of the CPU; 0 if it can't be read.
    pace : float
        Reference drift (see `is_noisy`).
    error : str
        Why it could not be measured; empty if it was.
    board : str
        ``HOST:PORT`` of the RPC server that measured it; empty for the machine itself.
    """

    device: str
    workload: Workload
    seconds: float
    spread: float = 0.0
    repeats: int = 1
    network: str = ""
    kernel: str = ""
    signature: str = ""
    dim: int = -1
    rows: tuple[int, int] | None = None
    load: float = 0.0
    mhz: float = 0.0
    pace: float = 1.0
    error: str = ""
    board: str = ""

    @property
    def key(self) -> Key:
        """Identifies what was measured; equal for repeated measurements."""
        return (self.device, self.signature, self.dim, self.rows)

    @property
    def is_noisy(self) -> bool:
        """Whether the repeats differ, or the reference kernel drifted, by more than the limits."""
        return not self.error and is_noisy(self.spread, self.pace)

    def choose_shorter(self, other: Sample) -> Sample:
        """Return the better of two measurements of the same key: one without an error, else the shorter."""
        if self.error or other.error:
            return other if self.error else self
        return other if other.seconds < self.seconds else self

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        d: dict[str, Any] = {"record": "sample", "device": self.device, "seconds": self.seconds}
        d |= {"spread": round(self.spread, 4), "repeats": self.repeats, "network": self.network, "kernel": self.kernel}
        if self.rows is not None:
            d |= {"dim": self.dim, "rows": list(self.rows)}
        d |= {"load": round(self.load, 2), "mhz": round(self.mhz), "pace": round(self.pace, 3)}
        if self.error:
            d["error"] = self.error
        if self.board:
            d["board"] = self.board
        return d | {"workload": self.workload.to_json(), "signature": self.signature}

    @staticmethod
    def from_json(d: dict[str, Any]) -> Sample:
        """Read the values of `to_json`; raise `CoExecError`, `KeyError`, `TypeError` or `ValueError` for others."""
        if d["device"] not in DEVICES:
            raise ValueError(f"device '{d['device']}'")
        made = Sample(
            device=d["device"],
            workload=Workload.from_json(d["workload"]),
            seconds=float(d["seconds"]),
            spread=float(d.get("spread", 0.0)),
            repeats=int(d.get("repeats", 1)),
            network=str(d.get("network", "")),
            kernel=str(d.get("kernel", "")),
            signature=str(d.get("signature", "")),
            dim=int(d.get("dim", -1)),
            rows=(int(d["rows"][0]), int(d["rows"][1])) if d.get("rows") else None,
            load=float(d.get("load", 0.0)),
            mhz=float(d.get("mhz", 0.0)),
            pace=float(d.get("pace", 1.0)),
            error=str(d.get("error", "")),
            board=str(d.get("board", "")),
        )
        if not made.error and not (made.seconds > 0 and math.isfinite(made.seconds)):
            raise ValueError(f"{made.seconds} seconds")
        return made


@dataclass
class Samples:
    """All records of a dataset.

    Attributes
    ----------
    header : dict
        ``version``, ``kind``, ``devices`` (per device ``target``, ``name`` and, for the CPU, ``threads``), ``tvm``,
        ``schedules`` (a digest), ``runtime`` (``tvm``, if the GPU was used by TVM's own runtime), and other properties
        of the setting.
    samples : list of Sample
        One per key: the shortest of repeated measurements.
    links : list of dict
        Measured copies: ``link`` (``upload``, ``download``, ``host_copy``), ``bytes``, ``seconds``.
    tvm_links : list of dict
        Copies as TVM's own OpenCL runtime makes them, measured in addition.
    references : dict of str to float
        Shortest seconds of the reference kernel, by device.
    round_trips : list of float
        Seconds of a round trip of 4096 bytes through a kernel on an idle GPU, without the kernel's own time.
    unified : list of dict
        The same where this package's runtime shares the devices' memory, from an idle CPU and GPU: ``memory``,
        ``seconds``, and ``start_s``, the part before the GPU starts.
    enqueues : list of float
        Launch overhead in seconds.
    contention : list of dict
        ``device``, ``workload`` (as JSON values), ``alone_s``, ``together_s``, and of the other device ``other``, its
        workload, and ``other_s``, its seconds alone. Files of earlier releases lack the last two.
    networks : list of dict
        ``network``, ``device``, ``kernels`` (count), ``sum_s`` (of its kernels' samples) and ``seconds`` end to end.
    points : list of list of (str, dict of str to int)
        Designed kernels that adaptive sampling has chosen, by rounds: a class, and the extents of the kernel.
    energy : list of EnergyRecord
    plans : list of PlanRecord
        Verified plans, which are in separate files (see `tvm_coexec.measuring.verify`).
    """

    header: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    tvm_links: list[dict[str, Any]] = field(default_factory=list)
    references: dict[str, float] = field(default_factory=dict)
    round_trips: list[float] = field(default_factory=list)
    unified: list[dict[str, Any]] = field(default_factory=list)
    enqueues: list[float] = field(default_factory=list)
    contention: list[dict[str, Any]] = field(default_factory=list)
    networks: list[dict[str, Any]] = field(default_factory=list)
    points: list[list[tuple[str, dict[str, int]]]] = field(default_factory=list)
    energy: list[EnergyRecord] = field(default_factory=list)
    plans: list[PlanRecord] = field(default_factory=list)
    _positions: dict[Key, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def usable(self) -> list[Sample]:
        """Samples without an error."""
        return [s for s in self.samples if not s.error]

    def of(self, device: str) -> list[Sample]:
        """Return a device's samples without an error."""
        return [s for s in self.usable if s.device == device]

    def _merge(self, sample: Sample) -> None:
        at = self._positions.setdefault(sample.key, len(self.samples))
        if at == len(self.samples):
            self.samples.append(sample)
        else:
            self.samples[at] = self.samples[at].choose_shorter(sample)

    def add(self, record: dict[str, Any]) -> None:
        """Add one record; raises the errors of `Sample.from_json`."""
        kind = record["record"]
        if kind == "sample":
            self._merge(Sample.from_json(record))
        elif kind == "copy":
            if record["link"] not in LINKS:
                raise ValueError(f"link '{record['link']}'")
            links = self.tvm_links if record.get("runtime") == "tvm" else self.links
            links.append({"link": record["link"], **_read_numbers(record, "bytes", "seconds")})
        elif kind == "reference":
            device, seconds = str(record["device"]), float(record["seconds"])
            self.references[device] = min(seconds, self.references.get(device, seconds))
        elif kind == "meeting" and "memory" in record:
            memory = parse_memory(record["memory"])
            self.unified.append({"memory": memory, **_read_numbers(record, "seconds", "start_s")})
        elif kind == "meeting":
            self.round_trips.append(float(record["seconds"]))
        elif kind == "enqueue":
            self.enqueues.append(float(record["seconds"]))
        elif kind == "contention":
            Workload.from_json(record["workload"])
            fixed: dict[str, Any] = {"device": str(record["device"]), "workload": record["workload"]}
            fixed |= _read_numbers(record, "alone_s", "together_s")
            if "other" in record:
                Workload.from_json(record["other"])
                fixed |= {"other": record["other"], **_read_numbers(record, "other_s")}
            self.contention.append(fixed)
        elif kind == "network":
            fixed = {"network": str(record["network"]), "device": str(record["device"])}
            rest = [n for n in self.networks if any(n[k] != v for k, v in fixed.items())]  # the last one is kept
            self.networks = [*rest, fixed | _read_numbers(record, "kernels", "sum_s", "seconds")]
        elif kind == "energy":
            self.energy.append(EnergyRecord.from_json(record))
        elif kind == "points":
            self.points.append([(str(name), {str(n): int(v) for n, v in p.items()}) for name, p in record["points"]])
        elif kind == "plan":
            self.plans.append(PlanRecord.from_json(record))
        else:
            raise ValueError(f"record '{kind}'")


def _read_numbers(record: dict[str, Any], *names: str) -> dict[str, float]:
    return {n: float(record[n]) for n in names}


def read_samples(path: str | os.PathLike) -> Samples:
    """Read a dataset.

    Parameters
    ----------
    path : str or path
        A file of `SampleWriter`. An incomplete last line is dropped with a warning.

    Raises
    ------
    CoExecError
        If the file can't be read, is not a dataset, or is damaged; the text names the file and line.
    """
    path = os.fspath(path)
    lines, torn = _read_lines(path)
    header = _check_header(path, lines)
    if torn:
        logger.warning("%s: the last line is incomplete (a run was interrupted) and is left out", path)
    samples = Samples(header)
    for number, line in enumerate(lines[1:], 2):
        try:
            samples.add(json.loads(line))
        except (CoExecError, KeyError, TypeError, ValueError, IndexError, AttributeError) as err:
            what = f"it lacks {err}" if isinstance(err, KeyError) else str(err)
            raise CoExecError(
                f"{path}, line {number} is damaged ({what}); delete that line, its kernel is measured again"
            ) from None
    return samples


def _read_lines(path: str) -> tuple[list[str], bool]:
    """Return the complete lines of a file, and whether an incomplete one follows."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError as err:
        raise CoExecError(f"can't read samples {path}: {err.strerror}") from None
    lines = text.split("\n")
    return [line for line in lines[:-1] if line.strip()], bool(lines[-1].strip())


def _check_header(path: str, lines: list[str]) -> dict[str, Any]:
    try:
        header = json.loads(lines[0])
    except (ValueError, IndexError):
        header = None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise CoExecError(f"{path} is not a file of samples; give one that `coexec profile` wrote")
    if header.get("version") != VERSION:
        raise CoExecError(
            f"{path} has samples of version {header.get('version')!r}; this release reads {VERSION}: measure again"
        )
    if not isinstance(header.get("devices"), dict) or set(header["devices"]) != set(DEVICES):
        raise CoExecError(f"{path}, line 1 is damaged (it names no devices cpu and gpu); measure again")
    return header


class SampleWriter:
    """Appends records to a dataset and flushes after each.

    Parameters
    ----------
    path : str
        Created if it does not exist. Otherwise its header must equal `header` in devices, TVM and schedules.
    header : dict
        See `Samples`; version and kind are added.

    Attributes
    ----------
    header : dict
    found : Samples
        The records that the file had before; `write` does not add to it.

    Raises
    ------
    CoExecError
        If the file can't be read or written, or its header differs.
    """

    def __init__(self, path: str, header: dict[str, Any]):
        self.path = path
        self.header = header = {"version": VERSION, "kind": KIND, **header}
        self._file: IO[str] | None = None
        if os.path.exists(path) and os.path.getsize(path):
            self.found = read_samples(path)
            _check_setting(path, self.found.header, header)
            self._open("r+")
            _drop_incomplete_line(self._file)
        else:
            self.found = Samples(header)
            self._open("w")
            self._write_line(header)

    def _open(self, mode: str) -> None:
        try:
            self._file = open(self.path, mode, encoding="utf-8")  # noqa: SIM115 (held until close)
        except OSError as err:
            raise CoExecError(f"can't write {self.path}: {err.strerror}; choose another path") from None

    def _write_line(self, value: dict[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.write(json.dumps(value, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as err:
            raise CoExecError(f"can't write {self.path}: {err.strerror}; what was measured so far is kept") from None

    def write(self, record: Sample | PlanRecord | EnergyRecord | dict[str, Any]) -> None:
        """Append one record (see `Samples.add`)."""
        self._write_line(record if isinstance(record, dict) else record.to_json())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _drop_incomplete_line(file: IO[str] | None) -> None:
    """Truncate a file after its last complete line, and seek to its end."""
    assert file is not None
    raw = file.buffer  # type: ignore[attr-defined]
    end = raw.seek(0, os.SEEK_END)
    keep = end
    while keep:
        start = max(0, keep - 4096)
        raw.seek(start)
        at = raw.read(keep - start).rfind(b"\n")
        if at >= 0:
            keep = start + at + 1
            break
        keep = start
    raw.truncate(keep)
    raw.seek(keep)


def _check_setting(path: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name, before, now in _find_differences(old, new):
        hint = " (--test-bed, or TVM_NUM_THREADS)" if name == "cpu threads" else ""
        raise CoExecError(
            f"{path} was measured with another setting ({name}: '{before}' there, '{now}' now); give another file "
            f"with -o, or repeat that setting{hint}"
        )


def _find_differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in SETTING_KEYS:
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            for device in DEVICES:
                x, y = a.get(device) or {}, b.get(device) or {}
                for key in sorted({*x, *y}):
                    if x.get(key) != y.get(key):
                        yield f"{device} {key}", x.get(key), y.get(key)
        elif a != b:
            yield name, a, b
