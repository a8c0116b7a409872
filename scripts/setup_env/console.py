"""Short output: one line per step on the terminal, and a log file for the rest, shown only if a step fails."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

TAIL_LINES = 25


class SetupError(Exception):
    """A step failed in a way that the user can fix; the message is one line that says how."""


class Console:
    """Prints the steps and keeps the log.

    Parameters
    ----------
    log : pathlib.Path
        The log file; its folder is created and an existing file is overwritten.
    """

    def __init__(self, log: Path):
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")

    def step(self, text: str) -> None:
        print(f"set-up: {text}", flush=True)
        with self.log.open("a") as stream:
            stream.write(f"== {text}\n")

    def run(self, command: list[str], failure: str, env: dict[str, str] | None = None) -> None:
        """Run a command with its output in the log.

        Raises
        ------
        SetupError
            If it fails: `failure`, after the end of the log has been printed.
        """
        if self.attempt(command, env):
            return
        tail = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        print("\n".join(tail), flush=True)
        raise SetupError(f"{failure} (the whole log: {self.log})")

    def attempt(self, command: list[str], env: dict[str, str] | None = None) -> bool:
        """Run a command with its output in the log, and return whether it succeeded."""
        with self.log.open("a") as stream:
            stream.write(f"$ {shlex.join(command)}\n")
            stream.flush()
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ, **(env or {})),
                )
            except OSError as error:
                stream.write(f"{error}\n")
                return False
            return done.returncode == 0
