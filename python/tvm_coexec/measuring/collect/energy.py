"""Measure what energy the machine uses: at rest, while one device runs kernels, and while both do.

Idle power is part of every reading; `Power.fit` separates it from what each device adds. All states are measured in
turns, so that what changes slowly, such as a fan or the charge of a battery, affects all alike.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import Kernel
from tvm_coexec.core.progress import progress
from tvm_coexec.cost_models.dataset import DEVICES, Samples, SampleWriter, read_samples
from tvm_coexec.cost_models.energy_records import EnergyRecord, find_spreads, fit_power
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.features.workload import Workload

from ..compile import Built
from ..energy.meter import EnergyRun
from ..host_info import BUSY_CORES
from ..pieces import Piece
from ..protocol import BusyRequest, EnergyRequest, GaugeRequest
from ..worker import ChildError

if TYPE_CHECKING:
    from .collection import Collection

logger = logging.getLogger("tvm_coexec")

ROUNDS, MORE_ROUNDS = 3, 2
MAX_SPREAD = 0.1  # of the power of repeated readings, over the median
START_S, READING_S = 300, 900


@dataclass(frozen=True)
class _State:
    """Kernels to repeat, by device: none at rest."""

    running: dict[str, tuple[Kernel, Workload, Built]]

    @property
    def device(self) -> str:
        return next(iter(self.running)) if len(self.running) == 1 else ""

    @property
    def signature(self) -> str:
        return " | ".join(kernel.signature() for kernel, _, _ in self.running.values())

    @property
    def key(self) -> tuple[str, str]:
        """As `EnergyRecord.key`."""
        return (self.device, self.signature)


def find_gauge(run: Collection) -> str:
    """Return the name of the gauge of the first board's energy; `CoExecError` if it has none that can be used."""
    try:
        return run.timer.call(GaugeRequest(run.options.gauge_root), START_S)
    except ChildError as err:
        raise CoExecError(str(err)) from None


def measure(run: Collection, writer: SampleWriter) -> list[str]:
    """Measure the states that are not in the file yet.

    Parameters
    ----------
    run : Collection
    writer : SampleWriter
        Of a file that has the kernels' times.

    Returns
    -------
    list of str
        What was found, as lines for people.

    Raises
    ------
    CoExecError
        If the gauge stops working.
    """
    gauge = find_gauge(run)
    states = _make_states(run, read_samples(writer.path))
    records, loads = list(writer.found.energy), [0.0]
    with progress(what="energy", unit="reading", total=ROUNDS * len(states)) as bar:
        for number in range(ROUNDS + MORE_ROUNDS):
            for state in _choose_states(states, records, number):
                found = _measure_state(run, state)
                loads.append(found.load)
                record = _make_record(state, found, gauge)
                records.append(record)
                writer.write(record)
                bar.update()
    return _describe(records, gauge, max(loads))


def _choose_states(states: Sequence[_State], records: Sequence[EnergyRecord], number: int) -> list[_State]:
    """States that lack a reading in a round; in the last rounds only those whose readings differ."""
    counts: dict[tuple[str, str], int] = {}
    for r in records:
        counts[r.key] = counts.get(r.key, 0) + 1
    wanted = [s for s in states if counts.get(s.key, 0) <= number]
    if number < ROUNDS:
        return wanted
    spreads = find_spreads(records)
    return [s for s in wanted if spreads.get(s.key, 0.0) > MAX_SPREAD]


