"""The predictors' bench on small made-up files: divisions, measures, the table and the picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import _predictor_data, _predictor_limits, _predictor_measures, _predictor_picture, predictors
from benchmarks._predictor_measures import Fitted
from benchmarks._predictor_models import PREDICTORS
from tests.cost_models.kernels import conv, many, seconds_of
from tvm_coexec.cost_models import AnalyticModel
from tvm_coexec.cost_models.dataset import Sample, SampleWriter
from tvm_coexec.testbed import ONE_CORE_EACH

pytestmark = pytest.mark.llvm

KERNELS = [w for w in many() if w.kind in ("conv", "dense", "pool", "injective")]
SECONDS = seconds_of(KERNELS)
FEATURE = (
    "{'Input_shape': '%d', 'Input_channel': %d, 'Output_shape': '%d', 'Stride': '1', 'Kernel': '%d', 'Filter': '%d'}"
)
HEADER = {
    "devices": {"cpu": {"target": "llvm", "name": "C", "threads": "1"}, "gpu": {"target": "opencl", "name": "G"}},
    "tvm": "0",
    "schedules": "s",
}


def kernel_set(kernels=KERNELS, seconds=SECONDS, device="cpu", factor=1.0):
    fold = _predictor_data.divide(np.arange(len(kernels)) // 4, 5)[:1]
    names = [str(i) for i in range(len(kernels))]
    return _predictor_data.KernelSet("set", device, device, False, list(kernels), factor * seconds, fold, names)


def analytic(kind, groups):
    return AnalyticModel(work_groups=groups)


def test_groups_are_in_one_part_only_and_the_same_for_all():
    groups = np.array([7, 7, 3, 9, 3, 5, 9, 1])
    folds = _predictor_data.divide(groups, 3)
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test]) and len(train) + len(test) == len(groups)
    assert sorted(i for _, test in folds for i in test) == list(range(8))
    other = _predictor_data.divide(groups[::-1], 3)
    assert [set(groups[t]) for _, t in folds] == [set(groups[::-1][t]) for _, t in other]


def test_accuracy():
    found = _predictor_measures.measure_accuracy(np.array([1.0, 2.1, 6.0, 4.0]), np.array([1.0, 2.0, 3.0, 5.0]))
    assert found == {
        "within_10": 50.0,
        "mape_%": pytest.approx(100 * (0.05 + 1 + 0.2) / 4),
        "tau": pytest.approx(2 / 3),
    }
    assert _predictor_measures.measure_accuracy(np.ones(3), np.ones(3) * 2)["tau"] == 0.0


@pytest.mark.slow
def test_learning_ends_at_all_samples_and_grows_with_difficulty():
    kernels = kernel_set()
    fitted = _predictor_measures.fit_folds(analytic, kernels)
    rows = fitted.tested
    final = _predictor_measures.measure_accuracy(fitted.predicted[rows], kernels.seconds[rows])["within_10"]
    assert final > 60 and np.isnan(fitted.predicted[kernels.folds[0][0]]).all()
    needed = _predictor_measures.measure_learning(analytic, kernels, (20, 40, 80), final)
    assert 1 < needed <= len(kernels.folds[0][0])
    # an accuracy that only all samples reach
    assert 40 < _predictor_measures.measure_learning(analytic, kernels, (20, 40), 200.0) <= len(kernels.folds[0][0])


@pytest.mark.slow
def test_limits_of_few_samples():
    """Phones that differ by a factor: who looks up the true times needs ten samples; all methods have a row."""
    pytest.importorskip("xgboost")
    sets = [kernel_set(device=d, factor=f) for d, f in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    models = [AnalyticModel().fit(*k.take(k.folds[0][0])) for k in sets]
    others = list(zip(sets[:2], models[:2], strict=True))
    found = _predictor_limits.measure_limits(sets[2], others, models[2], quick=True)
    names = {getattr(_predictor_limits, n) for n in ("OURS", "TYPICAL", "ONE", "PROCESS", "TREES", "FULL")}
    assert {method for method, _, _ in found} == names and all(0 <= within <= 100 for _, _, within in found)
    reached = {(method, column): within for method, column, within in found}
    assert reached[_predictor_limits.PROCESS, "few_10"] == 100.0
    assert reached[_predictor_limits.OURS, "few_20"] > reached[_predictor_limits.FULL, "all"] - 15


@pytest.mark.slow
def test_another_device_that_is_twice_as_slow_needs_few_samples():
    one, other = kernel_set(), kernel_set(device="gpu", factor=2.0)
    fitted = {k.device: _predictor_measures.fit_folds(analytic, k) for k in (one, other)}
    same = _predictor_measures.measure_accuracy(fitted["cpu"].predicted[one.folds[0][1]], one.seconds[one.folds[0][1]])
    found = _predictor_measures.measure_few_samples(fitted, [one, other], _predictor_measures.scale_by_class, (10, 30))
    assert set(found) == {10, 30} and found[30] > same["within_10"] - 15
    blind = [w for w in KERNELS if w.kind == "pool"]
    model = AnalyticModel().fit(blind, SECONDS[: len(blind)])
    moved = _predictor_measures.scale_by_class(model, [conv()], np.array([3.0]))
    assert moved([conv(), blind[0]]).shape == (2,)


def test_perfect_predictions_split_perfectly():
    one, other = kernel_set(), kernel_set(device="gpu", factor=1.5)
    other = replace(other, whole=["", *other.whole[1:]])
    both = [Fitted(AnalyticModel(), k.seconds.copy(), np.arange(len(k.seconds)), 0.0) for k in (one, other)]
    found = _predictor_measures.measure_splits((both[0], one), (both[1], other))
    assert found["slower_%"] == 0 and found["regret_%"] == pytest.approx(0, abs=1e-6)
    assert found["speedup"] == pytest.approx(1 + 1 / 1.5)


def test_labels_of_near_points_are_on_different_sides():
    points = [
        {"bytes": 1000, "within_10": 50.0},
        {"bytes": 1100, "within_10": 51.0},
        {"bytes": 10**6, "within_10": 51.0},
    ]
    first, second, third = _predictor_picture.choose_sides(points)
    assert first != second and third == second


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The bench sets these variables, if they are not set, for its own process."""
    for name, value in ONE_CORE_EACH.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small files of every format, by a simple law."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = ["dtype,N,IC,IH,IW,OC,KH,KW,stride,pad,depthwise,cpu_ms,mali_ms"]
    for _ in range(40):
        ic, oc, size = (int(v) for v in rng.choice((16, 32, 48, 64, 96), 3))
        ms = ic * oc * size * size * 9 / 1e7 + 0.05
        lines.append(f"float32,1,{ic},{size},{size},{oc},3,3,1,1,0,{ms},{0.7 * ms + 0.1}")
    (folder / "rk.csv").write_text("\n".join(lines) + "\n")
    lines = ["model,operation,feature,tall|gpu|float,tall|gpu|kernel,wide|gpu|float,wide|gpu|kernel"]
    ends = ["model,tall|gpu|float|mean,wide|gpu|float|mean"]
    for net in range(12):
        total = 0.0
        for _ in range(6):
            ic, oc, size, k = (int(rng.choice(v)) for v in ((8, 24, 64), (16, 40, 96), (7, 14, 28), (1, 3)))
            us = ic * oc * size * size * k * k / 2e4 + 20
            total += us
            feature = FEATURE % (size, ic, size, k, oc)
            lines.append(f'net{net},CONV_2D,"{feature}",{us},convolution_2d_1,{2 * us},convolution_2d_1')
        ends.append(f"net{net},{1.1 * total + 100},{2.2 * total + 90}")
    (folder / "phones_ops.csv").write_text("\n".join(lines) + "\n")
    (folder / "phones_e2e.csv").write_text("\n".join(ends) + "\n")
    cells = ["nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect", "none"]
    lines = ["id,arch_str,cpu,gpu"]
    for i in range(40):
        a, b, c, d, e, f = rng.choice(cells, 6)
        arch = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        ms = 1 + arch.count("3x3") + 0.2 * arch.count("1x1")
        lines.append(f"n{i},{arch},{'' if i == 5 else ms},{ms / 2}")  # one was not measured
    (folder / "nas.csv").write_text("\n".join(lines) + "\n")
    with SampleWriter(str(folder / "s.jsonl"), HEADER) as writer:
        for i, (w, s) in enumerate(zip(KERNELS, SECONDS, strict=True)):
            network = "alexnet" if i % 5 == 0 else "designed"
            for device, factor in (("cpu", 1.0), ("gpu", 0.6)):
                writer.write(Sample(device, w, factor * float(s), 0.0, 3, network, "k", f"{w.kind}{i}"))
    return folder


