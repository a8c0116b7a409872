"""Expected and measured lanes on one axis."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytest.importorskip("tvm.relay")

from tests.drawing import pages
from tests.tracing import made
from tvm_coexec.drawing.colours import chain_colour
from tvm_coexec.tracing import draw_run

pytestmark = pytest.mark.llvm


def bars(recording) -> list[pages.Box]:
    return pages.boxes(pages.svgs(pages.parse(draw_run(recording, "small")))[0], "what")


def assert_apart(found: list[pages.Box], lane: str) -> None:
    """Bars of a lane follow each other; numbers in a picture have two decimals."""
    own = sorted((b for b in found if b.data["lane"] == lane), key=lambda b: b.x)
    assert all(a.x + a.width <= b.x + 0.02 for a, b in pairwise(own))


def test_plan_above_run_with_chains_in_their_colours():
    found = bars(made.recording())
    tops = {lane: min(b.y for b in found if b.data["lane"] == lane) for lane in {b.data["lane"] for b in found}}
    assert sorted(tops, key=tops.get) == ["CPU plan", "GPU plan", "CPU run", "GPU run"]
    work = [b for b in found if b.data["what"] == "work" and b.data["segment"] == "0"]
    assert {b.data["lane"] for b in work} == set(tops) and {b.fill for b in work} == {chain_colour(0)}
    for lane in tops:
        assert_apart(found, lane)


def test_one_scale_for_both():
    found = bars(made.recording())
    by = {(b.data["lane"], b.data["what"]): b for b in found if b.data["segment"] == "0"}
    per_us = by["CPU run", "work"].width / 40
    assert by["CPU plan", "work"].width == pytest.approx(40 * per_us, abs=0.05)
    assert by["CPU run", "wait"].width == pytest.approx(18 * per_us, abs=0.05)
    assert "conv_kernel" in next(b for b in found if b.data["lane"] == "GPU run").tip


def test_without_a_plan_the_run_alone():
    assert {b.data["lane"] for b in bars(made.recording(described=False))} == {"CPU run", "GPU run"}


def test_kernels_on_two_queues_do_not_hide_each_other():
    recording = made.recording()
    both = [*made.run_spans(), made.span("launch", 20, 21, "alongside", 1, device=0, on_device=(30, 85))]
    spans = recording.spans.__class__(tuple(both), 0, {})
    found = bars(recording.__class__(recording.graph, recording.windows, spans))
    assert_apart(found, "GPU run")
