"""A drawn plan: every kernel once, colours and parts as the plan says, timelines that add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.drawing import pages
from tests.planner import graphs
from tvm_coexec import Report
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.drawing import draw_plan, lanes_of, write_html, write_png
from tvm_coexec.drawing.colours import CHAIN_COLOURS, DEVICE_COLOURS
from tvm_coexec.planner import CachedCosts, make_plan, simulate


def made(g: KernelGraph, *segments: Segment) -> Plan:
    plan = Plan(g.fingerprint(), segments, "by hand", {"0": "a reason with < and &"})
    plan.check(g)
    return plan


@pytest.fixture
def mixed():
    """Both devices alone, two chains, and branches on both devices."""
    g = graphs.residual()
    more = [graphs.conv_kernel(i, (i - 1,)) for i in range(5, 12)]
    g = graphs.graph(*g.kernels, *more)
    segments = [
        Segment("cpu", (0,)), Segment("split", (1, 2), "h", 14), Segment("gpu", (3, 4)),
        Segment("split", (5,), "oc", 8), Segment("cpu", (6, 7)), Segment("split", (8, 9, 10), "h", 16),
        Segment("gpu", (11,)),
    ]  # fmt: skip
    return g, made(g, *segments), graphs.costs()


def test_every_kernel_is_there_once_and_nothing_is_on_top_of_another(mixed):
    g, plan, costs = mixed
    for width in (1280.0, 400.0, 90.0):
        svg = pages.svgs(pages.parse(draw_plan(g, plan, costs, width=max(width, 300.0))))[0]
        found = pages.boxes(svg, "kernel")
        assert sorted(int(b.data["kernel"]) for b in found) == list(range(12))
        everything = [*found, *pages.boxes(svg, "input")]
        assert not any(a.meets(b) for i, a in enumerate(everything) for b in everything[:i])
        _, _, w, h = map(float, svg.attrib["viewBox"].split())
        assert all(b.x >= 0 and b.x + b.width <= w and b.y + b.height <= h for b in everything)


def test_every_value_that_is_read_has_lines(mixed):
    g, plan, costs = mixed
    svg = pages.svgs(pages.parse(draw_plan(g, plan, costs)))[0]
    lines = {int(e.attrib["data-value"]): e for e in svg.iter(f"{pages.SVG}g") if "data-value" in e.attrib}
    assert set(lines) == {v for k in g.kernels for v in k.inputs}
    assert len(list(lines[0].iter(f"{pages.SVG}path"))) >= 2  # to the next kernel, and round it to the sum
    assert "1x32x32x32" in (lines[0].findtext(f"{pages.SVG}title") or "")


def test_a_chain_has_one_colour_in_both_pictures(mixed):
    g, plan, costs = mixed
    network, lines = pages.svgs(pages.parse(draw_plan(g, plan, costs)))
    colours: dict[str, set[str]] = {}
    for box in pages.boxes(network, "kernel"):
        if box.data["device"] == "split":
            colours.setdefault(box.data["segment"], set()).add(box.data["colour"])
    told = "".join(f"{e.text}\n" for e in network.iter(f"{pages.SVG}text"))
    assert all(f"\n{chain}\n" in told for chain in ("1: h 14/32", "3: oc 8/32", "5: h 16/32"))
    assert [colours[s] for s in ("1", "3", "5")] == [{c} for c in CHAIN_COLOURS[:3]]
    work = {(b.data["segment"], b.data["lane"]): b.fill for b in pages.boxes(lines, "what") if b.data["what"] == "work"}
    for segment, colour in colours.items():
        assert {work[segment, "CPU"], work[segment, "GPU"]} == colour
    assert work["0", "CPU"] == DEVICE_COLOURS["cpu"] and work["2", "GPU"] == DEVICE_COLOURS["gpu"]


def test_the_fill_shows_the_cut(mixed):
    g, plan, costs = mixed
    svg = pages.svgs(pages.parse(draw_plan(g, plan, costs)))[0]

    def parts(kernel: int) -> dict[str, float]:
        frame, *rest = pages.rects(("kernel", str(kernel)), svg)
        return {r["fill"]: float(r["width"]) / float(frame["width"]) for r in rest}

    oc = parts(5)
    assert oc[DEVICE_COLOURS["gpu"]] == pytest.approx(0.25, abs=0.01)
    assert oc[DEVICE_COLOURS["cpu"]] == pytest.approx(0.75, abs=0.01)
    last, first = parts(2), parts(1)  # the first kernel of a chain along rows computes the halo twice
    assert last[DEVICE_COLOURS["gpu"]] == pytest.approx(14 / 32, abs=0.01)
    assert first[DEVICE_COLOURS["gpu"]] == pytest.approx(15 / 32, abs=0.01)
    assert first[DEVICE_COLOURS["cpu"]] == pytest.approx(19 / 32, abs=0.01)
    whole = parts(0)
    assert whole[DEVICE_COLOURS["cpu"]] == pytest.approx(1.0) and DEVICE_COLOURS["gpu"] not in whole


def test_bars_are_the_simulated_events_inside_the_axis(mixed):
    g, plan, costs = mixed
    drawing = draw_plan(g, plan, costs, "net")
    svg = pages.svgs(pages.parse(drawing))[1]
    sim = simulate(g, CachedCosts(g, costs), plan.segments)
    bars = pages.boxes(svg, "what")
    assert Counter((b.data["lane"].lower(), b.data["what"], int(b.data["segment"])) for b in bars) == Counter(
        (e.lane, e.what, e.segment) for e in sim.events
    )
    left, right = min(b.x for b in bars), max(b.x + b.width for b in bars)
    width = float(svg.attrib["width"])
    assert left > 0 and right <= width
    scale = (right - left) / (max(e.end_s for e in sim.events) - min(e.start_s for e in sim.events))
    for device in ("cpu", "gpu"):
        mine = sorted((b for b in bars if b.data["lane"] == device.upper()), key=lambda b: b.x)
        busy = sum(e.end_s - e.start_s for e in sim.events if e.lane == device)
        assert sum(b.width for b in mine) == pytest.approx(busy * scale, abs=0.01 * len(mine))
        assert all(a.x + a.width <= b.x + 0.02 for a, b in pairwise(mine))
    alone = min(simulate(g, CachedCosts(g, costs), [Segment(d, tuple(range(12)))]).now_s for d in ("cpu", "gpu"))
    assert f"expected {sim.now_s * 1e3:.3f} ms, {alone / sim.now_s:.2f}x the best single device" in drawing.title
    text = "".join(svg.itertext())
    assert drawing.title in text and all(w in text for w in {e.what for e in sim.events} - {"work"})


def test_lanes_are_plain_data(mixed):
    g, plan, costs = mixed
    cpu, gpu = lanes_of(simulate(g, CachedCosts(g, costs), plan.segments), plan)
    assert (cpu.device, gpu.device) == ("cpu", "gpu")
    assert {b.chain for b in gpu.bars} == {-1, 0, 1, 2}
    assert all(b.chain == -1 for b in gpu.bars if plan.segments[b.segment].device == "gpu")


def test_an_automatic_plan_of_many_kernels_wraps():
    g = graphs.straight(60)
    plan = make_plan(g, graphs.costs())
    svg = pages.svgs(pages.parse(draw_plan(g, plan, graphs.costs())))[0]
    rows = Counter(b.y for b in pages.boxes(svg, "kernel"))
    assert sum(rows.values()) == 60 and len(rows) >= 4
    order = sorted(pages.boxes(svg, "kernel"), key=lambda b: (b.y, b.x))
    assert [int(b.data["kernel"]) for b in order] == list(range(60))


def test_the_page_is_one_file_and_keeps_any_name(mixed, tmp_path):
    g, plan, costs = mixed
    g = replace(g, inputs=(('<x>\x07 & "y"\'', g.inputs[0][1]),))
    plan = replace(plan, graph=g.fingerprint())
    path = tmp_path / "plan.html"
    report = Report(g, plan, costs=costs).to_text()
    drawing = draw_plan(g, plan, costs, "a < b & c")
    write_html(drawing, str(path), report)
    text = path.read_text(encoding="utf-8")
    for outside in ("<script", "<link", "<img", "src=", "href=", "url(", "@import"):
        assert outside not in text
    page = pages.parse(drawing, report)
    assert "a < b & c: expected" in "".join(page.itertext()) and report.splitlines()[0] in "".join(page.itertext())
    (tip,) = [b.tip for b in pages.boxes(pages.svgs(page)[0], "kernel") if b.data["kernel"] == "0"]
    assert "a reason with < and &" in tip and "cpu 10.000 ms" in tip


@pytest.mark.slow
def test_a_png_shows_the_same_colours(mixed, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    g, plan, costs = mixed
    path = tmp_path / "plan.png"
    write_png(draw_plan(g, plan, costs, "$a_b$ costs $5"), str(path))
    pixels = image.imread(str(path))
    assert pixels.shape[1] > 1000 and pixels.shape[0] > 300
    seen = {tuple(p) for p in (pixels[:, :, :3] * 255).round().astype(int).reshape(-1, 3)}
    for colour in (*CHAIN_COLOURS[:3], *DEVICE_COLOURS.values()):
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in seen
    with pytest.raises(CoExecError, match=r"can't write .*; choose another path"):
        write_png(draw_plan(g, plan, costs), str(tmp_path / "no" / "plan.png"))
