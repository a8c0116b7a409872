"""Predictors of latency on one bench: accuracy, size, times, other devices, and the splits that they lead to.

All models have the same training and test sets, by shape (RK3399) or network (phones, NAS-Bench-201, own test-bed), and
nothing is filtered. Models of kernels are compared on kernels, and by sums of kernels with models of whole networks.
``--models`` runs some and, with ``--json``, keeps the rows of the others that are in the file; results are written
after each model. ``--plans`` measures what plans by each model take on this machine. ``--few`` compares our model of a
new phone from few samples with unrestricted models that know the true times of all its kernels on the other phones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import _common, _predictor_measures
from benchmarks import _predictor_data as data
from benchmarks._predictor_measures import Fitted
from benchmarks._predictor_models import PREDICTORS, Predictor
from tvm_coexec.core.errors import CoExecError

_QUICK_LEARNING = (50, 200)
_SLOW_LEARNING = (100, 400, 1600)
TITLE = "by data set and device"
_MANY, _QUICK_MANY = 10000, 500
COLUMNS = (
    *("model", "rk_cpu", "rk_mali", "phones", "own_cpu", "own_gpu", "mape_%", "tau", "bytes", "fit_s", "one_us"),
    *("10000_ms", "samples_90", "few_10", "few_20", "few_50", "speedup", "regret_%", "slower_%"),
    *("nasbench", "nets", "nets_corrected"),
)
NOTES = (
    "rk_cpu to own_gpu: % of kernels of the test set within +-10 %; phones: mean of the phones; mape_% and tau: means "
    "of these sets",
    "bytes, fit_s, one_us, 10000_ms: of the model of the own test-bed's CPU (of networks: NAS-Bench-201): its file, "
    "and the times to fit it and to predict one kernel and 10,000",
    "samples_90: samples of the own test-bed's CPU after which 90 % of the final share within 10 % is reached",
    "few_10 to few_50: % within 10 % on a phone from the model of another phone and so many own samples; by one factor "
    "a kind where a model has no method of its own",
    "speedup, regret_%, slower_%: splits by predicted times (RK3399 and own test-bed, means): over the better device, "
    "above the perfect split, and operators made slower",
    "nasbench, nets: % of whole networks within 10 %, of NAS-Bench-201 and of the phones' networks; models of kernels "
    "by the sum of their kernels, nets_corrected by a + b kernels + c sum",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write JSON and picture."""
    args = _common.parse("predictors", __doc__, arguments, own=_own_arguments)
    bed = _common.TestBed()
    chosen = _choose(args.own.models)
    if args.own.few:
        from benchmarks import _predictor_limits

        _predictor_limits.run(
            args, bed, [data.phone_sets([Path(f) for f in s], args.quick) for s in args.own.phones or []]
        )
        return
    if args.own.plans:
        from benchmarks import _predictor_plans

        _predictor_plans.run(args, bed, chosen)
        return
    bench = Bench(args)
    rows, details = bench.measure_tables()
    rows, details = keep_rows(args, [p.name for p in chosen], rows, details)
    for p in _common.progress(chosen, "predictors"):
        row, found = bench.measure(p)
        rows, details = [*rows, row], [*details, *found]
        rows = sort_rows(rows)
        _common.write(args, bed.setting(), rows, [*NOTES, *bench.notes], {TITLE: details})
    if args.own.picture:
        from benchmarks import _predictor_picture

        _predictor_picture.draw(rows, Path(args.own.picture))
    _common.finish(args, bed, rows, [*NOTES, *bench.notes], COLUMNS, details={TITLE: details})


def keep_rows(
    args: _common.Arguments, chosen: Sequence[str], rows: list[dict], details: list[dict]
) -> tuple[list[dict], list[dict]]:
    """Add the rows and details of an earlier run in the same file whose models this run does not measure."""
    earlier, tables = ([], {}) if args.quick or args.own.models is None else _common.read_earlier(args)
    again = {*chosen, *(r["model"] for r in rows)}
    kept = [r for r in earlier if r["model"] not in again]
    return [*kept, *rows], [*(d for d in tables.get(TITLE, []) if d["model"] not in again), *details]


