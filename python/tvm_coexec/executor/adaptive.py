"""A graph executor that runs whichever variant of a model is the fastest now."""

from __future__ import annotations

import json
from typing import Any

from tvm.contrib import graph_executor


class AdaptiveModule(graph_executor.GraphModule):
    """TVM's class around the C++ runtime's adaptive module, which `tvm_coexec.create` returns.

    Inputs and outputs are the same arrays whatever variant runs. Results are bit for bit the same as long as the
    variant is; those of different variants differ at rounding level. Weights can't be replaced.
    """

    def stats(self) -> dict[str, Any]:
        """Return what the module has measured and decided.

        Returns
        -------
        dict
            ``variant``: the one in use; ``switches`` and ``probes``: how often it was changed, and others were
            measured; ``probe_cost_s``: seconds that probes took longer than the variant in use would have;
            ``run_s``: seconds of all runs; ``variants``: for each ``runs``, ``now_s`` (seconds of a run by its last
            ones), ``best_s`` and ``total_s``; ``decisions``: the last ones, each with ``run`` and ``at_s`` (runs
            and seconds of runs before it), ``from``, ``to`` and ``why``; ``weight_bytes``: of all variants and
            stored. Runs at creation are included.
        """
        return json.loads(self.module["stats"]())

    def use(self, variant: str | None) -> None:
        """Run only one variant from now on.

        Parameters
        ----------
        variant : str or None
            Its name in `stats`; `None` to choose again.
        """
        self.module["use"](variant or "")
