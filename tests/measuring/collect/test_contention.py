"""Which kernels are timed while the other device is busy."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.planner import graphs
from tvm_coexec.cost_models.dataset import Sample, SampleWriter, read_samples
from tvm_coexec.cost_models.features.describe import describe
from tvm_coexec.measuring.collect import links_and_contention as module
from tvm_coexec.measuring.collect.collection import Options

pytestmark = pytest.mark.llvm

HEADER = {"devices": {"cpu": {"target": "llvm"}, "gpu": {"target": "opencl"}}, "tvm": "0", "schedules": "s"}
GRAPH = graphs.graph(*(graphs.conv_kernel(n, (-1,), size=8 * (n + 1)) for n in range(12)))
KERNELS = GRAPH.kernels  # the larger, the more bytes


def selected(path, few: int, times: dict[tuple[str, int], float]) -> list[int]:
    """Positions of the kernels that are selected with samples of these seconds, by device and position."""
    writer = SampleWriter(str(path), HEADER)
    for (device, n), seconds in times.items():
        w = describe(KERNELS[n], device)
        writer.write(Sample(device, w, seconds, signature=KERNELS[n].signature(), network="m").to_json())
    writer.close()
    run = SimpleNamespace(builders=[("m", SimpleNamespace(graph=GRAPH))], options=Options(few=few))
    assert read_samples(str(path)).usable
    return [KERNELS.index(kernel) for _, kernel in module._select_kernels(run, str(path))]


def test_all_of_a_class_that_both_devices_have(tmp_path):
    times = {(d, n): 1e-3 for d in ("cpu", "gpu") for n in range(12)} | {("gpu", 0): 1.0, ("cpu", 11): 1e-5}
    del times["gpu", 5]
    first, *found = selected(tmp_path / "s.jsonl", 0, times)
    assert first == 10, "the one with most bytes"
    assert len(found) == module.CONTENTION_PER_CLASS and found == sorted(found) and not {0, 5, 10, 11} & set(found)


def test_of_few_samples_those_that_one_device_has_count(tmp_path):
    """They span what kernels need of memory."""
    times = {("cpu" if n % 2 else "gpu", n): 1e-3 for n in range(12)} | {("gpu", 0): 1.0, ("cpu", 11): 1e-5}
    first, *found = selected(tmp_path / "s.jsonl", 5, times)
    assert first == 10 and found == sorted(found) and len(found) == module.CONTENTION_FEW - 1
    assert found[0] == 1 and found[-1] < 10
    assert selected(tmp_path / "one.jsonl", 5, {("cpu", 3): 1e-3}) == [11, 3]


def test_the_one_with_most_bytes_need_not_be_measured_but_not_take_too_long(tmp_path, monkeypatch):
    assert selected(tmp_path / "none.jsonl", 5, {("cpu", 3): 1.0}) == [11]
    assert selected(tmp_path / "long.jsonl", 0, {("cpu", 11): 1.0, ("gpu", 10): 1e-5}) == [9]
    most = describe(KERNELS[4], "cpu").traffic_bytes
    monkeypatch.setattr(module, "CONTENTION_MOST_BYTES", most)
    assert selected(tmp_path / "large.jsonl", 0, {("cpu", 3): 1.0}) == [4]
