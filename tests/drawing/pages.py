"""Drawings read back: a page's SVG parsed as XML."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from tvm_coexec.drawing import Drawing, html_of

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture with what it stands for."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    data: dict[str, str]
    tip: str

    def meets(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def parse(drawing: Drawing, report: str = "") -> ElementTree.Element:
    """The page as XML."""
    return ElementTree.fromstring(html_of(drawing, report).split("\n", 1)[1])


def svgs(page: ElementTree.Element) -> list[ElementTree.Element]:
    """The pictures."""
    return list(page.iter(f"{SVG}svg"))


def boxes(svg: ElementTree.Element, key: str) -> list[Box]:
    """The groups with ``data-key``, each with its first rectangle's place."""
    found = []
    for group in svg.iter(f"{SVG}g"):
        data = {n.removeprefix("data-"): v for n, v in group.attrib.items() if n.startswith("data-")}
        if key in data:
            rect = group.find(f"{SVG}rect")
            assert rect is not None
            place = [float(rect.attrib[n]) for n in ("x", "y", "width", "height")]
            found.append(Box(*place, rect.attrib["fill"], data, group.findtext(f"{SVG}title") or ""))
    return found


def rects(group_data: tuple[str, str], svg: ElementTree.Element) -> list[dict[str, str]]:
    """All rectangles of the group with that data attribute."""
    key, value = group_data
    (group,) = [g for g in svg.iter(f"{SVG}g") if g.attrib.get(f"data-{key}") == value]
    return [dict(r.attrib) for r in group.iter(f"{SVG}rect")]
