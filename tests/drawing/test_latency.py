"""The picture of latency over trials: steps and dots where the numbers are, in valid SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tvm_coexec.drawing.latency import Measured, draw_latency
from tvm_coexec.drawing.scene import Curve, Group
from tvm_coexec.drawing.svg import svg_of


def test_steps_and_dots():
    scene = draw_latency(
        [(0, 4e-3), (50, 2e-3), (100, 1e-3)], [Measured(0, 4e-3, "untuned"), Measured(100, 2e-3, "<b>")]
    )
    dots = [g.items[0] for g in scene.items if isinstance(g, Group)]
    steps = [c for c in scene.items if isinstance(c, Curve) and c.stroke_width == 2.0]
    assert len(steps) == 4 and steps[0].points[0][0] == dots[0].x + dots[0].width / 2
    centres = [d.y + d.height / 2 for d in dots]
    assert centres[0] == pytest.approx(steps[0].points[0][1]) and centres[1] == pytest.approx(steps[2].points[0][1])
    root = ElementTree.fromstring(svg_of(scene))
    titles = [e.text for e in root.iter() if e.tag.endswith("title")]
    assert titles == ["untuned: 4.000 ms measured", "<b>: 2.000 ms measured"]


def test_only_a_start():
    assert ElementTree.fromstring(svg_of(draw_latency([(0, 1e-3)], []))) is not None
