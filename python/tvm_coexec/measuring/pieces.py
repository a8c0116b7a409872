"""One kernel, or one share of it, as the co-executed module has it: fusion, layouts and schedules included.

The kernel is cut out of the prepared module, a plan with one segment goes through the same passes as a whole network
would, and the function for the device is what gets built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tvm
from tvm import relay
from tvm.target import Target

from tvm_coexec.core.access import Range
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.naming import function_name
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.pass_context import deployment_context
from tvm_coexec.relay_passes.attrs import JOIN, SegmentAttrs
from tvm_coexec.relay_passes.extract.extractor import Extracted, extract_with_calls
from tvm_coexec.relay_passes.layout import AlterShareLayouts
from tvm_coexec.relay_passes.outline import OutlineSegments
from tvm_coexec.relay_passes.split import SplitChains

if TYPE_CHECKING:
    from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule


@dataclass(frozen=True)
class Piece:
    """What is measured: a kernel on a device, or the range `rows` of its output (`REDUCED`: of its sum) along `dim`."""

    device: str
    kernel: int
    dim: int = -1
    rows: Range | None = None


@dataclass
class KernelBuilder:
    """Cuts kernels out of one prepared module.

    Parameters
    ----------
    prepared : IRModule
        After `relay_passes.prepare`.
    extracted : Extracted
        Its kernels.
    cpu, gpu : Target
        As `tvm_coexec.targets` gives them.
    """

    prepared: tvm.IRModule
    extracted: Extracted
    cpu: Target
    gpu: Target
    _annotated: tvm.IRModule | None = field(default=None, repr=False)

    @property
    def graph(self) -> KernelGraph:
        """The kernels to choose from."""
        return self.extracted.graph

    def module(self, index: int) -> tvm.IRModule:
        """One kernel as a module of its own; its inputs become parameters."""
        if self._annotated is None:
            segments = tuple(Segment("cpu", (k.index,)) for k in self.graph.kernels)
            self._annotated = OutlineSegments(Plan(self.graph.fingerprint(), segments), self.extracted)(self.prepared)
        func = self._annotated[function_name(index, "cpu")]
        return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(func.params, func.body)))

    def function(self, piece: Piece) -> relay.Function:
        """The function that the device of `piece` would run.

        Raises
        ------
        CoExecError
            When TVM makes several kernels of it outside its network, or the range is not what a plan could give that
            device (the GPU has the rows below a cut, the CPU those above).
        """
        with deployment_context(instruments=False):
            return self._function(piece)

    def _function(self, piece: Piece) -> relay.Function:
        alone = self.module(piece.kernel)
        extracted = extract_with_calls(alone)
        inner, last = extracted.graph, extracted.graph.kernels[-1]
        if piece.rows is None:
            segment = Segment(piece.device, tuple(k.index for k in inner.kernels))
        else:
            axis = last.find_axis(piece.dim)
            if axis is None or len(inner.kernels) != 1:
                raise CoExecError(f"kernel {last.name} can't be divided along dimension {piece.dim} alone")
            lo, hi = piece.rows
            cut = hi if piece.device == "gpu" else lo
            if not 0 < cut < axis.extent or (lo, hi) != ((0, cut) if piece.device == "gpu" else (cut, axis.extent)):
                raise CoExecError(f"rows {lo} to {hi} of {axis.extent} are no share of the {piece.device}")
            segment = Segment("split", (last.index,), axis.name, cut)
        annotated = OutlineSegments(Plan(inner.fingerprint(), (segment,)), extracted)(alone)
        altered = AlterShareLayouts(self.cpu, self.gpu)(SplitChains()(annotated))
        marked = [(f, attrs) for f in altered.functions.values() if (attrs := SegmentAttrs.read(f)) is not None]
        func = next(f for f, attrs in marked if attrs.device == piece.device and attrs.role != JOIN)
        plain = tvm.IRModule.from_expr(relay.Function(func.params, func.body))
        return relay.transform.InferType()(plain)["main"]

    def build(self, piece: Piece) -> tuple[relay.Function, GraphExecutorFactoryModule]:
        """Compile a piece; returns its function and the executor factory."""
        func = self.function(piece)
        target = self.gpu if piece.device == "gpu" else self.cpu
        return func, compile_for(tvm.IRModule.from_expr(func), target, self.cpu)


def compile_for(mod: tvm.IRModule, target: Target, host: Target) -> GraphExecutorFactoryModule:
    """``relay.build`` for one device, as deployment builds are made."""
    with deployment_context(instruments=False):
        return relay.build(mod, target=Target(target, host=host))
