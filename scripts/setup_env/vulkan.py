"""``python -m scripts.setup_env.vulkan``: wgpu-native and a Vulkan driver, for GPU targets ``vulkan``.

Only on request, since most uses need neither: by ``make demo ARGS="--gpu vulkan"`` and by the tests' machine.
wgpu-native comes with the Python package ``wgpu`` (the extra ``vulkan``); where no device is found then, Debian's
packages of the loader and of Mesa's drivers are installed, which have a device on the CPU (lavapipe).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VULKAN_PACKAGES = ["libvulkan1", "mesa-vulkan-drivers"]
# Run in a separate process: a broken driver may crash, and the library is looked for once in a process.
_ASK = "from tvm_coexec.vulkan import runtime; print(runtime.why_unavailable() or '')"


def lacks() -> str | None:
    """Return why there is no Vulkan device; None if there is one."""
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        return f"asking for one failed: {' '.join(done.stderr.split())[-200:]}"
    return done.stdout.strip() or None


def requirement() -> str:
    """Return the version of ``wgpu`` that the package's extra names."""
    from importlib.metadata import requires

    found = [r.partition(";")[0].strip() for r in requires("tvm-coexec") or [] if r.startswith("wgpu")]
    return found[0] if found else "wgpu"


def main() -> int:
    """Install what is missing; the exit status says whether there is a device then."""
    from scripts.setup_env import system
    from scripts.setup_env.console import Console

    if lacks() is None:
        return 0
    console = Console(ROOT / "build" / "setup_vulkan.log")
    console.step("Vulkan: installing wgpu-native")
    console.attempt([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", requirement()])
    reason = lacks()
    if reason is not None and "no Vulkan device" in reason:
        system.install(console, VULKAN_PACKAGES, "Vulkan")
        reason = lacks()
    if reason is None:
        console.step("Vulkan: ready")
        return 0
    console.step(f"Vulkan: no device: {reason}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
