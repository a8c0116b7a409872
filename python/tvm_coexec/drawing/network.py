"""A network with its plan: boxes with the devices' parts, chains by colour, in bands that wrap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tvm_coexec.core.chains import last_axis
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.texts import shorten
from tvm_coexec.cost_models import Costs

from .colours import DEVICE_COLOURS, FAINT, INK, LINE, chain_colour, mixed
from .names import crop, name_kernel
from .node_layout import Layout, Slot, layered
from .scene import Curve, Group, Item, Rect, Scene, Text

BOX_WIDTH, BOX_HEIGHT, STRIP = 72.0, 38.0, 6.0
GAP_X, GAP_Y = 22.0, 20.0
PITCH_X, PITCH_Y = BOX_WIDTH + GAP_X, BOX_HEIGHT + GAP_Y
MARGIN, BAND_GAP, HEAD = 24.0, 18.0, 34.0
_LONGEST_TIP = 80  # characters of a line


@dataclass(frozen=True)
class Place:
    """What a plan says of a kernel.

    Attributes
    ----------
    segment, chain : int
        Number of its segment; of its chain among the chains, -1 where it is whole.
    device : str
    gpu, cpu : (float, float)
        Range of its output (of its input channels, for partial sums) that each device computes, from 0 to 1.
    text : str
        The same in words.
    """

    segment: int
    chain: int
    device: str
    gpu: tuple[float, float]
    cpu: tuple[float, float]
    text: str


def places_of(graph: KernelGraph, plan: Plan) -> dict[int, Place]:
    """The place of each kernel; a plan's chains are numbered from 0 in order of execution."""
    found: dict[int, Place] = {}
    chain = -1
    for number, segment in enumerate(plan.segments):
        chain += segment.device == "split"
        for k in segment.kernels:
            found[k] = _place(graph, segment, k, number, chain)
    return found


def _place(graph: KernelGraph, segment: Segment, index: int, number: int, chain: int) -> Place:
    if segment.device != "split":
        parts = {d: (0.0, float(d == segment.device)) for d in ("gpu", "cpu")}
        return Place(number, -1, segment.device, **parts, text=f"segment {number}: whole on the {segment.device}")
    shares = segment.shares(graph)
    axis = graph.kernels[index].axis(shares.dims[index])
    ranges = {"gpu": shares.gpu[index], "cpu": shares.cpu[index]}
    parts = {d: (r[0] / axis.extent, r[1] / axis.extent) for d, r in ranges.items()}
    told = ", ".join(f"{d} {r[0]} to {r[1]}" for d, r in ranges.items())
    text = f"segment {number}: a chain; here {axis.name} of {axis.extent} is divided: {told}"
    return Place(number, chain, "split", **parts, text=text)


def network(graph: KernelGraph, plan: Plan, costs: Costs | None = None, width: float = 1280.0) -> Scene:
    """Draw a network as a plan has it.

    Parameters
    ----------
    graph : KernelGraph
    plan : Plan
        Checked against the graph.
    costs : Costs, optional
        For the tips: what each kernel takes on each device.
    width : float
        Pixels; layers beyond it continue below, in the next band.
    """
    return _Network(graph, plan, costs, width).scene()


