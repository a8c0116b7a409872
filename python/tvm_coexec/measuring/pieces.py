"""Build one kernel, or one share of it, with the fusion, layouts and schedules of the co-executed module.

The kernel is extracted from the prepared module, a plan with one segment goes through the same passes as a whole
network, and the function of the device is built.
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
    """A kernel on a device, or the range `rows` of its output along `dim` (for `REDUCED`: of its summands)."""

    device: str
    kernel: int
    dim: int = -1
    rows: Range | None = None


@dataclass
class KernelBuilder:
    """Builds the kernels of one prepared module.

    Parameters
    ----------
    prepared : IRModule
        After `relay_passes.prepare`.
    extracted : Extracted
        Its kernels.
    cpu, gpu : Target
        As `tvm_coexec.targets` returns them.
    """

    prepared: tvm.IRModule
    extracted: Extracted
    cpu: Target
    gpu: Target
    _annotated: tvm.IRModule | None = field(default=None, repr=False)
    _alone: dict[int, tuple[tvm.IRModule, Extracted]] = field(default_factory=dict, repr=False)

    @property
    def graph(self) -> KernelGraph:
        """The kernel graph."""
        return self.extracted.graph

    def module(self, index: int) -> tvm.IRModule:
        """Return a module with one kernel, whose inputs are the parameters."""
        if self._annotated is None:
            segments = tuple(Segment("cpu", (k.index,)) for k in self.graph.kernels)
            self._annotated = OutlineSegments(Plan(self.graph.fingerprint(), segments), self.extracted)(self.prepared)
        func = self._annotated[function_name(index, "cpu")]
        return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(func.params, func.body)))

    def function(self, piece: Piece) -> relay.Function:
        """Return the function that the device of `piece` would run.

        Raises
        ------
        CoExecError
            If TVM does not fuse the kernel outside its network, or if the range is not a share of that device (the GPU
            computes the rows below a cut, the CPU those above).
        """
        with deployment_context(instruments=False):
            return _function_on(piece.device, AlterShareLayouts(self.cpu, self.gpu)(self._divided(piece)))

    def unaltered(self, piece: Piece) -> relay.Function:
        """Return the same function in the model's layouts, which its tuning tasks are of; raises as `function`."""
        with deployment_context(instruments=False):
            return _function_on(piece.device, self._divided(piece))

    def _divided(self, piece: Piece) -> tvm.IRModule:
        """Return the module of a plan with one segment, after `SplitChains`."""
        if piece.kernel not in self._alone:
            alone = self.module(piece.kernel)
            self._alone[piece.kernel] = alone, extract_with_calls(alone)
        alone, extracted = self._alone[piece.kernel]
        inner, last = extracted.graph, extracted.graph.kernels[-1]
        if piece.rows is None:
            segment = Segment(piece.device, tuple(k.index for k in inner.kernels))
        else:
            axis = last.find_axis(piece.dim)
            if axis is None or len(inner.kernels) != 1:
                raise CoExecError(f"kernel {last.name} alone can't be split along dimension {piece.dim}")
            lo, hi = piece.rows
            cut = hi if piece.device == "gpu" else lo
            if not 0 < cut < axis.extent or (lo, hi) != ((0, cut) if piece.device == "gpu" else (cut, axis.extent)):
                raise CoExecError(f"rows {lo} to {hi} of {axis.extent} are not a share of the {piece.device}")
            segment = Segment("split", (last.index,), axis.name, cut)
        return SplitChains()(OutlineSegments(Plan(inner.fingerprint(), (segment,)), extracted)(alone))

    def build(self, piece: Piece) -> tuple[relay.Function, GraphExecutorFactoryModule]:
        """Compile a piece; return its function and the executor factory."""
        func = self.function(piece)
        target = self.gpu if piece.device == "gpu" else self.cpu
        return func, compile_for(tvm.IRModule.from_expr(func), target, self.cpu)


def _function_on(device: str, divided: tvm.IRModule) -> relay.Function:
    """Return a device's function of a module with one segment, without its attributes."""
    marked = [(f, attrs) for f in divided.functions.values() if (attrs := SegmentAttrs.read(f)) is not None]
    func = next(f for f, attrs in marked if attrs.device == device and attrs.role != JOIN)
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(func.params, func.body)))["main"]


def compile_for(mod: tvm.IRModule, target: Target, host: Target) -> GraphExecutorFactoryModule:
    """Build a module for one device as in deployment."""
    with deployment_context(instruments=False):
        return relay.build(mod, target=Target(target, host=host))
