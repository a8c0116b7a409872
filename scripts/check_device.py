"""Check an OpenCL or Vulkan GPU: devices, results in every memory mode, costs of meetings, profile, plan, timeline.

Writes a folder that can be attached to a bug report: ``report.txt``, ``report.json``, plan, profile, samples, timelines
and the log of each section. Each section runs in a process of its own, so a crash or a hang is a result and the others
still run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.device_check import opencl_driver, report, supervise, vulkan_driver  # noqa: E402
from scripts.device_check.job import KINDS, NETWORKS, SMALL  # noqa: E402
from scripts.device_check.sections import MODES, SECTIONS, Section  # noqa: E402
from scripts.device_check.supervise import FAILED, OK, SKIPPED, Result  # noqa: E402

QUICK_MODES = ("mode-buffer",)
CORES_TO_COMPILE = 2  # of one compilation that runs next to others


def minutes(text: str) -> float:
    """Parse a number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="check_device.py",
        description="Check an OpenCL or Vulkan GPU and write a folder that can be attached to a bug report.",
    )
    add, names = parser.add_argument, [s.name for s in SECTIONS]
    add("-o", "--output", default="device_check", metavar="FOLDER", help="default: %(default)s; results are replaced")
    add("--gpu", choices=KINDS, default="opencl", help="kind of GPU target (default: %(default)s)")
    add("--minutes", type=minutes, default=8.0, metavar="N", help="limit of the whole check (default: 8)")
    add("--section-limit", type=minutes, metavar="S", help="limit of each section in seconds (default: its own)")
    add("--quick", action="store_true", help="one small network, a tiny profile, one memory mode")
    add("--only", nargs="+", choices=names, metavar="SECTION", help=f"only these of: {', '.join(names)}")
    add("--keep", action="store_true", help="keep the compiled networks")
    args = parser.parse_args(arguments)
    if Path(args.output).exists() and not Path(args.output).is_dir():
        parser.error(f"--output {args.output} is a file: name a folder")
    return args


def choose(args: argparse.Namespace) -> list[Section]:
    """Return the sections to run, in order."""
    if args.only:
        return [s for s in SECTIONS if s.name in args.only]
    possible = [s for s in SECTIONS if args.gpu in s.kinds]
    if args.quick:
        left_out = {f"compile-{n}" for n in NETWORKS} | {f"mode-{m}" for m in MODES} - set(QUICK_MODES)
    else:
        left_out = {f"compile-{SMALL}"}
    return [s for s in possible if s.name not in left_out]


def prepare_folder(folder: Path) -> None:
    """Create the folder and remove what an earlier check has left."""
    for name in ("sections", "work", "vendors"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in ("report.*", "plan.json", "profile.json", "samples.jsonl", "timeline*", "devices.json"):
        for old in folder.glob(pattern):
            old.unlink()
    for name in ("sections", "work"):
        (folder / name).mkdir(parents=True)


def environment_of(section: Section, common: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the variables of a section's process."""
    found = dict(os.environ, **common)
    test_bed = supervise.read_result(folder / "work/test_bed.json")
    for name, value in test_bed.get("environment", {}).items():
        found.setdefault(name, value)
    if section.mode:
        found["TVM_COEXEC_OPENCL_MEMORY"] = section.mode
    return found


class Run:
    """Runs sections within the limits and collects their results.

    Parameters
    ----------
    args : argparse.Namespace
    folder : Path
    common : dict of str to str
        Variables of all sections' processes.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, common: dict[str, str]):
        self.args, self.folder, self.common = args, folder, common
        self.results: list[Result] = []
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{self.seconds:5.1f} s] {text}", flush=True)

    def run(self, sections: Sequence[Section]) -> list[Result]:
        """Run the sections in order; those that only compile at the same time if there are cores for it."""
        cores = len(os.sched_getaffinity(0))
        at_once = max(1, cores // CORES_TO_COMPILE)
        for compiling, group in groupby(sections, key=lambda s: bool(s.network)):
            with ThreadPoolExecutor(at_once if compiling else 1) as pool:
                self.results += pool.map(self._one, group)
        return self.results

    def _one(self, section: Section) -> Result:
        left_s = self.args.minutes * 60 - self.seconds
        reason = self._why_skipped(section, left_s)
        if reason:
            result = Result(section.name, section.title, SKIPPED, reason)
        else:
            self.say(f"{section.name}: {section.title}")
            result = supervise.run(
                section.name,
                section.title,
                self.folder,
                min(self.args.section_limit or section.limit_s, left_s),
                environment_of(section, self.common, self.folder),
                lambda stage: self.say(f"    {section.name}: {stage}"),
            )
        self.say(f"{section.name}: {result.state}" + (f": {result.reason}" if result.reason else ""))
        return result

    def _why_skipped(self, section: Section, left_s: float) -> str:
        if left_s < 1:
            return "no time was left; give more with --minutes"
        if not section.needs:
            return ""
        states = [r.state for r in self.results if r.name.startswith(section.needs)]
        if not states:
            return f"it needs a section {section.needs}-..., and none was chosen"
        return "" if OK in states else f"all sections {section.needs}-..., of which it needs one, have failed"


def header_of(args: argparse.Namespace, notes: Sequence[str], seconds: float) -> dict[str, object]:
    """Return the facts that the report starts with."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "seconds": round(seconds, 1),
        "python": f"{sys.version.split()[0]} ({sys.executable})",
        "options": f"gpu {args.gpu}, {args.minutes:g} minutes{', quick' if args.quick else ''}",
        KINDS[args.gpu]: list(notes),
    }


def write(folder: Path, header: dict[str, object], results: Sequence[Result]) -> None:
    """Write the report as text and as JSON, and the list of devices."""
    (folder / "report.txt").write_text(report.to_text(header, results), encoding="utf-8")
    content = {
        "kind": "tvm-coexec device check",
        "version": 1,
        "ok": is_right(results),
        **header,
        "sections": [r.to_json() for r in results],
    }
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    found = next((r.numbers for r in results if r.name == "devices"), {})
    (folder / "devices.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def is_right(results: Sequence[Result]) -> bool:
    """Return whether something ran and nothing has failed or was skipped."""
    states = [r.state for r in results]
    return OK in states and FAILED not in states and SKIPPED not in states


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 if everything is right, 1 if something is wrong."""
    args = parse(arguments)
    folder = Path(args.output).resolve()
    prepare_folder(folder)
    (folder / "work/settings.json").write_text(json.dumps({"quick": args.quick, "gpu": args.gpu}), encoding="utf-8")
    start = time.monotonic()
    bundled = Path(os.environ.get("DEVICE_CHECK_LIBRARIES", ROOT / "lib"))
    if args.gpu == "vulkan":
        driver = vulkan_driver.find(folder / "vendors")
    else:
        driver = opencl_driver.find(folder / "vendors", bundled)
    print("\n".join(driver.notes), flush=True)
    python_path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    common = dict(driver.environment, PYTHONPATH=":".join(filter(None, python_path)), TOPHUB_LOCATION="NONE")
    results = Run(args, folder, common).run(choose(args))
    if not args.keep:
        shutil.rmtree(folder / "work", ignore_errors=True)
    write(folder, header_of(args, driver.notes, time.monotonic() - start), results)
    print(f"{report.summarize(results)}\n{folder / 'report.txt'}", flush=True)
    return 0 if is_right(results) else 1


if __name__ == "__main__":
    sys.exit(main())