class _Network:
    def __init__(self, graph: KernelGraph, plan: Plan, costs: Costs | None, width: float):
        self.graph, self.plan, self.costs, self.width = graph, plan, costs, width
        self.layout: Layout = layered(graph)
        self.places = places_of(graph, plan)
        self.per_band = max(1, int((width - 2 * MARGIN + GAP_X) // PITCH_X))
        self.tops: list[float] = []
        self.rows: list[dict[int, int]] = []  # of each band: the lanes that are used in it, numbered without gaps
        used = [*self.layout.slots.values(), *(s for slots in self.layout.passing.values() for s in slots)]
        self.bottom = HEAD + MARGIN
        for band in range(-(-self.layout.layers // self.per_band)):
            lanes = sorted({lane for layer, lane in used if layer // self.per_band == band})
            self.rows.append({lane: row for row, lane in enumerate(lanes)})
            self.tops.append(self.bottom)
            self.bottom += len(lanes) * PITCH_Y - GAP_Y + BAND_GAP

    def scene(self) -> Scene:
        grounds = [self._ground(k) for k in sorted(self.places) if self.places[k].chain >= 0]
        lines = [line for v in self.layout.slots if (line := self._line(v)) is not None]
        boxes = [self._box(k) if k >= 0 else self._input(k) for k in sorted(self.layout.slots)]
        height = self.bottom - BAND_GAP + MARGIN
        title = f"{len(self.graph.kernels)} kernels, {len(self.plan.chains)} chains"
        return Scene(self.width, height, (*self._legend(), *grounds, *lines, *boxes), title)

    def _corner(self, slot: Slot) -> tuple[float, float]:
        """Upper left of a slot's box."""
        band, column = divmod(slot[0], self.per_band)
        return MARGIN + column * PITCH_X, self.tops[band] + self.rows[band][slot[1]] * PITCH_Y

    def _ground(self, k: int) -> Rect:
        """What makes one patch of a chain's boxes."""
        x, y = self._corner(self.layout.slots[k])
        fill = mixed(chain_colour(self.places[k].chain), "#ffffff", 0.22)
        return Rect(x - GAP_X / 2, y - GAP_Y / 2, PITCH_X, PITCH_Y, fill)

    def _box(self, k: int) -> Group:
        kernel, place = self.graph.kernels[k], self.places[k]
        x, y = self._corner(self.layout.slots[k])
        is_split = place.chain >= 0
        colour = chain_colour(place.chain) if is_split else mixed(DEVICE_COLOURS[place.device], INK, 0.6)
        strip = STRIP if is_split else 0.0
        items: list[Item] = [Rect(x, y, BOX_WIDTH, BOX_HEIGHT, "#ffffff")]
        top, high = y + strip, BOX_HEIGHT - strip
        for device in ("gpu", "cpu"):
            lo, hi = getattr(place, device)
            if hi > lo:
                items.append(Rect(x + lo * BOX_WIDTH, top, (hi - lo) * BOX_WIDTH, high, DEVICE_COLOURS[device]))
        lo, hi = max(place.gpu[0], place.cpu[0]), min(place.gpu[1], place.cpu[1])
        if is_split and hi > lo:  # rows that both compute
            both = mixed(mixed(DEVICE_COLOURS["gpu"], DEVICE_COLOURS["cpu"], 0.5), INK, 0.8)
            items.append(Rect(x + lo * BOX_WIDTH, top, (hi - lo) * BOX_WIDTH, high, both))
        if is_split:
            items.append(Rect(x, y, BOX_WIDTH, STRIP, colour))
        items.append(Rect(x, y, BOX_WIDTH, BOX_HEIGHT, "none", colour, 2.0 if is_split else 1.0))
        items.append(Text(x + BOX_WIDTH / 2, top + 0.42 * high, str(k), 11, "middle", INK, True))
        items.append(Text(x + BOX_WIDTH / 2, top + 0.86 * high, name_kernel(kernel), 10, "middle", INK))
        segment = self.plan.segments[place.segment]
        if is_split and k == segment.kernels[0]:
            last = last_axis(self.graph, segment.kernels, segment.axis)
            told = f"{place.segment}: {segment.axis} {segment.cut}/{last.extent}"
            items.append(Text(x, y - 4, told, 10, "start", mixed(colour, INK, 0.75), True))
        data = (("kernel", k), ("segment", place.segment), ("device", place.device), ("colour", colour))
        return Group(tuple(items), self._tip(kernel, place), data)

    def _tip(self, kernel: Kernel, place: Place) -> str:
        lines = [
            f"kernel {kernel.index}: {shorten(kernel.name, _LONGEST_TIP)}",
            f"output {_shape(kernel.outputs[0].shape)}",
            place.text,
        ]
        if self.costs is not None:
            alone = [f"{d} {self.costs.whole_s(d, kernel) * 1e3:.3f} ms" for d in ("cpu", "gpu")]
            lines.append(f"alone: {', '.join(alone)}")
        note = self.plan.notes.get(str(kernel.index)) if place.chain < 0 else None
        if note:
            lines.append(note)
        if kernel.index in self.graph.outputs:
            lines.append("an output of the model")
        return "\n".join(lines)

    def _input(self, value: int) -> Group:
        name, tensor = self.graph.inputs[-1 - value]
        x, y = self._corner(self.layout.slots[value])
        middle = y + BOX_HEIGHT / 2
        items = (
            Rect(x, middle - 10, BOX_WIDTH, 20, "#ffffff", LINE),
            Text(x + BOX_WIDTH / 2, middle + 4, crop(name), 10, "middle"),
        )
        return Group(items, f"input {name}: {_shape(tensor.shape)} {tensor.dtype}", (("input", name),))

    def _line(self, value: int) -> Group | None:
        """All lines of a value: through the slots that it passes, to every kernel that reads it."""
        readers = self.graph.consumers.get(value, ())
        if not readers:
            return None
        chain: list[Slot] = [self.layout.slots[value], *self.layout.passing.get(value, ())]
        curves = [c for a, b in pairwise(chain) for c in self._piece(a, b)]
        for slot in chain[1:]:
            x, y = self._middle(slot)
            curves.append(Curve(((x, y), (x + BOX_WIDTH, y)), LINE, 1.3))
        for k in readers:
            slot = self.layout.slots[k]
            curves += self._piece(self.layout.before(value, slot[0]), slot)
        tensor = self.graph.tensor(value)
        name = f"output of kernel {value}" if value >= 0 else f"input {self.graph.inputs[-1 - value][0]}"
        tip = f"{name}: {_shape(tensor.shape)}, {tensor.nbytes / 1e6:.3g} MB"
        return Group(tuple(curves), tip, (("value", value),))

    def _middle(self, slot: Slot) -> tuple[float, float]:
        x, y = self._corner(slot)
        return x, y + BOX_HEIGHT / 2

    def _piece(self, a: Slot, b: Slot) -> list[Curve]:
        """From one layer to the next, which may be in the next band: then out on the right and in again on the left."""
        (ax, ay), (bx, by) = self._middle(a), self._middle(b)
        ax += BOX_WIDTH
        if a[0] // self.per_band == b[0] // self.per_band:
            return [Curve(((ax, ay), (bx, by)), LINE, 1.3)]
        return [Curve(((ax, ay), (ax + GAP_X, ay)), LINE, 1.3), Curve(((bx - GAP_X, by), (bx, by)), LINE, 1.3)]

    def _legend(self) -> list[Item]:
        items: list[Item] = []
        x, y = MARGIN, 12.0

        def entry(width: float, parts: list[tuple[float, float, str]], text: str) -> None:
            nonlocal x
            items.extend(Rect(x + lo * width, y, (hi - lo) * width, 14, fill) for lo, hi, fill in parts)
            items.append(Text(x + width + 6, y + 11, text))
            x += width + 6 + 6.2 * len(text) + 22

        cpu, gpu = DEVICE_COLOURS["cpu"], DEVICE_COLOURS["gpu"]
        entry(20, [(0, 1, cpu)], "on the CPU")
        entry(20, [(0, 1, gpu)], "on the GPU")
        if self.plan.chains:
            both = mixed(mixed(cpu, gpu, 0.5), INK, 0.8)
            entry(40, [(0, 0.6, gpu), (0.4, 1, cpu), (0.4, 0.6, both)], "divided: GPU's part, both, CPU's part")
            entry(20, [(0, 1, chain_colour(0))], "frame and ground: a chain, with its segment, axis and cut")
        items.append(Rect(MARGIN, HEAD + 2, self.width - 2 * MARGIN, 1, FAINT))
        return items


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
