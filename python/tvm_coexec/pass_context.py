"""The pass context of deployment builds, and a progress bar for passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tvm
from tqdm import tqdm

from tvm_coexec.core.progress import progress


def deployment_context(instruments: bool = True) -> tvm.transform.PassContext:
    """Return a copy of the current context with an optimisation level of at least 3.

    From level 3 on TVM runs the passes that choose data layouts and fuse parallel operators.

    Parameters
    ----------
    instruments : bool
        Whether the copy has the context's instruments.

    Returns
    -------
    PassContext
    """
    context = tvm.transform.PassContext.current()
    return tvm.transform.PassContext(
        opt_level=max(3, context.opt_level),
        required_pass=list(context.required_pass),
        disabled_pass=list(context.disabled_pass),
        instruments=list(context.instruments) if instruments else [],
        config=dict(context.config.items()),
    )


@tvm.instrument.pass_instrument
class PassProgress:
    """A pass instrument that counts executed passes on a progress bar.

    The total is unknown: lowering runs several passes per kernel.

    Parameters
    ----------
    bar : tqdm
    """

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """Called by TVM."""
        self.bar.update()


@contextmanager
def show_passes(what: str) -> Iterator[list[PassProgress]]:
    """Show a progress bar while passes run.

    Parameters
    ----------
    what : str
        Title of the bar.

    Yields
    ------
    list of PassProgress
        Instruments for a pass context; empty if no bar is shown.
    """
    with progress(what=what, unit="pass") as bar:
        yield [] if bar.disable else [PassProgress(bar)]
