"""Where the configurations of a plan's kernels come from, for the report of a build with tuning records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_coexec.core.texts import list_some, shorten

_LONGEST_NAME = 36  # characters


@dataclass(frozen=True)
class KernelSource:
    """Where the configuration of a kernel, or of a share of one, comes from.

    Attributes
    ----------
    kernels : tuple of int
        Indices of the kernels that compute the same.
    name : str
        Their operators.
    device : {"cpu", "gpu"}
    rows : int
        Rows of the share along the axis; 0 for a whole kernel.
    template : str
        AutoTVM's name of the implementation; empty if it has no template.
    source : str
        ``record``, ``adapted ... from ...``, ``our schedule``, ``TopHub`` or ``fallback``.
    """

    kernels: tuple[int, ...]
    name: str
    device: str
    rows: int
    template: str
    source: str


def table(sources: Sequence[KernelSource]) -> list[str]:
    """Return the lines of the table; none without sources."""
    if not sources:
        return []
    head = f"{'device':7} {'rows':>6} {'template':28} {'source':44}  kernels"
    lines = ["", "configurations of the compute-intensive kernels:", head, "-" * len(head)]
    for s in sources:
        rows = str(s.rows) if s.rows else ""
        kernels = f"{list_some(list(map(str, s.kernels)))}: {shorten(s.name, _LONGEST_NAME)}"
        lines.append(f"{s.device:7} {rows:>6} {s.template:28} {s.source:44}  {kernels}")
    return lines
