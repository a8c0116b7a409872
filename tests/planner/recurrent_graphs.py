"""Kernel graphs of unrolled LSTMs, as Relay fuses them: a concatenation, a dense layer and two cell kernels a step."""

from __future__ import annotations

from tvm_coexec.core.access import AccessMap, InputAccess, identity
from tvm_coexec.core.kernel_graph import REDUCED, Kernel, KernelGraph, SplitAxis, Tensor
from tvm_coexec.core.op_kinds import OpKind

GATES = 4
TILE = 8
KINDS = {
    "nn.dense": OpKind.DENSE, "concatenate": OpKind.CONCAT, "strided_slice": OpKind.MOVE, "squeeze": OpKind.VIEW,
    "stack": OpKind.MOVE, "reshape": OpKind.VIEW,
}  # fmt: skip
# Paths of an operator that reads the rows that it writes
SAME = ((),)


def _gates(hidden: int) -> tuple[tuple[AccessMap, ...], ...]:
    """Paths to each gate's columns of the dense layer."""
    return tuple((AccessMap(1, i * hidden, i * hidden, 1, GATES * hidden),) for i in range(GATES))


class _Unrolled:
    """The kernels of a network while it is built."""

    def __init__(self, steps: int, hidden: int, batch: int):
        self.steps, self.hidden, self.batch = steps, hidden, batch
        self.kernels: list[Kernel] = []

    def add(self, name: str, inputs: tuple[int, ...], tensors: tuple[Tensor, ...], out: Tensor, axes=(), **more) -> int:
        index, op = len(self.kernels), more.pop("op", name.split("+")[0])
        reason = "" if axes else f"no split rule for operator {op}"
        kinds = tuple(KINDS.get(o, OpKind.ELEMENTWISE) for o in name.split("+"))
        attrs = more.pop("attrs", {})
        self.kernels.append(
            Kernel(index, name, op, attrs, inputs, tensors, (out,), axes=axes, reason=reason, kinds=kinds, **more)
        )
        return index

    def tensor(self, value: int, sequence: Tensor) -> Tensor:
        return sequence if value < 0 else self.kernels[value].outputs[0]

    def zeros(self, directions: int) -> int:
        """The state before the first step."""
        return self.add("zeros", (), (), Tensor((directions, self.batch, self.hidden), "float32"))

    def rows(self, tensors: tuple[Tensor, ...], columns: tuple[tuple, ...], extent: int) -> tuple:
        """Axes of a kernel that needs the given columns of its inputs: along the features, and along the batch."""
        needs = tuple(InputAccess(len(t.shape) - 1, paths) for t, paths in zip(tensors, columns, strict=True))
        axes = [SplitAxis("n", 1, extent, 1, TILE, needs, False)]
        if self.batch > 1:
            batch = tuple(InputAccess(len(t.shape) - 2, SAME) for t in tensors)
            axes.insert(0, SplitAxis("m", 0, self.batch, 1, 1, batch, False))
        return tuple(axes)

    def slice(self, sequence: int, tensor: Tensor) -> int:
        """The inputs of one step, where two cells read them."""
        n = tensor.shape[-1]
        out = Tensor((self.batch, n), "float32")
        return self.add("strided_slice+squeeze", (sequence,), (tensor,), out, self.rows((tensor,), (SAME,), n))

    def cell(self, x: int, source: Tensor, h: int, c: int, is_last: bool = False) -> tuple[int, int]:
        """One step: values of the output and of the state; of the last one the dense layer and the state before."""
        hidden, n = self.hidden, source.shape[-1]
        state = self.kernels[h].outputs[0]
        columns = (((identity(n),),), ((AccessMap(1, -n, -n, 1, hidden),),))
        joined = Tensor((self.batch, n + hidden), "float32")
        axes = self.rows((source, state), columns, n + hidden)
        joint = self.add("concatenate", (x, h), (source, state), joined, axes, attrs={"axis": 1})
        gates = Tensor((self.batch, GATES * hidden), "float32")
        dense = self.dense(joint, joined, gates)
        if is_last:
            return dense, c
        parts = _gates(hidden)
        out = Tensor((self.batch, hidden), "float32")
        states = (gates, self.kernels[c].outputs[0])
        axes = self.rows(states, ((parts[2], parts[0], parts[1]), SAME), hidden)
        c = self.add("sigmoid+multiply+tanh+add", (dense, c), states, out, axes, op="add", flops=6.0 * hidden)
        axes = self.rows((gates, out), (parts[3:], SAME), hidden)
        h = self.add("sigmoid+tanh+multiply", (dense, c), (gates, out), out, axes, op="multiply", flops=3.0 * hidden)
        return h, c

    def dense(self, joint: int, joined: Tensor, gates: Tensor) -> int:
        width, out = joined.shape[1], gates.shape[1]
        axes = [SplitAxis("n", 1, out, 1, TILE, (None,), True)]
        axes.append(SplitAxis("ic", REDUCED, width, 1, TILE, (InputAccess(1, SAME),), True))
        if self.batch > 1:
            axes.insert(0, SplitAxis("m", 0, self.batch, 1, 1, (InputAccess(0, SAME),), False))
        flops, weights = 2.0 * self.batch * width * out, 4 * (width + 1) * out
        attrs = {"weight_shape": [out, width]}
        more = {"weight_bytes": weights, "flops": flops, "attrs": attrs}
        return self.add("nn.dense+add+add", (joint,), (joined,), gates, tuple(axes), op="nn.dense", **more)

    def stack(self, last: list[int], outputs: list[int], directions: int) -> int:
        """The outputs of all steps as one sequence; the last step of each direction is fused into it."""
        values = tuple(dict.fromkeys([*last, *outputs]))
        tensors = tuple(self.kernels[v].outputs[0] for v in values)
        hidden, axes = self.hidden, ()
        out = Tensor((self.steps, self.batch, directions * hidden), "float32")
        if directions == 1:
            parts = _gates(hidden)
            needs = (
                InputAccess(1, (parts[2], parts[0], parts[1], parts[3])),
                *(InputAccess(1, SAME) for _ in values[1:]),
            )
            axes = (SplitAxis("n", 2, hidden, 1, TILE, needs, False),)
            if self.batch > 1:
                batch = SplitAxis("m", 1, self.batch, 1, 1, tuple(InputAccess(0, SAME) for _ in values), False)
                axes = (batch, *axes)
        flops = 25.0 * self.steps * hidden
        return self.add("stack+reshape", values, tensors, out, axes, op="reshape", flops=flops)


