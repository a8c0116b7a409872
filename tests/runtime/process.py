"""Run Python in a fresh process: OpenCL drivers, and our runtime's options, are read once per process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MARK = "RESULT "


def run(code: str, timeout_s: float = 300, **env: str) -> Any:
    """Run `code`, which calls ``report(value)`` once, with extra environment variables; return the JSON value."""
    prelude = f"import json\ndef report(value):\n    print({MARK!r} + json.dumps(value), flush=True)\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        env={**os.environ, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    results = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    # The exit code counts: a driver that crashes when the process ends is a failure, too.
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert len(results) == 1, f"no result\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(results[0].removeprefix(MARK))
