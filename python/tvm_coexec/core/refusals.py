"""What the GPU can't run of a model, and kernels restricted to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel_graph import Kernel


@dataclass(frozen=True)
class Refusal:
    """A kernel, or its share along one axis, that the GPU can't run.

    Attributes
    ----------
    kernel : int
    axis : str
        Name of the axis whose share was refused; empty for the whole kernel.
    reason : str
    rows : int
        Size of the share that was refused; 0 if all shares along the axis are.
    """

    kernel: int
    axis: str
    reason: str
    rows: int = 0


# Of an axis on which so many shares were refused none is tried any more: each costs a plan and a compilation.
MOST_REFUSED_ROWS = 4


def restrict_kernel(kernel: Kernel, refusals: Sequence[Refusal]) -> Kernel:
    """Return the kernel without the refused shares and axes; a refusal without an axis restricts it to the CPU."""
    if not refusals:
        return kernel
    axes, refused = [], dict.fromkeys(kernel.refused)
    for axis in kernel.axes:
        own = [r for r in refusals if r.axis == axis.name]
        refused |= dict.fromkeys((r.axis, r.reason) for r in own[:1])
        rows = {*axis.refused_rows, *(r.rows for r in own)}
        is_new = len(rows) > len(axis.refused_rows)  # else a planner has chosen the share again
        if not own:
            axes.append(axis)
        elif 0 not in rows and is_new and len(rows) < MOST_REFUSED_ROWS:
            axes.append(replace(axis, refused_rows=tuple(sorted(rows))))
    reason = kernel.reason or ("" if axes or not refused else list(refused)[-1][1])
    cpu_only = kernel.cpu_only or next((r.reason for r in refusals if not r.axis), "")
    return replace(kernel, axes=tuple(axes), refused=tuple(refused), reason=reason, cpu_only=cpu_only)
