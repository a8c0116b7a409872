"""Pass contexts made from the current one, and a progress bar for what passes do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tvm
from tqdm import tqdm

from tvm_coexec.core.progress import progress


def change_context(
    least_level: int = 0, instruments: Sequence | None = None, config: dict | None = None
) -> tvm.transform.PassContext:
    """The current context with some of it replaced.

    Parameters
    ----------
    least_level : int
        The level is at least this one.
    instruments : sequence of PassInstrument, optional
        Instead of the context's.
    config : dict, optional
        Options beyond the context's, or in place of them.
    """
    context = tvm.transform.PassContext.current()
    return tvm.transform.PassContext(
        opt_level=max(least_level, context.opt_level),
        required_pass=list(context.required_pass),
        disabled_pass=list(context.disabled_pass),
        instruments=list(context.instruments) if instruments is None else list(instruments),
        config={**dict(context.config.items()), **(config or {})},
    )


def deployment_context(instruments: bool = True) -> tvm.transform.PassContext:
    """The context of deployment builds: level 3, where layouts and fusion of both devices are chosen, or above.

    Parameters
    ----------
    instruments : bool
        Keep the current context's instruments, too.
    """
    return change_context(3, None if instruments else ())


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
