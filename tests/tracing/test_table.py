"""A run in numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("tvm.relay")

from tests.tracing import made
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.tracing import numbers, table
from tvm_coexec.tracing.spans import Spans
from tvm_coexec.tracing.table import expected_numbers, segment_rows

pytestmark = pytest.mark.llvm


def test_sums_of_a_run():
    found = numbers(made.recording().measured)
    micro = {key: round(value * 1e6, 3) for key, value in found.items() if key.endswith("_s")}
    assert micro == {
        "run_s": 100,
        "cpu_work_s": 48,
        "cpu_slice_join_s": 10,
        "enqueue_s": 7,
        "copy_s": 8,
        "wait_s": 18,
        "idle_wait_s": 1,  # the GPU's last kernel has ended by 80
        "other_s": 9,
        "gpu_s": 60,
        "both_s": 40,  # from 21, where the CPU begins, to 61
    }
    assert (found["uploaded_bytes"], found["downloaded_bytes"], found["sync_points"]) == (64, 32, 2)


def test_the_host_s_times_fill_the_run():
    found = numbers(made.recording().measured)
    host = ("cpu_work_s", "cpu_slice_join_s", "enqueue_s", "copy_s", "wait_s", "other_s")
    assert sum(found[key] for key in host) == pytest.approx(found["run_s"])


def test_expected_next_to_measured():
    found = expected_numbers(made.recording())
    assert found["run_s"] == pytest.approx(90e-6) and found["wait_s"] == pytest.approx(10e-6)
    assert found["both_s"] == pytest.approx(40e-6) and found["moved_bytes"] == 96 and found["sync_points"] == 2
    chain, rest = segment_rows(made.recording())
    assert chain["measured"]["gpu_s"] == pytest.approx(60e-6) and chain["expected"]["gpu_s"] == pytest.approx(50e-6)
    assert chain["measured"]["wait_s"] == pytest.approx(18e-6) and chain["expected"]["wait_s"] == pytest.approx(10e-6)
    assert rest["measured"]["cpu_s"] == pytest.approx(8e-6)


def test_table_has_all_numbers():
    text = table(made.recording(), "small")
    assert text.startswith("small: 0.100 ms, the median of 3 runs (0.050 to 0.220 ms); the plan expected 0.090 ms\n")
    lines = {line[:34].strip(): line[34:].split() for line in text.splitlines()}
    assert lines["GPU: kernels, ms"] == ["0.060", "0.050"]
    assert lines["CPU: waiting for the GPU, ms"] == ["0.018", "0.010"]
    assert lines["sync points"] == ["2", "2"]
    assert "8/16" in text and "may be off by 2.0 us" in text


def test_table_without_a_plan_has_one_column_and_a_note():
    text = table(made.recording(described=False), "small")
    assert "expected" not in text.splitlines()[2] and "segment device" not in text
    assert "tvm_coexec.build" in text
    assert numbers(made.recording(described=False).measured)["sync_points"] == 2


def test_incomplete_runs_are_not_shown():
    whole = made.recording()
    assert whole.chosen == (made.START, made.START + 100 * made.US)
    late = made.span("wait", 10_000, 10_001)
    with pytest.raises(CoExecError, match="more events than"):
        _ = replace(whole, spans=Spans((late,), 7)).chosen
    first = made.span("wait", 150, 151)  # in the second run
    cut = replace(whole, spans=Spans((first, *made.run_spans()), 7))
    assert cut.chosen in whole.windows[1:]
    assert "7 events of the first runs are missing" in table(cut)
