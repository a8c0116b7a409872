"""Power models side by side: NeuralPower's polynomials of a kernel's parameters, and watts by device and kernel class.

Both are fitted to readings of a machine's own gauge (``coexec profile --energy``), here or from ``--samples FILE``, and
predict the power of kernels that they were not fitted to. The energy of a kernel is power x time, with what the latency
model of the same authors predicts. One number for a device is the third model. On a machine without a gauge nothing is
measured, and one line says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import _common
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models import AnalyticModel, LatencyModel, Power, read_samples
from tvm_coexec.cost_models.dataset import DEVICES, Samples
from tvm_coexec.cost_models.energy_records import EnergyRecord, fit_power
from tvm_coexec.cost_models.models.base import assign_folds
from tvm_coexec.cost_models.models.baselines import NeuralPower

FOLDS = 5
KERNELS, QUICK_KERNELS = 40, 4  # of each device
NETWORKS = ("squeezenet", "mobilenet")
NOTES = (
    "power_mape_%, power_within_10: of the machine's power while a kernel runs that the model was not fitted to",
    "energy_mape_%: of a kernel's energy, power x time, both predicted; time by NeuralPower's latency model, or by the "
    "default one for the others",
    "NeuralPower's power is of one device at a time: the energy of a plan with both at work can't be predicted from it",
)
Predict = Callable[[EnergyRecord], float]  # watts


@dataclass(frozen=True)
class Kernels:
    """Readings of a device's kernels.

    Attributes
    ----------
    records : list of EnergyRecord
        One a kernel: the reading of median power.
    idle : list of EnergyRecord
        Of the machine at rest.
    seconds : ndarray
        Measured seconds of one run of each kernel.
    """

    records: list[EnergyRecord]
    idle: list[EnergyRecord]
    seconds: np.ndarray

    @property
    def watts(self) -> np.ndarray:
        """Power of the machine."""
        return np.array([r.watts for r in self.records])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = _common.parse("energy", __doc__, arguments, own=_own_arguments)
    try:
        samples = read_samples(args.own.samples) if args.own.samples else _measure(args)
        rows = compare(samples)
    except CoExecError as err:
        print(f"energy: {err}", file=sys.stderr if args.own.samples else sys.stdout)
        if args.own.samples:
            sys.exit(2)
        return
    _common.finish(args, _common.TestBed(), rows, NOTES)


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", metavar="FILE", help="a file of `coexec profile --energy`; nothing is measured")


def _measure(args: _common.Arguments) -> Samples:
    """Measure networks of the zoo; `CoExecError` if the machine has no gauge."""
    from tvm_coexec import testbed
    from tvm_coexec.measuring.collect.collector import Options, collect
    from tvm_coexec.measuring.energy.board_files import LocalFiles
    from tvm_coexec.measuring.energy.gauges import find_gauge
    from tvm_coexec.measuring.read_model import load_models

    find_gauge(LocalFiles())
    options = Options(
        cuts=0, contention=False, networks=False, bed=testbed.prepare(), energy=QUICK_KERNELS if args.quick else KERNELS
    )
    with tempfile.TemporaryDirectory(prefix="coexec-energy-") as folder:
        path = str(Path(folder) / "samples.jsonl")
        for line in collect(load_models(NETWORKS[:1] if args.quick else NETWORKS), path, options).energy:
            print(line)
        return read_samples(path)


def compare(samples: Samples) -> list[dict]:
    """Compare the models on the kernels of both devices, each predicted by models fitted to others.

    Raises
    ------
    CoExecError
        If the file has no energy, or the gauge does not see a device.
    """
    if not samples.energy:
        raise CoExecError("the samples have no energy: measure it with `coexec profile --energy`")
    fit_power(samples.energy)  # refuses readings that don't show a device
    rows = []
    for device in DEVICES:
        found = select_kernels(samples, device)
        if len(found.records) < FOLDS:
            raise CoExecError(
                f"energy of {len(found.records)} kernels of the {device} is too few: use --energy-kernels"
            )
        fold = assign_folds([r.signature for r in found.records], FOLDS)
        seconds = {kind: predict_seconds(samples, found, fold, device, make) for kind, make in LATENCY.items()}
        for name, (fit, latency) in MODELS.items():
            predicted = np.zeros(len(fold))
            for k in range(fold.max() + 1):
                power = fit([r for r, f in zip(found.records, fold, strict=True) if f != k], found.idle)
                for i in np.flatnonzero(fold == k):
                    predicted[i] = power(found.records[i])
            rows.append(_row(device, name, found, predicted, seconds[latency]))
    return rows


def select_kernels(samples: Samples, device: str) -> Kernels:
    """Select the readings of kernels whose time is known."""
    seconds = {s.signature: s.seconds for s in samples.of(device) if s.rows is None}
    by_kernel: dict[str, list[EnergyRecord]] = {}
    for r in samples.energy:
        if r.device == device and r.signature in seconds and r.workload is not None:
            by_kernel.setdefault(r.signature, []).append(r)
    chosen = [sorted(rs, key=lambda r: r.watts)[len(rs) // 2] for rs in by_kernel.values()]
    idle = [r for r in samples.energy if not r.busy_s]
    return Kernels(chosen, idle, np.array([seconds[r.signature] for r in chosen]))


def predict_seconds(
    samples: Samples, found: Kernels, fold: np.ndarray, device: str, make: Callable[[], LatencyModel]
) -> np.ndarray:
    """Predict each kernel's time by a model fitted to the samples of kernels of other folds."""
    known = samples.of(device)
    predicted = np.zeros(len(fold))
    for k in range(fold.max() + 1):
        out = [i for i in range(len(fold)) if fold[i] == k]
        hidden = {found.records[i].signature for i in out}
        train = [s for s in known if s.signature not in hidden]
        model = make().fit([s.workload for s in train], np.array([s.seconds for s in train])).silence_warnings()
        for i in out:
            w = found.records[i].workload
            predicted[i] = model.predict(w)[0] if model.knows(w) else np.nan
    return predicted


