"""Run the benchmarks in sequence, each in a separate process; ``make bench``.

scripts/bench.py                     all of them
scripts/bench.py chain --quick       one of them, with its options
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def names() -> list[str]:
    """Return the benchmarks: the public modules of ``benchmarks/``."""
    return sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py") if not file.stem.startswith("_"))


def main(arguments: list[str]) -> int:
    chosen = [argument for argument in arguments if not argument.startswith("-")][:1]
    rest = [argument for argument in arguments if argument not in chosen]
    if chosen and chosen[0] not in names():
        print(f"bench: unknown benchmark {chosen[0]!r}; choose from {', '.join(names())}", file=sys.stderr)
        return 2
    failed = []
    for name in chosen or names():
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *rest], cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