def _make_states(run: Collection, samples: Samples) -> list[_State]:
    """The machine at rest, each device with its kernels, and both with those of the longest time."""
    states = [_State({})]
    first: dict[str, _State] = {}
    for device in DEVICES:
        chosen = _choose_kernels(run, samples, device)
        requests = [run.make_request(model, Piece(device, kernel.index), device) for model, kernel in chosen]
        built = run.build_all(requests, run.options.compile_timeout_s)
        for (_, kernel), one in zip(chosen, built, strict=True):
            if isinstance(one, ChildError):
                logger.warning("the energy of %s on the %s can't be measured: %s", kernel.name, device, one)
                continue
            state = _State({device: (kernel, describe(kernel, device), one)})
            first.setdefault(device, state)
            states.append(state)
        if device not in first:
            raise CoExecError(
                f"no kernel of the models has been timed on the {device}, so its energy can't be measured"
            )
    if run.options.server is None:  # an RPC server serves one session at a time
        states.append(_State({d: first[d].running[d] for d in DEVICES}))
    return states


def _choose_kernels(run: Collection, samples: Samples, device: str) -> list[tuple[int, Kernel]]:
    """Choose kernels of a device: of all classes in turns, those first whose class takes most time, longest first."""
    seconds = {s.signature: s.seconds for s in samples.of(device) if s.rows is None}
    by_class: dict[str, list[tuple[float, int, Kernel]]] = {}
    known = set()
    for model, (_, builder) in enumerate(run.builders):
        for kernel in builder.graph.kernels:
            if kernel.signature() in seconds and kernel.signature() not in known:
                known.add(kernel.signature())
                kind = describe(kernel, device).kind
                by_class.setdefault(kind, []).append((seconds[kernel.signature()], model, kernel))
    classes = sorted(by_class.values(), key=lambda members: -sum(m[0] for m in members))
    for members in classes:
        members.sort(key=lambda m: -m[0])
    longest = max(map(len, classes), default=0)
    in_turns = [members[i] for i in range(longest) for members in classes if i < len(members)]
    return [(model, kernel) for _, model, kernel in in_turns[: run.options.energy]]


def _measure_state(run: Collection, state: _State) -> EnergyRun:
    """Measure one reading, while another process keeps the GPU busy if both devices are to work."""
    both = len(state.running) == 2
    try:
        if both:
            run.busy.call(BusyRequest(state.running["gpu"][2]), START_S)
        built = next((b for _, _, b in state.running.values()), None)
        found = run.timer.call(
            EnergyRequest(built, run.options.gauge_root, run.options.energy_s),
            READING_S + (run.options.energy_s or 0.0),
        )
        if both:
            run.busy.call("stop", START_S)
        return found
    except ChildError as err:
        run.busy.stop()
        raise CoExecError(f"energy can't be measured: {err}") from None


def _make_record(state: _State, found: EnergyRun, gauge: str) -> EnergyRecord:
    busy_s = {
        f"{device}/{workload.kind}": found.seconds if number else found.busy_s  # the other process never pauses
        for number, (device, (_, workload, _)) in enumerate(state.running.items())
    }
    workload = state.running[state.device][1] if state.device else None
    return EnergyRecord(found.seconds, found.joules, busy_s, gauge, state.device, state.signature, workload)


def _describe(records: Sequence[EnergyRecord], gauge: str, load: float) -> list[str]:
    """Return the power found, and what makes it doubtful, as lines."""
    idle_w = median(r.watts for r in records if not r.busy_s)
    added = {d: median(r.watts for r in records if r.device == d) - idle_w for d in DEVICES}
    devices = ", ".join(f"{watts:.3g} W more while the {d} works" for d, watts in added.items())
    lines = [f"energy by {gauge}: {idle_w:.3g} W at rest, {devices}"]
    if noisy := [s for s in find_spreads(records).values() if s > MAX_SPREAD]:
        lines.append(
            f"the power of {len(noisy)} of {len(find_spreads(records))} states differs between readings by up to "
            f"{100 * max(noisy):.0f} %: let the machine become idle and cool, and measure into a new file"
        )
    if load > BUSY_CORES:
        lines.append(f"other processes used {load:.1f} cores while energy was measured: stop them, and measure again")
    try:
        fit_power(records)
    except CoExecError as err:
        lines.append(f"no power can be fitted: {err}")
    return lines
