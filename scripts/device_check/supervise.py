"""Run one section in a process of its own, so that a crash or a hang there is a result and not the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OK, FAILED, ABSENT, SKIPPED = "ok", "FAILED", "not available", "skipped"
LOG_LINES = 12
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Result:
    """What came of a section.

    Attributes
    ----------
    name, title : str
    state : str
        `OK`; `FAILED`; `ABSENT`, if the device lacks what the section is about; `SKIPPED`.
    reason : str
        Why it is not ok.
    seconds : float
    numbers : dict
        What the section has found, as JSON; of a section that crashed, what it had found before.
    log : list of str
        The last lines that a failed section printed.
    """

    name: str
    title: str
    state: str = OK
    reason: str = ""
    seconds: float = 0.0
    numbers: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)


def read_result(path: Path) -> dict[str, Any]:
    """Return what a child has written, empty if it wrote nothing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def run(
    name: str,
    title: str,
    folder: Path,
    limit_s: float,
    environment: Mapping[str, str],
    progress: Callable[[str], None] = lambda line: None,
) -> Result:
    """Run a section and return its result; never raises because of what happens in the section.

    Parameters
    ----------
    name, title : str
    folder : Path
        With the subfolder ``sections`` for the results and logs of children.
    limit_s : float
        After this time the process and all its children are killed.
    environment : mapping
        Variables of the child.
    progress : callable
        Called with each stage that the child reports.
    """
    written, log = folder / "sections" / f"{name}.json", folder / "sections" / f"{name}.log"
    written.unlink(missing_ok=True)
    command = [sys.executable, "-X", "faulthandler", "-m", "scripts.device_check.child", name, str(folder)]
    # Shortly before the end the child writes where each of its threads is.
    variables = dict(environment, DEVICE_CHECK_DUMP_S=f"{max(0.5, limit_s - 1.0):g}")
    start, stage = time.monotonic(), ""
    with log.open("wb") as stream:
        child = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
        try:
            while child.poll() is None and time.monotonic() - start < limit_s:
                time.sleep(0.05)
                now = read_result(written).get("stage", "")
                if now and now != stage:
                    stage = now
                    progress(stage)
            code = child.poll()
        finally:
            _kill(child)
    result = Result(name, title, seconds=time.monotonic() - start)
    content = read_result(written)
    result.numbers = content.get("numbers", {})
    if content.get("state") in (OK, FAILED, ABSENT, SKIPPED):
        result.state, result.reason = content["state"], content.get("reason", "")
    else:
        result.state, result.reason = FAILED, _why_unfinished(code, limit_s, content.get("stage", ""))
    if result.state == FAILED:
        result.log = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return result


def _why_unfinished(code: int | None, limit_s: float, stage: str) -> str:
    during = f" during: {stage}" if stage else ""
    if code is None:
        return f"it did not end within {limit_s:.0f} s and was killed{during}"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"the process crashed ({name}){during}"
    return f"the process ended with exit status {code}{during}"


def _kill(child: subprocess.Popen) -> None:
    """End the process and those that it has started: all are in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
