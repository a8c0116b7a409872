"""Integrating a gauge over a run, by a clock of the test's own."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relay")

from tvm_coexec import CoExecError
from tvm_coexec.measuring.energy import meter
from tvm_coexec.measuring.energy.gauges import Gauge

pytestmark = pytest.mark.llvm

IDLE_W, BUSY_W = 3.0, 12.0


class Machine:
    """A machine whose time goes on only while it works or rests."""

    def __init__(self, step_j: float):
        self.now_s, self.energy_j, self.step_j, self.reads = 0.0, 0.0, step_j, 0

    def perf_counter(self) -> float:
        return self.now_s

    def work(self, part: float = 0.75) -> float:
        """0.1 s, of which a part is computing; the rest is the launch's."""
        self.now_s += 0.1
        self.energy_j += 0.1 * (IDLE_W + part * BUSY_W)
        return 0.1 * part

    def rest(self) -> float:
        return self.work(0.0)


class Counter(Gauge):
    """Counts whole steps."""

    name, settle_s, least_s, most_s, changes = "counter", 1.0, 2.0, 500.0, 5

    def __init__(self, machine: Machine):
        self.machine = machine

    def read(self):
        return (self.machine.energy_j // self.machine.step_j,)

    def joules(self, before, after, seconds):
        return (after[0] - before[0]) * self.machine.step_j


class PowerGauge(Counter):
    """Shows the power of the last moment."""

    def read(self):
        now, energy = self.machine.now_s, self.machine.energy_j
        before = getattr(self, "before", (now - 0.1, energy - 0.1 * IDLE_W))
        if now > before[0]:
            self.shown = (energy - before[1]) / (now - before[0]) + 1e-9 * now
            self.before = (now, energy)
        return (self.shown,)

    def joules(self, before, after, seconds):
        return seconds * (before[0] + after[0]) / 2


@pytest.fixture
def machine(monkeypatch):
    made = Machine(step_j=0.05)
    monkeypatch.setattr(meter, "time", made)
    return made


@pytest.mark.parametrize("step_j", [1e-4, 0.05, 36.0])
@pytest.mark.parametrize("kind", [Counter, PowerGauge])
def test_power_is_found_whatever_the_steps(machine, step_j, kind):
    """36 J is a step of a battery's `energy_now`, of some seconds' work here."""
    machine.step_j = step_j
    gauge = kind(machine)
    idle = meter.measure_run(gauge, machine.rest)
    busy = meter.measure_run(gauge, machine.work)
    assert idle.watts == pytest.approx(IDLE_W, rel=0.03) and idle.busy_s == 0.0
    assert busy.watts == pytest.approx(IDLE_W + 0.75 * BUSY_W, rel=0.03)
    assert busy.busy_s / busy.seconds == pytest.approx(0.75, rel=1e-6) and busy.seconds >= gauge.least_s


def test_other_processes_are_noticed(machine):
    run = meter.measure_run(Counter(machine), machine.work, other_cpu_s=lambda: 0.5 * machine.now_s)
    assert run.load == pytest.approx(0.5)


def test_a_gauge_that_stands_still(machine):
    machine.step_j = 1e9
    with pytest.raises(CoExecError, match=r"counter changed 0 times in 500 s, .* `coexec fit --meter`"):
        meter.measure_run(Counter(machine), machine.work)


def test_a_gauge_that_runs_backwards(machine):
    class Backwards(Counter):
        def joules(self, before, after, seconds):
            return before[0] - after[0]

    with pytest.raises(CoExecError, match="counter shows -"):
        meter.measure_run(Backwards(machine), machine.work)