def sort_rows(rows: list[dict]) -> list[dict]:
    """Return rows in the order of the models, those of other names last."""
    order = {p.name: i for i, p in enumerate(PREDICTORS)}
    return sorted(rows, key=lambda row: order.get(row["model"], len(order)))


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    here, folder = data.DATA.is_dir(), data.DATA
    phones, both = folder / "phones", ("tflite", "torch")
    add = parser.add_argument
    rk3399 = [folder / "rk3399_conv2d/conv2d_cpu_gpu.csv"]
    add("--rk3399", nargs="+", metavar="CSV", default=rk3399 if here else None, help="training rows, then test rows")
    add(
        "--phones",
        nargs="+",
        action="append",
        metavar="CSV",
        help="operators of phones: training rows, then test rows; may be given again for another framework",
    )
    add("--networks", action="append", metavar="CSV", help="whole networks of each --phones, in the same order")
    nasbench = [folder / "nasbench201_cpu_gpu/latency.csv"]
    add("--nasbench", nargs="+", metavar="CSV", default=nasbench if here else None, help="training, then test rows")
    samples = data.SAMPLES if data.SAMPLES.exists() else None
    add("--samples", metavar="FILE", default=samples, help="own samples, of coexec profile")
    add("--models", metavar="NAMES", help=f"some of: {'; '.join(p.name for p in PREDICTORS)} (separated by ;)")
    add("--picture", metavar="SVG", help="draw accuracy over bytes to this file (needs matplotlib)")
    add("--few", action="store_true", help="instead, measure what few samples of a new phone can tell at most")
    add("--plans", nargs="+", metavar="NETWORK", help="instead, measure plans by each model on these networks")
    add("--profiles", metavar="FOLDER", help="with --plans: keep fitted profiles here, and use those that are there")
    parser.set_defaults(
        phones=[[phones / f"{n}_cnn_ops_gpu.csv"] for n in both] if here else None,
        networks=[phones / f"{n}_cnn_e2e.csv" for n in both] if here else None,
    )


def _choose(names: str | None) -> list[Predictor]:
    if names is None:
        return list(PREDICTORS)
    wanted = [n.strip() for n in names.split(";") if n.strip()]
    known = {p.name: p for p in PREDICTORS}
    if unknown := [n for n in wanted if n not in known]:
        raise SystemExit(f"--models: there is no predictor '{unknown[0]}'; there are: {'; '.join(known)}")
    return [known[n] for n in wanted]


