"""Check an OpenCL GPU: devices, results in every memory mode, costs of meetings, a profile, a plan, a timeline.

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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.device_check import opencl_driver, report, supervise  # noqa: E402
from scripts.device_check.sections import SECTIONS, Section  # noqa: E402
from scripts.device_check.supervise import FAILED, OK, SKIPPED, Result  # noqa: E402

QUICK_MODES = ("mode-buffer", "mode-fine")


def minutes(text: str) -> float:
    """Parse a number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return value


def gpu_kind(text: str) -> str:
    """Parse the kind of GPU target."""
    if text != "opencl":
        raise argparse.ArgumentTypeError(f"'{text}' can't be checked yet: only opencl is supported")
    return text


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="check_device.py",
        description="Check an OpenCL GPU and write a folder that can be attached to a bug report.",
    )
    add, names = parser.add_argument, [s.name for s in SECTIONS]
    add("-o", "--output", default="device_check", metavar="FOLDER", help="default: %(default)s; results are replaced")
    add("--gpu", type=gpu_kind, default="opencl", metavar="KIND", help="kind of GPU target (default: %(default)s)")
    add("--minutes", type=minutes, default=8.0, metavar="N", help="limit of the whole check (default: 8)")
    add("--section-limit", type=minutes, metavar="S", help="limit of each section in seconds (default: its own)")
    add("--quick", action="store_true", help="one small network, a tiny profile, two memory modes")
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
    return [s for s in SECTIONS if not args.quick or not s.mode or s.name in QUICK_MODES]


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


def run_all(
    sections: Sequence[Section], args: argparse.Namespace, folder: Path, common: dict[str, str]
) -> list[Result]:
    """Run the sections one after the other, within the limits."""
    start, results = time.monotonic(), []

    def say(text: str) -> None:
        print(f"[{time.monotonic() - start:5.1f} s] {text}", flush=True)

    for section in sections:
        left_s = args.minutes * 60 - (time.monotonic() - start)
        limit_s = min(args.section_limit or section.limit_s, left_s)
        # A network that could not be compiled says so itself; the others are still checked.
        reason = _why_skipped(section, results, left_s)
        if reason:
            result = Result(section.name, section.title, SKIPPED, reason)
        else:
            say(f"{section.name}: {section.title}")
            environment = environment_of(section, common, folder)
            result = supervise.run(
                section.name, section.title, folder, limit_s, environment, lambda stage: say(f"    {stage}")
            )
        results.append(result)
        say(f"{section.name}: {result.state}" + (f": {result.reason}" if result.reason else ""))
    return results


def _why_skipped(section: Section, results: Sequence[Result], left_s: float) -> str:
    if left_s < 1:
        return "no time was left; give more with --minutes"
    states = {r.name: r for r in results}
    for need in section.needs:
        if need not in states:
            return f"it needs the section {need}, which was not chosen"
        if states[need].state == FAILED and not states[need].numbers.get("rows"):
            return f"the section {need}, which it needs, has failed"
    return ""


def header_of(args: argparse.Namespace, notes: Sequence[str], seconds: float) -> dict[str, object]:
    """Return the facts that the report starts with."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "seconds": round(seconds, 1),
        "python": f"{sys.version.split()[0]} ({sys.executable})",
        "options": f"gpu {args.gpu}, {args.minutes:g} minutes{', quick' if args.quick else ''}",
        "OpenCL": list(notes),
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
    driver = opencl_driver.find(folder / "vendors", bundled)
    print("\n".join(driver.notes), flush=True)
    python_path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    common = dict(driver.environment, PYTHONPATH=":".join(filter(None, python_path)), TOPHUB_LOCATION="NONE")
    results = run_all(choose(args), args, folder, common)
    if not args.keep:
        shutil.rmtree(folder / "work", ignore_errors=True)
    write(folder, header_of(args, driver.notes, time.monotonic() - start), results)
    print(f"{report.summarize(results)}\n{folder / 'report.txt'}", flush=True)
    return 0 if is_right(results) else 1


if __name__ == "__main__":
    sys.exit(main())
