"""Draw a network with its plan: boxes with the devices' shares, chains by colour, in bands that wrap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tvm_coexec.core.chains import last_axis
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.texts import shorten
from tvm_coexec.cost_models import Costs

from .colours import DEVICE_COLOURS, FAINT, INK, LINE, chain_colour, mix
from .names import crop, name_kernel
from .node_layout import NodeLayout, Slot, assign_slots
from .scene import Curve, Group, Item, Rect, Scene, Text

BOX_WIDTH, BOX_HEIGHT, STRIP = 72.0, 38.0, 6.0
GAP_X, GAP_Y = 22.0, 20.0
PITCH_X, PITCH_Y = BOX_WIDTH + GAP_X, BOX_HEIGHT + GAP_Y
MARGIN, BAND_GAP, HEAD = 24.0, 18.0, 34.0
_LONGEST_TIP = 80  # characters per line


@dataclass(frozen=True)
class Assignment:
    """What a plan decides for one kernel.

    Attributes
    ----------
    segment, chain : int
        Number of its segment; number of its chain among the chains, -1 if it is whole.
    device : str
    gpu, cpu : (float, float)
        Range of its output (for partial sums, of its input channels) that each device computes, as fractions.
    text : str
        The same as text.
    """

    segment: int
    chain: int
    device: str
    gpu: tuple[float, float]
    cpu: tuple[float, float]
    text: str


def assignments_of(graph: KernelGraph, plan: Plan) -> dict[int, Assignment]:
    """Return the assignment of each kernel; chains are numbered from 0 in execution order."""
    found: dict[int, Assignment] = {}
    chain = -1
    for number, segment in enumerate(plan.segments):
        chain += segment.device == "split"
        for k in segment.kernels:
            found[k] = _assign(graph, segment, k, number, chain)
    return found


def _assign(graph: KernelGraph, segment: Segment, index: int, number: int, chain: int) -> Assignment:
    if segment.device != "split":
        parts = {d: (0.0, float(d == segment.device)) for d in ("gpu", "cpu")}
        return Assignment(number, -1, segment.device, **parts, text=f"segment {number}: whole on the {segment.device}")
    shares = segment.shares(graph)
    axis = graph.kernels[index].axis(shares.dims[index])
    ranges = {"gpu": shares.gpu[index], "cpu": shares.cpu[index]}
    parts = {d: (r[0] / axis.extent, r[1] / axis.extent) for d, r in ranges.items()}
    ranges_text = ", ".join(f"{d} {r[0]} to {r[1]}" for d, r in ranges.items())
    text = f"segment {number}: a chain; here {axis.name} of {axis.extent} is split: {ranges_text}"
    return Assignment(number, chain, "split", **parts, text=text)


def network(graph: KernelGraph, plan: Plan, costs: Costs | None = None, width: float = 1280.0) -> Scene:
    """Draw a network with its plan.

    Parameters
    ----------
    graph : KernelGraph
    plan : Plan
        A plan that fits the graph (`Plan.check`).
    costs : Costs, optional
        For the tooltips: seconds of each kernel on each device.
    width : float
        Pixels; further layers continue in the next band below.
    """
    return _Network(graph, plan, costs, width).scene()


class _Network:
    def __init__(self, graph: KernelGraph, plan: Plan, costs: Costs | None, width: float):
        self.graph, self.plan, self.costs, self.width = graph, plan, costs, width
        self.layout: NodeLayout = assign_slots(graph)
        self.assignments = assignments_of(graph, plan)
        self.per_band = max(1, int((width - 2 * MARGIN + GAP_X) // PITCH_X))
        self.tops: list[float] = []
        self.rows: list[dict[int, int]] = []  # per band: its used lanes, numbered without gaps
        used = [*self.layout.slots.values(), *(s for slots in self.layout.passing.values() for s in slots)]
        self.bottom = HEAD + MARGIN
        for band in range(-(-self.layout.layers // self.per_band)):
            lanes = sorted({lane for layer, lane in used if layer // self.per_band == band})
            self.rows.append({lane: row for row, lane in enumerate(lanes)})
            self.tops.append(self.bottom)
            self.bottom += len(lanes) * PITCH_Y - GAP_Y + BAND_GAP

    def scene(self) -> Scene:
        grounds = [self._ground(k) for k in sorted(self.assignments) if self.assignments[k].chain >= 0]
        lines = [line for v in self.layout.slots if (line := self._line(v)) is not None]
        boxes = [self._box(k) if k >= 0 else self._input(k) for k in sorted(self.layout.slots)]
        height = self.bottom - BAND_GAP + MARGIN
        title = f"{len(self.graph.kernels)} kernels, {len(self.plan.chains)} chains"
        return Scene(self.width, height, (*self._legend(), *grounds, *lines, *boxes), title)

    def _corner(self, slot: Slot) -> tuple[float, float]:
        """Upper left corner of a slot's box."""
        band, column = divmod(slot[0], self.per_band)
        return MARGIN + column * PITCH_X, self.tops[band] + self.rows[band][slot[1]] * PITCH_Y

    def _ground(self, k: int) -> Rect:
        """Background that joins the boxes of a chain."""
        x, y = self._corner(self.layout.slots[k])
        fill = mix(chain_colour(self.assignments[k].chain), "#ffffff", 0.22)
        return Rect(x - GAP_X / 2, y - GAP_Y / 2, PITCH_X, PITCH_Y, fill)

    def _box(self, k: int) -> Group:
        kernel, assigned = self.graph.kernels[k], self.assignments[k]
        x, y = self._corner(self.layout.slots[k])
        is_split = assigned.chain >= 0
        colour = chain_colour(assigned.chain) if is_split else mix(DEVICE_COLOURS[assigned.device], INK, 0.6)
        strip = STRIP if is_split else 0.0
        items: list[Item] = [Rect(x, y, BOX_WIDTH, BOX_HEIGHT, "#ffffff")]
        top, high = y + strip, BOX_HEIGHT - strip
        for device in ("gpu", "cpu"):
            lo, hi = getattr(assigned, device)
            if hi > lo:
                items.append(Rect(x + lo * BOX_WIDTH, top, (hi - lo) * BOX_WIDTH, high, DEVICE_COLOURS[device]))
        lo, hi = max(assigned.gpu[0], assigned.cpu[0]), min(assigned.gpu[1], assigned.cpu[1])
        if is_split and hi > lo:  # rows that both devices compute
            both = mix(mix(DEVICE_COLOURS["gpu"], DEVICE_COLOURS["cpu"], 0.5), INK, 0.8)
            items.append(Rect(x + lo * BOX_WIDTH, top, (hi - lo) * BOX_WIDTH, high, both))
        if is_split:
            items.append(Rect(x, y, BOX_WIDTH, STRIP, colour))
        items.append(Rect(x, y, BOX_WIDTH, BOX_HEIGHT, "none", colour, 2.0 if is_split else 1.0))
        items.append(Text(x + BOX_WIDTH / 2, top + 0.42 * high, str(k), 11, "middle", INK, True))
        items.append(Text(x + BOX_WIDTH / 2, top + 0.86 * high, name_kernel(kernel), 10, "middle", INK))
        segment = self.plan.segments[assigned.segment]
        if is_split and k == segment.kernels[0]:
            last = last_axis(self.graph, segment.kernels, segment.axis)
            label = f"{assigned.segment}: {segment.axis} {segment.cut}/{last.extent}"
            items.append(Text(x, y - 4, label, 10, "start", mix(colour, INK, 0.75), True))
        data = (("kernel", k), ("segment", assigned.segment), ("device", assigned.device), ("colour", colour))
        return Group(tuple(items), self._tip(kernel, assigned), data)

    def _tip(self, kernel: Kernel, assigned: Assignment) -> str:
        lines = [
            f"kernel {kernel.index}: {shorten(kernel.name, _LONGEST_TIP)}",
            f"output {_shape(kernel.outputs[0].shape)}",
            assigned.text,
        ]
        if self.costs is not None:
            alone = [f"{d} {self.costs.whole_s(d, kernel) * 1e3:.3f} ms" for d in ("cpu", "gpu")]
            lines.append(f"alone: {', '.join(alone)}")
        note = self.plan.notes.get(str(kernel.index)) if assigned.chain < 0 else None
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
        """Lines of a value, through its passing slots to every kernel that reads it."""
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
        """Lines from one layer to the next; if that is in the next band, they leave right and enter left."""
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
            both = mix(mix(cpu, gpu, 0.5), INK, 0.8)
            entry(
                40,
                [(0, 0.6, gpu), (0.4, 1, cpu), (0.4, 0.6, both)],
                "split: the GPU's share, both (halo), the CPU's share",
            )
            entry(20, [(0, 1, chain_colour(0))], "frame and background: a chain, with its segment, axis and cut")
        items.append(Rect(MARGIN, HEAD + 2, self.width - 2 * MARGIN, 1, FAINT))
        return items


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
