"""Shared code of the benchmarks: arguments, the test-bed and its description, the table, the JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from benchmarks._quiet import Quiet, Run
    from tvm_coexec.testbed import TestBed as TestBedInfo

T = TypeVar("T")


@dataclass(frozen=True)
class Arguments:
    """Command line of a benchmark."""

    name: str
    quick: bool
    json: str | None
    names: list[str]
    own: argparse.Namespace


def parse(
    name: str,
    doc: str | None,
    arguments: Sequence[str] | None = None,
    names: Sequence[str] = (),
    own: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Arguments:
    """Parse ``[--quick] [--json FILE]``, some of `names` (default: all), and the arguments that `own` adds."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(doc or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few cases only")
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")
    if names:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(names)}; default: all")
    if own:
        own(parser)
    args = parser.parse_args(arguments)
    chosen = getattr(args, "names", [])
    if unknown := [n for n in chosen if n not in names]:
        parser.error(f"{unknown[0]} is not a benchmark case; choose from {', '.join(names)}")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return Arguments(name, args.quick, args.json, chosen or list(names), args)


def read_earlier(args: Arguments) -> tuple[list[dict], dict[str, list[dict]]]:
    """Rows and details of an earlier run in the ``--json`` file, as `write` wrote them; none if there was none."""
    if not args.json or not Path(args.json).exists():
        return [], {}
    found = json.loads(Path(args.json).read_text(encoding="utf-8"))
    return found["rows"], found.get("details", {})


def keep_rows(args: Arguments, key: str) -> list[dict]:
    """Rows of an earlier run in the same file whose names this one does not measure; none if it is quick."""
    return [] if args.quick else [row for row in read_earlier(args)[0] if row[key] not in args.names]


class TestBed:
    """The machine as the benchmarks use it: on pocl one core for each device (see `tvm_coexec.testbed`).

    Parameters
    ----------
    bed : tvm_coexec.testbed.TestBed, optional
        What `tvm_coexec.testbed.prepare` found; by default it is called here.
    gpu : {"opencl", "vulkan"}
        What it is to look at.
    """

    __test__ = False

    def __init__(self, bed: TestBedInfo | None = None, gpu: str = "opencl") -> None:
        from tvm_coexec import testbed

        for logger in ("te_compiler", "autotvm"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        self._testbed = testbed
        self.bed = bed or testbed.prepare(gpu)

    def pin(self) -> None:
        """Move the main thread off pocl's core, after both devices have been used once."""
        self._testbed.pin_main_thread(self.bed)

    @property
    def _two_cores(self) -> tuple[int, int] | None:
        """The CPU's core and the GPU's, of a pocl test-bed."""
        cores = self.bed.cores
        return (cores[1], cores[0]) if self.bed.pocl and len(cores) > 1 else None

    @property
    def cores_by_device(self) -> dict[str, int]:
        """The core of each device on a pocl test-bed; else empty."""
        return dict(zip(("cpu", "gpu"), self._two_cores or (), strict=False))

    def settle(self, quiet: Quiet) -> None:
        """Find out how fast the cores of a pocl test-bed are when no one else uses them."""
        if self._two_cores:
            quiet.settle(self._two_cores)

    def wait(self, quiet: Quiet) -> None:
        """Wait until no other process slows a core of a pocl test-bed."""
        if self._two_cores:
            quiet.wait(self._two_cores)

    def time(self, quiet: Quiet, once: Callable[[], float], most_s: float) -> Run:
        """Call a function that returns its seconds, on a pocl test-bed until no other process slowed a core."""
        return quiet.time(once, self._two_cores, most_s) if self._two_cores else Run(once())

    def setting(self) -> dict[str, object]:
        """Properties of the machine that readers need to judge the numbers."""
        import tvm

        import tvm_coexec

        return {
            "cpu": _cpu_name(),
            "cores": len(self.bed.cores),
            "cpu_threads": os.environ.get("TVM_NUM_THREADS", "all"),
            "gpu_device": self.bed.device,
            "test_bed": self.bed.description,
            "tvm": tvm.__version__,
            "tvm_coexec": tvm_coexec.__version__,
            "commit": _commit(),
            "python": platform.python_version(),
            "load_average": round(os.getloadavg()[0], 2),
        }


def add_gpu_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--gpu``, the kind of GPU to measure."""
    parser.add_argument("--gpu", default="opencl", choices=("opencl", "vulkan"), help="(default: %(default)s)")


def progress(items: Sequence[T], title: str = "") -> Iterable[T]:
    """A progress bar on standard error."""
    from tqdm import tqdm

    return tqdm(items, desc=title or None, unit="case", leave=False, disable=None)


def finish(
    args: Arguments,
    bed: TestBed,
    rows: list[dict],
    notes: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    details: Sequence[dict] | Mapping[str, list[dict]] = (),
) -> None:
    """Print setting, table and notes, and write the JSON if requested.

    Parameters
    ----------
    rows : list of dict
        One per line of the table; also written to the JSON.
    notes : sequence of str
        Goals and caveats, printed below.
    columns : sequence of str, optional
        Keys to print; all of the first row if not given.
    details : sequence of dict, or dict of str to list of dict, optional
        Rows of a table with other columns, printed before; or several tables by title. Also in the JSON.
    """
    setting = bed.setting()
    text = table(rows, columns)
    write(args, setting, rows, notes, details)
    print("; ".join(f"{k}: {v}" for k, v in setting.items()))
    tables = details if isinstance(details, Mapping) else {"": list(details)}
    for title, lines in tables.items():
        if lines:
            print(f"\n{title}" if title else "")
            print(table(lines))
    for note in notes:
        print(note)
    print(text)


def write(
    args: Arguments,
    setting: Mapping[str, object],
    rows: list[dict],
    notes: Sequence[str],
    details: Sequence[dict] | Mapping[str, list[dict]] = (),
) -> None:
    """Write the JSON atomically, if requested."""
    if not args.json:
        return
    content = {"benchmark": args.name, "quick": args.quick, "setting": setting, "notes": list(notes), "rows": rows}
    content |= {"details": details if isinstance(details, Mapping) else list(details)} if details else {}
    temporary = Path(args.json + ".part")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(args.json)


def table(rows: list[dict], columns: Sequence[str] | None = None) -> str:
    """Format rows as aligned text, with numbers right-aligned."""
    if not rows:
        return "(no rows)"
    keys = list(columns or rows[0])
    cells = [[_cell(row.get(k)) for k in keys] for row in rows]
    widths = [max(len(k), *(len(line[i]) for line in cells)) for i, k in enumerate(keys)]
    left = [isinstance(rows[0].get(k), str) for k in keys]

    def line(values: Sequence[str]) -> str:
        return "  ".join(
            v.ljust(w) if is_left else v.rjust(w) for v, w, is_left in zip(values, widths, left, strict=True)
        )

    return "\n".join([line(keys), "  ".join("-" * w for w in widths), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or platform.machine()


def _commit() -> str:
    """Short hash of the sources' commit, followed by `+` if files differ from it."""
    root = Path(__file__).parent.parent
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=root, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
