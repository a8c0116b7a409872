"""Libraries are timed while their device is at its full speed."""

from __future__ import annotations

import pytest

from tvm_coexec.measuring.quiet_moments import MOMENTS, PAUSE_S, Waiting, time_when_quiet


class Machine:
    """A clock, and devices that are slowed at given times; repeats and probes take a millisecond of a quiet device."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Device:
    """Slow by half, but for the spans of time in `quiet`."""

    def __init__(self, machine: Machine, quiet: list[tuple[float, float]], best_s: float = 1e-3):
        self.machine, self.quiet, self.best_s = machine, quiet, best_s

    def slowdown(self) -> float:
        return 1.0 if any(lo <= self.machine.now < hi for lo, hi in self.quiet) else 2.0

    def measure(self) -> float:
        seconds = 1e-3 * self.slowdown()
        self.machine.now += seconds
        self.best_s = min(self.best_s, seconds)
        return seconds / self.best_s

    def library(self, seconds: float) -> Waiting:
        def time_once() -> tuple[float, ...]:
            spent = seconds * self.slowdown()
            self.machine.now += spent
            return (spent, spent * 1.01)

        return Waiting(time_once, self)


def test_one_quiet_moment_serves_all() -> None:
    machine = Machine()
    device = Device(machine, [(1.0, 1.5)])
    libraries = [device.library(n * 1e-3) for n in range(1, 9)]
    time_when_quiet(libraries, 2.5, machine.clock, machine.sleep)
    assert [one.seconds[0] for one in libraries] == [n * 1e-3 for n in range(1, 9)]
    assert all(one.pace == 1.0 and one.moments == 1 for one in libraries)
    assert 1.0 <= machine.now < 1.5


def test_each_device_has_its_own_moments() -> None:
    machine = Machine()
    cpu, gpu = Device(machine, [(2.0, 2.4)]), Device(machine, [(0.0, 0.4)])
    on_cpu, on_gpu = cpu.library(1e-3), gpu.library(1e-3)
    time_when_quiet([on_cpu, on_gpu], 2.5, machine.clock, machine.sleep)
    assert on_cpu.seconds[0] == on_gpu.seconds[0] == 1e-3
    assert 2.0 <= machine.now < 2.4


def test_without_a_quiet_moment_each_has_its_shortest_repeats_and_is_marked() -> None:
    machine = Machine()
    device = Device(machine, [])
    one, other = device.library(1e-3), device.library(2e-3)
    time_when_quiet([one, other], 0.5, machine.clock, machine.sleep)
    assert (min(one.seconds), min(other.seconds)) == (2e-3, 4e-3)
    assert one.pace == other.pace == 2.0
    assert 0.5 <= machine.now < 0.6


def test_patience_counts_from_the_last_quiet_moment() -> None:
    machine = Machine()
    device = Device(machine, [(0.8, 0.83), (1.7, 2.0)])
    short, long = device.library(1e-5), device.library(0.1)  # the first moment is too short for `long`
    time_when_quiet([short, long], 1.0, machine.clock, machine.sleep)
    assert short.seconds[0] == 1e-5 and long.seconds[0] == 0.1


def test_moments_that_end_during_repeats_do_not_count() -> None:
    machine = Machine()
    device = Device(machine, [(0.5, 0.505), (0.9, 2.0)])
    one = device.library(0.01)
    time_when_quiet([one], 2.5, machine.clock, machine.sleep)
    assert one.seconds == (0.01, 0.0101) and one.moments == 1 and machine.now > 0.9


def test_repeats_that_differ_are_timed_at_more_moments() -> None:
    machine = Machine()
    times = iter([(1.0, 1.4), (1.1, 1.5), (1.2, 1.6), (1.3, 1.7)])
    one = Waiting(lambda: next(times), Device(machine, [(0.0, 9.0)]))
    time_when_quiet([one], 2.5, machine.clock, machine.sleep)
    assert one.moments == MOMENTS == 4 and len(one.seconds) == 8


def test_a_full_speed_that_is_found_late_marks_what_was_timed_before() -> None:
    machine = Machine()
    device = Device(machine, [(1.0, 2.0)], best_s=2e-3)  # only the slowed device has been seen
    first = device.library(1e-3)
    time_when_quiet([first], 2.5, machine.clock, machine.sleep)
    assert first.pace == 1.0
    machine.now = 1.0
    device.measure()
    assert first.pace == 2.0


@pytest.mark.parametrize("patience_s", [0.0, 0.1])
def test_a_device_that_is_not_watched_is_timed_at_once(patience_s: float) -> None:
    machine = Machine()
    one = Waiting(lambda: (1.0, 1.01), None)
    time_when_quiet([one], patience_s, machine.clock, machine.sleep)
    assert one.seconds == (1.0, 1.01) and one.pace == 1.0 and machine.now == 0.0 < PAUSE_S
