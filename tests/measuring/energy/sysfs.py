"""Made-up folders of ``/sys/class`` with files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path, **files: object) -> Path:
    """Write files of one number or word, each with the kernel's newline."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def zone(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 262143328850) -> Path:
    """A zone of power capping."""
    path = root / "sys/class/powercap" / folder
    return write(path, name=name, energy_uj=energy_uj, max_energy_range_uj=range_uj, enabled=1)


def two_sockets(root: Path) -> list[Path]:
    """A server with two sockets; returns the folders of what counts: both packages and their memory."""
    write(root / "sys/class/powercap/intel-rapl", enabled=1)
    counted = [
        zone(root, "intel-rapl:0", "package-0", 1_000_000),
        zone(root, "intel-rapl:0:1", "dram", 200_000, 65712999613),
        zone(root, "intel-rapl:1", "package-1", 500_000),
        zone(root, "intel-rapl:1:0", "dram", 100_000, 65712999613),
    ]
    for folder, name in (("intel-rapl:0:0", "core"), ("intel-rapl-mmio:0", "package-0"), ("intel-rapl:2", "psys")):
        zone(root, folder, name, 77)
    return counted


def battery(root: Path, name: str = "BAT0", status: str = "Discharging", **files: object) -> Path:
    """A battery; `files` are its quantities."""
    return write(root / "sys/class/power_supply" / name, type="Battery", status=status, present=1, **files)
