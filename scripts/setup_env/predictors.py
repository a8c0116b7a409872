"""``python -m scripts.setup_env.predictors``: PyTorch and LightGBM, which fit the learned latency predictors.

Only on request, since they are large and only fitting those models needs them: by the tests' machine, or for
``coexec fit --model NAME`` and ``benchmarks.predictors``.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("torch", "lightgbm", "sklearn")


def lacks() -> str | None:
    """Return what is missing to fit the learned predictors; None if nothing is."""
    missing = [name for name in MODULES if find_spec(name) is None]
    return f"no {', '.join(missing)}: the extra 'predictors' is not installed" if missing else None


def requirements() -> list[str]:
    """Return the packages of the extra."""
    found = [r.partition(";") for r in requires("tvm-coexec") or []]
    return [name.strip() for name, _, when in found if "predictors" in when]


def main() -> int:
    """Install what is missing; the exit status says whether models can be fitted then."""
    from scripts.setup_env.console import Console

    if lacks() is None:
        return 0
    console = Console(ROOT / "build" / "setup_predictors.log")
    console.step("Predictors: installing PyTorch and LightGBM")
    console.attempt([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *requirements()])
    reason = lacks()
    console.step(f"Predictors: {reason or 'ready'}")
    return int(reason is not None)


if __name__ == "__main__":
    sys.exit(main())
