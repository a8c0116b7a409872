"""Measuring kernels, networks and plans on the devices: one worker process, one timer, one protection against noise."""

from __future__ import annotations

import os

# The cores of this process as the user gave them: TVM pins the main thread to one of them later on.
CORES: tuple[int, ...] = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