def lstm_graph(
    steps: int, layers: int = 1, bidirectional: bool = False, hidden: int = 64, inputs: int = 32, batch: int = 1
) -> KernelGraph:
    """An unrolled LSTM.

    Parameters
    ----------
    steps : int
        Length of the sequence.
    layers : int
    bidirectional : bool
        Each layer has a second direction, so each step's inputs are a kernel of their own, which two cells read.
    hidden, inputs : int
        Sizes of the state and of the inputs of a step.
    batch : int
        Beyond 1 the cells can be divided along it, too.
    """
    made, directions = _Unrolled(steps, hidden, batch), 1 + bidirectional
    x = Tensor((steps, batch, inputs), "float32")
    sequence, tensor = -1, x
    for _ in range(layers):
        sliced = [made.slice(sequence, tensor) for _ in range(steps)] if bidirectional else []
        start = made.zeros(directions)
        last, outputs = [], []
        for direction in range(directions):
            h = c = start
            for step in range(steps):
                value = sliced[step if direction == 0 else -1 - step] if bidirectional else sequence
                h, c = made.cell(value, made.tensor(value, tensor), h, c, step == steps - 1)
                (last.extend((h, c)) if step == steps - 1 else outputs.append(h))
        sequence = made.stack(last, outputs, directions)
        tensor = made.kernels[sequence].outputs[0]
    return KernelGraph(tuple(made.kernels), (("x", x),), (sequence,))