class Bench:
    """The data, and the measures of one model after the other."""

    def __init__(self, args: _common.Arguments):
        own, quick = args.own, args.quick
        self.quick, self.notes = quick, list[str]()
        self.rk3399 = data.rk3399_sets([Path(f) for f in own.rk3399], quick) if own.rk3399 else []
        self.phones = [data.phone_sets([Path(f) for f in files], quick) for files in own.phones or []]
        self.own = data.own_sets(Path(own.samples), quick) if own.samples else []
        self.nasbench = data.nasbench_sets([Path(f) for f in own.nasbench], quick) if own.nasbench else []
        self.networks = [
            data.phone_network_sets([Path(f) for f in files], Path(ends), sets)
            for files, ends, sets in zip(own.phones or [], own.networks or [], self.phones, strict=False)
        ]
        for name, given in (("--rk3399", own.rk3399), ("--phones", own.phones), ("--nasbench", own.nasbench)):
            if not given:
                self.notes.append(f"published measurements are missing: give {name}")

    def measure(self, p: Predictor) -> tuple[dict, list[dict]]:
        """Return the row of a model, and its rows by data set and device."""
        row: dict = dict.fromkeys(COLUMNS) | {"model": p.name}
        found: list[dict] = []
        try:
            if p.make is not None:
                row |= self._measure_kernels(p, found)
            if p.make_network is not None:
                row |= self._measure_networks(p, found)
        except CoExecError as err:  # a library is missing
            self.notes.append(f"{p.name} is left out: {err}")
        return row, [{"model": p.name, **r} for r in found]

    def _measure_kernels(self, p: Predictor, found: list[dict]) -> dict:
        row: dict = {}
        sets = {"rk3399": self.rk3399, "own": self.own, **{f"phones{i}": s for i, s in enumerate(self.phones)}}
        fitted = {name: [_predictor_measures.fit_folds(p.make, k) for k in kernels] for name, kernels in sets.items()}
        for name, kernels in sets.items():
            for f, k in zip(fitted[name], kernels, strict=True):
                accuracy = _predictor_measures.measure_accuracy(f.predicted[f.tested], k.seconds[f.tested])
                size = {"bytes": f.model.nbytes, "fit_s": f.fit_s}
                found.append({"data": k.data, "device": k.device, **accuracy, **size})
        within = {(r["data"], r["device"]): r["within_10"] for r in found}
        row |= {"rk_cpu": within.get(("RK3399", "cpu")), "rk_mali": within.get(("RK3399", "mali"))}
        row |= {f"own_{d}": within.get(("own test-bed", d)) for d in ("cpu", "gpu")}
        row["phones"] = _mean([v for (name, _), v in within.items() if name.startswith("phones")])
        row |= {name: _mean([r[name] for r in found]) for name in ("mape_%", "tau")}
        row |= self._measure_cost(p, (fitted["own"] or fitted["rk3399"])[:1], (self.own or self.rk3399)[:1])
        few = [
            _predictor_measures.measure_few_samples(
                {k.device: f for k, f in zip(kernels, fitted[f"phones{i}"], strict=True)},
                kernels,
                p.adapt,
                fit_devices=p.fit_devices,
                choose=p.choose,
            )
            for i, kernels in enumerate(self.phones)
        ]
        for n in _predictor_measures.FEW:
            row[f"few_{n}"] = _mean([f[n] for f in few if n in f])
        splits = []
        for name, kernels in (("rk3399", self.rk3399), ("own", self.own)):
            if len(kernels) == 2:
                cpu, gpu = zip(fitted[name], kernels, strict=True)
                splits.append(_predictor_measures.measure_splits(cpu, gpu))
                found.append({"data": f"{kernels[0].data}, splits", "device": "both", **splits[-1]})
        row |= {name: _mean([s[name] for s in splits]) for name in ("speedup", "regret_%", "slower_%")}
        return row | self._measure_sums(fitted, found)

    def _measure_cost(self, p: Predictor, fitted: list[Fitted], kernels: list[data.KernelSet]) -> dict:
        if not fitted:
            return {}
        f, k = fitted[0], kernels[0]
        final = _predictor_measures.measure_accuracy(f.predicted[f.tested], k.seconds[f.tested])["within_10"]
        sizes = _QUICK_LEARNING if self.quick else _SLOW_LEARNING if p.is_slow else _predictor_measures.LEARNING
        speed = _predictor_measures.measure_speed(f.model, k.workloads, _QUICK_MANY if self.quick else _MANY)
        needed = _predictor_measures.measure_learning(p.make, k, sizes, final)
        return {"bytes": f.model.nbytes, "fit_s": f.fit_s, **speed, "samples_90": needed}

    def _measure_sums(self, fitted: dict[str, list[Fitted]], found: list[dict]) -> dict:
        """Whole networks of phones from the sums of their kernels, with and without the correction."""
        plain, corrected = [], []
        for i, sets in enumerate(self.networks):
            for network, f, k in zip(sets, fitted[f"phones{i}"], self.phones[i], strict=True):
                otherwise_s = float(np.median(k.seconds[k.folds[0][0]]))
                sums = _predictor_measures.sum_of_kernels(f.model, network.graphs, otherwise_s)
                measured = _predictor_measures.measure_sums(network, sums)
                for how, values in measured.items():
                    found.append({"data": f"{network.data}, {how}", "device": network.device, **values})
                plain.append(measured["sum"]["within_10"])
                corrected.append(measured["corrected sum"]["within_10"])
        return {"nets": _mean(plain), "nets_corrected": _mean(corrected)}

    def _measure_networks(self, p: Predictor, found: list[dict]) -> dict:
        """Measure a model of whole networks, on NAS-Bench-201 and on the phones' networks."""
        of_nasbench = [_predictor_measures.measure_network_model(p.make_network, n) for n in self.nasbench]
        phones = [n for sets in self.networks for n in sets]
        of_phones = [_predictor_measures.measure_network_model(p.make_network, n) for n in phones]
        for network, values in zip([*self.nasbench, *phones], [*of_nasbench, *of_phones], strict=True):
            found.append({"data": network.data, "device": network.device, **values})
        row = {
            "nasbench": _mean([m["within_10"] for m in of_nasbench]),
            "nets": _mean([m["within_10"] for m in of_phones]),
        }
        row["nets_corrected"] = None  # a network's model needs none
        if p.make is None:
            both = [*of_nasbench, *of_phones]
            row |= {name: _mean([m[name] for m in both]) for name in ("mape_%", "tau")}
            row |= {name: (both[0][name] if both else None) for name in ("bytes", "fit_s", "one_us")}
        return row

    def measure_tables(self) -> tuple[list[dict], list[dict]]:
        """Return rows of what sums of kernels reach: of a table solved from totals, and of measured operators."""
        details: list[dict] = []
        names = ("sum of a look-up table, solved from totals", "sum of measured operators")
        rows: list[dict] = [dict.fromkeys(COLUMNS) | {"model": name} for name in names]
        solved = [(n, _predictor_measures.sum_of_table(n)) for n in self.nasbench]
        known = [(n, sums) for sets in self.networks for n in sets for sums in n.kernel_sums.values()]
        for row, sets in zip(rows, (solved, known), strict=True):
            found = [(n, _predictor_measures.measure_sums(n, sums)) for n, sums in sets]
            for n, measured in found:
                for how, values in measured.items():
                    details.append({"model": row["model"], "data": f"{n.data}, {how}", "device": n.device, **values})
            plain, corrected = (_mean([m[how]["within_10"] for _, m in found]) for how in ("sum", "corrected sum"))
            row |= {"nasbench": plain} if row is rows[0] else {"nets": plain, "nets_corrected": corrected}
        return rows, details


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


if __name__ == "__main__":
    main()
