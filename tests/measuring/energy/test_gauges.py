"""Finding and reading gauges in made-up folders of ``/sys/class``."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("tvm.relay")

from tests.measuring.energy.sysfs import battery, two_sockets, write, zone
from tvm_coexec import CoExecError
from tvm_coexec.measuring.energy import board_files
from tvm_coexec.measuring.energy.battery import Battery
from tvm_coexec.measuring.energy.board_files import LocalFiles
from tvm_coexec.measuring.energy.gauges import find_gauge
from tvm_coexec.measuring.energy.rapl import Rapl

pytestmark = pytest.mark.llvm


def find(root):
    return find_gauge(LocalFiles(), f"{root}/")


def refused(root) -> str:
    with pytest.raises(CoExecError) as err:
        find(root)
    text = str(err.value)
    assert "\n" not in text and len(text) < 300
    return text


def test_rapl_counts_packages_and_memory_once(tmp_path):
    """Cores are within the package, the registers in memory are the same ones, and psys contains the packages."""
    counted = two_sockets(tmp_path)
    gauge = find(tmp_path)
    assert isinstance(gauge, Rapl)
    assert gauge.name == "RAPL (package-0, dram of package 0, package-1, dram of package 1)"
    before = gauge.read()
    assert before == (1e6, 2e5, 5e5, 1e5)
    for i, folder in enumerate(counted):
        write(folder, energy_uj=int(before[i]) + 1_000_000 * (i + 1))
    assert gauge.joules(before, gauge.read(), 2.0) == pytest.approx(10.0)


def test_rapl_counters_start_again_at_zero(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 262_143_000_000)
    gauge = find(tmp_path)
    before = gauge.read()
    write(package, energy_uj=671_150)
    assert gauge.joules(before, gauge.read(), 1.0) == pytest.approx(1.0)  # 328,850 uJ to the end, and 671,150 more
    (package / "max_energy_range_uj").unlink()
    gauge = find(tmp_path)
    with pytest.raises(CoExecError, match="energy_uj went down, and nothing tells its range"):
        gauge.joules(before, gauge.read(), 1.0)


def test_rapl_of_a_platform_alone(tmp_path):
    zone(tmp_path, "intel-rapl:0", "psys", 5)
    assert find(tmp_path).name == "RAPL (psys)"


def test_counters_that_only_root_may_read(tmp_path, monkeypatch):
    """As root's files are readable to a test that runs as root, the error is raised for it."""
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    counter = f"{tmp_path}/sys/class/powercap/intel-rapl:0/energy_uj"
    os.chmod(counter, 0)
    if os.access(counter, os.R_OK):
        read = LocalFiles.read

        def deny(self, path):
            if path == counter:
                raise PermissionError(13, os.strerror(13), path)
            return read(self, path)

        monkeypatch.setattr(board_files.LocalFiles, "read", deny)
    text = refused(tmp_path)
    assert (
        text.startswith("the energy of this machine can't be read: ") and "intel-rapl:0/energy_uj: Permission" in text
    )
    assert text.endswith("run as root, or let all users read it: sudo chmod a+r /sys/class/powercap/*/energy_uj")
    battery(tmp_path, power_now=4_500_000)  # of the whole machine, and readable
    assert isinstance(find(tmp_path), Battery)


@pytest.mark.parametrize(
    ("files", "later", "joules", "name"),
    [
        ({"power_now": 4_500_000}, {"power_now": 5_500_000}, 10.0, "BAT0: power_now"),
        (
            {"current_now": -500_000, "voltage_now": 4_000_000},  # some drivers: negative while discharging
            {"current_now": -750_000, "voltage_now": 4_000_000},
            5.0,
            "BAT0: current_now x voltage_now",
        ),
        ({"energy_now": 50_000_000}, {"energy_now": 49_990_000}, 36.0, "BAT0: energy_now"),
        (
            {"charge_now": 3_000_000, "voltage_now": 4_000_000},
            {"charge_now": 2_999_000, "voltage_now": 4_000_000},
            14.4,
            "BAT0: charge_now x voltage_now",
        ),
        (
            {"charge_counter": 3_000_000, "voltage_now": 3_850_000, "power_now": ""},  # as a driver without a value
            {"charge_counter": 2_999_900, "voltage_now": 3_850_000},
            1.386,
            "BAT0: charge_counter x voltage_now",
        ),
    ],
)
def test_batteries(tmp_path, files, later, joules, name):
    write(tmp_path / "sys/class/power_supply/AC", type="Mains", online=0)
    battery(tmp_path, "hid-mouse", scope="Device", energy_now=5_000)
    folder = battery(tmp_path, **files)
    gauge = find(tmp_path)
    assert isinstance(gauge, Battery) and gauge.name == f"battery ({name})"
    before = gauge.read()
    write(folder, **later)
    assert gauge.joules(before, gauge.read(), 2.0) == pytest.approx(joules)


def test_two_batteries_of_which_one_rests(tmp_path):
    battery(tmp_path, "BAT0", power_now=6_000_000, energy_now=20_000_000)
    battery(tmp_path, "BAT1", "Not charging", power_now=0, energy_now=24_000_000)
    gauge = find(tmp_path)
    before = gauge.read()
    assert gauge.joules(before, before, 3.0) == pytest.approx(18.0)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_a_battery_that_is_not_discharging(tmp_path, status):
    battery(tmp_path, status=status, power_now=15_000_000)
    text = refused(tmp_path)
    assert f"BAT0 is not discharging (its status is '{status}')" in text and "unplug the charger" in text


def test_a_charger_that_is_plugged_in_meanwhile(tmp_path):
    folder = battery(tmp_path, power_now=6_000_000)
    gauge = find(tmp_path)
    gauge.read()
    write(folder, status="Charging")
    with pytest.raises(CoExecError, match="unplug the charger"):
        gauge.read()


def test_a_machine_without_a_gauge(tmp_path):
    text = refused(tmp_path)
    assert text.startswith("this machine has no gauge of its energy") and "coexec fit --meter" in text
    battery(tmp_path, capacity=80)
    assert "has none of power_now, current_now, energy_now, charge_now, charge_counter" in refused(tmp_path)
    write(tmp_path / "sys/class/power_supply/BAT0", present=0)
    assert refused(tmp_path) == text
