"""Adaptive sampling: new kernels lie where the errors are, and an interrupted run goes on with the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import coexec  # noqa: F401 (a fixture)
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.dataset import Sample, Samples, SampleWriter, read_samples
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.cost_models.models.baselines import Paleo
from tvm_coexec.measuring import reference
from tvm_coexec.measuring.collect import adaptive, collector
from tvm_coexec.measuring.collect.collector import Options
from tvm_coexec.measuring.collect.design import NAME, choose_points, is_in_bounds, make_module
from tvm_coexec.measuring.read_model import Model

pytestmark = pytest.mark.llvm

QUICK = Options(
    cuts=0, repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0, processes=1, contention=False, networks=False
)
CLASSES = ("conv1x1", "conv3x3", "dense", "pool")
HEADER = {"devices": {"cpu": {"target": "llvm"}, "gpu": {"target": "opencl"}}, "tvm": "0", "schedules": "s"}


@pytest.fixture(scope="module")
def points():
    return choose_points(80, names=CLASSES)


@pytest.fixture(scope="module")
def graph(points):
    return Model(NAME, make_module(points), {}).graph()


def seconds(w) -> float:
    return w.flops / 2e10 + w.traffic_bytes / 1e10  # as Paleo has it


def samples_of(graph, odd: str) -> Samples:
    """Samples by a simple law; those of one class of kernels are all over the place."""
    samples = Samples(HEADER)
    for k in graph.kernels:
        for device in ("cpu", "gpu"):
            w = describe(k, device)
            factor = 1 + (k.index * 7919 % 13) if w.kind == odd else 1.0
            samples.add(Sample(device, w, seconds(w) * factor, signature=k.signature(), network=NAME).to_json())
    return samples


@pytest.mark.slow
def test_new_points_lie_around_those_with_large_errors(points, graph):
    samples = samples_of(graph, "dense")
    errors = adaptive.find_errors(samples, Paleo)
    assert set(errors) == {k.signature() for k in graph.kernels}
    chosen, found = adaptive.choose_around([points], samples, 9, 0, Paleo)
    assert len(chosen) == found.kernels == 9 and 3 <= found.centres <= 9 and 0.1 < found.errors[0] <= found.errors[1]
    assert {space.name for space, _ in chosen} == {"dense"}
    known = [p for space, p in points if space.name == "dense"]
    for space, p in chosen:
        assert is_in_bounds(p) and all(low <= p[n] <= high for n, (low, high) in space.bounds.items())
        near = [all(0.35 * c[n] <= p[n] <= 1.25 * c[n] + 1 or p[n] in space.bounds[n] for n in p) for c in known]
        assert any(near) and p not in known
    again, _ = adaptive.choose_around([points], samples, 9, 0, Paleo)
    assert [p for _, p in again] == [p for _, p in chosen]
    more, _ = adaptive.choose_around([points, chosen], samples, 9, 1, Paleo)
    assert not [p for _, p in more if p in [c for _, c in chosen]]


def test_small_errors_need_no_neighbours(points, graph):
    chosen, found = adaptive.choose_around([points], samples_of(graph, "nothing"), 9, 0, Paleo)
    assert (chosen, found.kernels, found.centres) == ([], 0, 0)


def test_a_class_of_another_release_is_named(tmp_path):
    path = str(tmp_path / "s.jsonl")
    with SampleWriter(path, HEADER) as writer:
        writer.write({"record": "points", "points": [["origami", {"ic": 3}]]})
    assert read_samples(path).points == [[("origami", {"ic": 3})]]
    with pytest.raises(CoExecError, match="kernels of class 'origami'"):
        adaptive.collect_adaptively(path, 5, 5, QUICK)


@pytest.mark.opencl
@pytest.mark.slow
def test_a_run_on_this_machine(coexec, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(reference, "MAX_SPEED_RATIO", 20.0)  # other tests run at the same time
    monkeypatch.setattr(adaptive, "LEAST_ERROR", 0.0)
    few = lambda count, seed=0, names=(): choose_points(12, seed, CLASSES)  # noqa: E731
    monkeypatch.setattr(adaptive, "choose_points", few)
    hasty = {n: getattr(QUICK, n) for n in ("patience_s", "settle_s")}
    monkeypatch.setattr(collector, "Options", lambda **options: Options(**options, **hasty))
    monkeypatch.setattr("tvm_coexec.measuring.read_model.make_designed_module", lambda count: make_module(few(count)))
    path = tmp_path / "s.jsonl"
    argv = ["profile", "--designed", 12, "--adaptive", 6, "--cuts", 0, "--repeats", 2, "--min-repeat-ms", 1]
    argv += ["--processes", 1, "--no-contention", "-o", path]
    done = coexec(*argv)
    assert done.code == 0, done.err
    samples = read_samples(path)
    assert [len(p) for p in samples.points] == [2, 2, 2] and "round 3: 2 kernels around 1 with errors from" in done.out
    initial = {k.signature() for k in Model(NAME, make_module(few(12)), {}).graph().kernels}
    added = {s.signature for s in samples.samples} - initial
    assert 4 <= len(added) <= 6 and {s.network for s in samples.samples} == {NAME}
    assert f"{len(samples.samples)} measured" in done.out and len(samples.usable) == len(samples.samples)
    # without the last kernels: the same ones are measured again, and no others
    lines = path.read_text().splitlines(keepends=True)
    last = [i for i, line in enumerate(lines) if json.loads(line).get("record") == "sample"][-2:]
    path.write_text("".join(line for i, line in enumerate(lines) if i not in last))
    done = coexec(*argv)
    assert done.code == 0 and "2 measured" in done.out and "round" not in done.out, done
    assert {s.key for s in read_samples(path).samples} == {s.key for s in samples.samples}
    before = Path(path).read_text()
    assert "0 measured" in coexec(*argv).out and Path(path).read_text() == before


def test_arguments_that_do_not_fit_together(coexec, tmp_path):  # noqa: F811
    out = tmp_path / "s.jsonl"
    done = coexec("profile", "--adaptive", 5, "-o", out)
    assert done.code == 2 and "--adaptive starts from designed kernels: give --designed N as well" in done.err
    done = coexec("profile", "--designed", 5, "--adaptive", 5, "--describe-again", "-o", out)
    assert done.code == 2 and "leave out --adaptive" in done.err and not out.exists()
