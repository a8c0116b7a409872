"""The drawer of timelines takes any lanes: a measured run beside a predicted one, too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tvm_coexec.drawing
from tests.drawing import pages
from tvm_coexec.drawing import Bar, Drawing, Lane, timelines
from tvm_coexec.drawing.timelines import ticks


def test_four_lanes_share_one_axis():
    lanes = [
        Lane("CPU", "cpu", (Bar(0.0, 0.5, "work", 0, 0), Bar(0.5, 0.6, "join", 0, 0))),
        Lane("GPU", "gpu", (Bar(0.0, 0.4, "work", 0, 0),)),
        Lane("CPU measured", "cpu", (Bar(0.1, 0.8, "work", 0, 0),)),
        Lane("GPU measured", "gpu", (Bar(0.2, 1.0, "idling", tip="told by a meter"),)),
    ]
    svg = pages.svgs(pages.parse(Drawing("t", (("", timelines(lanes, "both")),))))[0]
    bars = {(b.data["lane"], b.data["what"]): b for b in pages.boxes(svg, "what")}
    assert len({b.y for b in bars.values()}) == 4
    whole = bars["GPU measured", "idling"]
    scale = whole.width / 0.8
    for key, start, end in ((("CPU", "work"), 0.0, 0.5), (("CPU", "join"), 0.5, 0.6), (("GPU", "work"), 0.0, 0.4)):
        assert bars[key].width == pytest.approx((end - start) * scale, abs=0.02)
        assert bars[key].x - whole.x == pytest.approx((start - 0.2) * scale, abs=0.02)
    assert "told by a meter" in whole.tip and "200.000 to 1000.000 ms" in whole.tip
    text = "".join(svg.itertext())
    assert "idling" in text and "chain (segment 0)" in text and "both" in text


def test_drawing_imports_no_tvm():
    for file in Path(tvm_coexec.drawing.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n == "tvm" or n.startswith("tvm.") for n in names), file


def test_nothing_ran():
    svg = pages.svgs(pages.parse(Drawing("t", (("", timelines([Lane("CPU", "cpu", ())], "empty")),))))[0]
    assert pages.boxes(svg, "what") == [] and "empty" in "".join(svg.itertext())


@pytest.mark.parametrize("end", [1e-6, 0.3, 1.0, 4.999, 5.0, 7.0, 49.0, 253.4, 99999.0])
def test_ticks_are_few_round_and_inside(end):
    found = ticks(end)
    assert found[0] == 0 and 5 <= len(found) <= 14 and found[-1] <= end * (1 + 1e-6)
    assert found[-1] + (found[1] - found[0]) > end