def fit_neural_power(records: Sequence[EnergyRecord], _idle: Sequence[EnergyRecord]) -> Predict:
    """Fit NeuralPower's polynomials to the machine's power; a class of which there is no kernel gets the mean."""
    watts = np.array([r.watts for r in records])
    model = NeuralPower("power").fit([r.workload for r in records], watts).silence_warnings()
    return lambda r: float(model.predict(r.workload)[0]) if model.knows(r.workload) else float(watts.mean())


def fit_by_class(records: Sequence[EnergyRecord], idle: Sequence[EnergyRecord]) -> Predict:
    """Fit the watts of profiles."""
    power = Power.fit([r.reading for r in (*records, *idle)])
    return lambda r: power.energy_j(1.0, dict.fromkeys(r.busy_s, 1.0))


def fit_constant(records: Sequence[EnergyRecord], _idle: Sequence[EnergyRecord]) -> Predict:
    """Fit one number."""
    mean = float(np.mean([r.watts for r in records]))
    return lambda _: mean


LATENCY: dict[str, Callable[[], LatencyModel]] = {
    "analytic": lambda: AnalyticModel(fallback=True),
    "neuralpower": NeuralPower,
}
MODELS = {
    "watts by class (profiles)": (fit_by_class, "analytic"),
    "NeuralPower": (fit_neural_power, "neuralpower"),
    "one number": (fit_constant, "analytic"),
}


def _row(device: str, name: str, found: Kernels, watts: np.ndarray, seconds: np.ndarray) -> dict:
    error = np.abs(watts / found.watts - 1)
    energy_error = np.abs(watts * seconds / (found.watts * found.seconds) - 1)  # nan: a class of one kernel
    return {
        "device": device,
        "model": name,
        "kernels": len(error),
        "power_mape_%": 100 * float(error.mean()),
        "power_within_10": 100 * float((error <= 0.1).mean()),
        "energy_mape_%": 100 * float(np.nanmean(energy_error)),
    }


if __name__ == "__main__":
    main()
