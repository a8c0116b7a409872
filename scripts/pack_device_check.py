"""Pack ``check_device.py`` with all that it needs, for a machine without network and without this project's .venv.

Writes parts of a compressed archive, a manifest and ``run_device_check.py``, which unpacks and runs them there with the
machine's own Python. For x86-64 Linux; the machine needs glibc 2.34 or newer.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.device_check import packing  # noqa: E402

PYTHONS = ("3.10", "3.11", "3.12")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64")
LEFT_OUT = ("onnxruntime",)  # of the extra that has onnx


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="pack_device_check.py", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--python", choices=PYTHONS, default="3.12", help="Python of the other machine (default: %(default)s)")
    add("-o", "--output", type=Path, default=ROOT / "build/device_check", metavar="FOLDER", help="default: %(default)s")
    add("--part-mb", type=float, default=60.0, metavar="MB", help="largest part, in 10^6 bytes (default: 60)")
    add("--own-only", action="store_true", help="only this project's files, to update an unpacked check")
    add("--no-opencl-loader", action="store_true", help="leave out libOpenCL.so.1 of this machine")
    add("--no-linker", action="store_true", help="leave out the linker, which machines without a compiler need")
    args = parser.parse_args(arguments)
    if not args.part_mb > 0:
        parser.error(f"--part-mb {args.part_mb:g} must be above 0")
    return args


def requirements() -> list[str]:
    """Return what set-up installs and a check imports, as ``setup.py`` names it."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    extra = ast.literal_eval(values["EXTRAS"])["onnx"]
    return [*ast.literal_eval(values["REQUIRES"]), *(r for r in extra if not r.startswith(LEFT_OUT))]


def download(names: Sequence[str], python: str, folder: Path) -> list[Path]:
    """Download a wheel for each requirement, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "-d", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run([*command, *names], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise SystemExit(f"pack_device_check: the wheels for Python {python} can't be downloaded: {last}")
    return sorted(folder.glob("*.whl"))


def boot_settings() -> dict:
    """Return where set-up has put TVM."""
    file = Path(sysconfig.get_path("purelib")) / "tvm_coexec_boot.json"
    if not file.exists():
        raise SystemExit(f"pack_device_check: there is no {file}: run this with .venv/bin/python, after `make setup`")
    return json.loads(file.read_text(encoding="utf-8"))


def collect(args: argparse.Namespace) -> Iterator[packing.Entry]:
    """Return all files to pack."""
    parts: list[Iterator[packing.Entry]] = [packing.own_sources(), packing.former_modules(args.python)]
    if not args.own_only:
        parts.append(packing.relay_tvm(boot_settings()))
        wheels = download(requirements(), args.python, ROOT / "build" / f"device_check_wheels_{args.python}")
        parts += [packing.wheel_files(wheel) for wheel in wheels]
        parts += [] if args.no_opencl_loader else [packing.opencl_loader()]
        parts += [] if args.no_linker else [packing.linker()]
    return chain.from_iterable(parts)


def needed_glibc(libraries: Sequence[Path]) -> str:
    """Return the newest version of glibc whose symbols the libraries use."""
    found = set()
    for library in libraries:
        found |= {tuple(map(int, v.split(b"."))) for v in re.findall(rb"GLIBC_(2\.\d+)", library.read_bytes())}
    return ".".join(map(str, max(found))) if found else "2.0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack, and print how large it became and how to run it."""
    args = parse(arguments)
    sizes: dict[str, int] = {}

    def add(name: str, size: int) -> None:
        sizes[name] = sizes.get(name, 0) + size

    manifest = packing.write_parts(
        packing.report_sizes(collect(args), add), args.output, int(args.part_mb * 1e6), args.python, not args.own_only
    )
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:12]:
        print(f"{size / 1e6:8.1f} MB  {name}")
    print(f"{manifest['unpacked_bytes'] / 1e6:8.1f} MB  all {manifest['files']} files")
    for part in manifest["parts"]:
        print(f"{part['bytes'] / 1e6:8.1f} MB  {args.output / part['name']}")
    glibc = needed_glibc([packing.ROOT / "python/tvm_coexec/lib/libtvm_coexec_runtime.so"])
    print(f"needs Python {manifest['python']} and glibc {glibc} on x86-64; copy the folder and run there:")
    print(f"python{manifest['python']} run_device_check.py --output result")
    return 0


if __name__ == "__main__":
    sys.exit(main())
