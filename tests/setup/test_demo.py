"""``make demo``: it runs from anywhere, checks what it computed, and refuses wrong options in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.demo import describe_slowdown

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(DEMO), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env=os.environ | environment, timeout=840)


@pytest.mark.opencl
def test_a_network_is_coexecuted_checked_and_timed():
    done = run("--model", "squeezenet", "--ratio", "0.5", "--axis", "h", "--repeats", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = re.findall(r"^(CPU alone|GPU alone|CPU \+ GPU) .*?([\d.]+) +([\d.]+) +[\d.]+x +(\S+)$", done.stdout, re.M)
    assert [row[0] for row in rows] == ["CPU alone", "GPU alone", "CPU + GPU"]
    assert all(float(row[3]) <= 1e-4 for row in rows)
    found = re.search(r"\d+ of \d+ kernels split in (\d+) chains", done.stdout)
    assert found and int(found[1]) >= 2


def test_devices_that_slow_each_other_are_named():
    assert describe_slowdown([0.020, 0.030], [0.060, 0.022]) == ""
    line = describe_slowdown([0.020, 0.030], [0.060, 0.038])
    assert line.startswith("While the GPU computes, too, the CPU takes 1.90 times as long") and line.endswith(".\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet51"], r"demo: .*resnet51.*resnet50, vgg19"),
        (["--ratio", "1.5"], r"demo: ratio 1.5 must be"),
        (["--ratio", "half"], r"'half' must be auto or a number from 0 to 1"),
        (["--repeats", "0"], r"'0' must be an integer >= 1"),
        (["--gpu", "nonsense"], r"demo: gpu target 'nonsense'"),
    ],
)
@pytest.mark.opencl
def test_a_wrong_option_is_refused_in_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert re.search(message, done.stderr.splitlines()[-1])


def test_without_an_opencl_device_the_reason_is_given():
    done = run(OCL_ICD_VENDORS="/nonexistent")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("demo: no opencl device: ")