@pytest.mark.slow
def test_the_quick_bench(files, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "p.json", tmp_path / "p.svg"
    argv = ["--quick", "--json", str(out), "--picture", str(picture), "--rk3399", str(files / "rk.csv")]
    argv += ["--nasbench", str(files / "nas.csv"), "--samples", str(files / "s.jsonl")]
    wanted = "analytic; Paleo; linear FLOPs"
    predictors.main([*argv, "--phones", str(files / "phones_ops.csv"), "--networks", str(files / "phones_e2e.csv"),
                     "--models", wanted])  # fmt: skip
    done = json.loads(out.read_text())
    rows = {r["model"]: r for r in done["rows"]}
    assert list(rows)[:3] == ["analytic", "linear FLOPs", "Paleo"] and len(rows) == 5
    ours = rows["analytic"]
    assert all(ours[name] is not None for name in predictors.COLUMNS if name != "nasbench"), ours
    assert ours["rk_cpu"] > 60 and ours["own_cpu"] > 60 and ours["nets_corrected"] > 60 and ours["bytes"] < 4096
    assert ours["own_cpu"] > rows["linear FLOPs"]["own_cpu"] and ours["few_20"] > 50
    assert 1 < ours["speedup"] < 2 and 0 <= ours["regret_%"] < 30 and ours["samples_90"] > 0
    tables = rows["sum of a look-up table, solved from totals"], rows["sum of measured operators"]
    assert tables[0]["nasbench"] > 80 and tables[1]["nets_corrected"] == 100
    assert {d["model"] for d in done["details"]["by data set and device"]} == set(rows)
    text = picture.read_text()
    assert text.startswith("<?xml") and "Paleo" in text and "sum of" not in text
    assert "regret_%" in capsys.readouterr().out


@pytest.mark.slow
def test_rows_of_other_models_are_kept(files, tmp_path):
    out = tmp_path / "p.json"
    argv = ["--json", str(out), "--rk3399", str(files / "rk.csv")]
    files_of_others = ["--phones", str(files / "phones_ops.csv"), "--networks", str(files / "phones_e2e.csv")]
    argv += [*files_of_others, "--nasbench", str(files / "nas.csv"), "--samples", str(files / "s.jsonl")]
    predictors.main([*argv, "--models", "Paleo; linear FLOPs"])
    first = json.loads(out.read_text())
    predictors.main([*argv, "--models", "Paleo"])
    second = json.loads(out.read_text())
    names = [r["model"] for r in second["rows"]]
    assert names == [r["model"] for r in first["rows"]] and len(set(names)) == 4
    (kept,) = (r for r in second["rows"] if r["model"] == "linear FLOPs")
    assert kept in first["rows"]
    of_first, of_second = ([d["model"] for d in done["details"][predictors.TITLE]] for done in (first, second))
    assert sorted(of_first) == sorted(of_second)


def test_files_of_test_rows_are_the_test_set(files):
    from benchmarks._latency_data import read_rk3399

    path = files / "rk.csv"
    (one, _) = _predictor_data.rk3399_sets([path, path], quick=False)
    ((train, test),) = one.folds
    n = len(read_rk3399(path)["cpu"].seconds)
    assert (len(train), len(test)) == (n, n) and test[0] == n


def test_names_are_checked():
    assert len({p.name for p in PREDICTORS}) == len(PREDICTORS)
    with pytest.raises(SystemExit, match="no predictor 'oracle'; there are: analytic"):
        predictors._choose("analytic; oracle")
