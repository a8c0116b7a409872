"""Measure kernels, networks and plans on the devices, in one worker process, with one timer and detection of noise."""

from __future__ import annotations

import os

# The cores that the user has given this process; later TVM pins the main thread to one of them.
CORES: tuple[int, ...] = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
