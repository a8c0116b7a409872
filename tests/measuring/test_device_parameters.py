"""Parameters that are found on a machine: from made-up files of a phone and a server, and on this one."""

from __future__ import annotations

import os

import pytest

from tvm_coexec.measuring import device_parameters as found

pytestmark = pytest.mark.llvm

PHONE = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes\nCPU part\t: 0xd0b\n"
SERVER = "processor\t: 0\ncpu MHz\t\t: 2600.000\nflags\t\t: fpu sse sse2 avx fma avx2 avx512f\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write ``proc`` and ``sys`` of a machine with four cores, of which two may be used."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3})

    def write(cpuinfo: str, clocks_khz: dict[int, int], caches: list[tuple[str, str, str]]) -> None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
        cpu = tmp_path / "sys/devices/system/cpu"
        for core, khz in clocks_khz.items():
            (cpu / f"cpu{core}/cpufreq").mkdir(parents=True)
            (cpu / f"cpu{core}/cpufreq/cpuinfo_max_freq").write_text(f"{khz}\n")
        for i, (level, kind, size) in enumerate(caches):
            folder = cpu / f"cpu2/cache/index{i}"
            folder.mkdir(parents=True)
            for name, value in (("level", level), ("type", kind), ("size", size)):
                (folder / name).write_text(f"{value}\n")

    return write


def test_a_phone(machine, tmp_path):
    caches = [("1", "Data", "64K"), ("1", "Instruction", "32K"), ("2", "Unified", "512K"), ("3", "Unified", "4M")]
    machine(PHONE, {0: 1800000, 2: 2400000, 3: 2600000}, caches)
    p = found.find_cpu_parameters(tmp_path, bandwidth=False)
    assert (p.cores, p.clock_hz, p.peak_flops_per_s) == (2, 2.6e9, 2 * 2.6e9 * 16)
    assert (p.l1_bytes, p.l2_bytes, p.l3_bytes) == (64 << 10, 512 << 10, 4 << 20) and p.bandwidth_bytes_per_s == 0


def test_a_server_without_a_governor(machine, tmp_path):
    machine(SERVER, {}, [])
    p = found.find_cpu_parameters(tmp_path, bandwidth=False)
    assert (p.clock_hz, p.peak_flops_per_s) == (2.6e9, 2 * 2.6e9 * 64)


def test_an_unknown_machine(tmp_path):
    p = found.find_cpu_parameters(tmp_path, bandwidth=False)
    assert p.peak_flops_per_s == p.clock_hz == p.l1_bytes == 0 and p.cores >= 1


def test_this_machine():
    p = found.find_cpu_parameters()
    assert p.cores == len(os.sched_getaffinity(0)) and 1e8 < p.bandwidth_bytes_per_s < 1e13


class Mali:
    """What a driver tells of a GPU."""

    device_name, multi_processor_count, max_clock_rate, max_shared_memory_per_block = "Mali-T860", 4, 800, 32768


class Pocl(Mali):
    device_name = "cpu-haswell-Intel(R) Xeon(R)"


def test_gpus():
    cpu = found.find_cpu_parameters(bandwidth=False)
    p = found.find_gpu_parameters(Mali(), cpu)
    assert (p.kind, p.cores, p.clock_hz, p.l1_bytes, p.peak_flops_per_s) == ("gpu", 4, 8e8, 32768, 0)
    p = found.find_gpu_parameters(Pocl(), cpu)
    assert (p.kind, p.cores, p.l2_bytes) == ("cores", 4, cpu.l2_bytes)
    assert p.peak_flops_per_s == pytest.approx(4 / cpu.cores * cpu.peak_flops_per_s)
    assert found.find_gpu_parameters(Pocl()).kind == "cores"
