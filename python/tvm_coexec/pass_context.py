"""Pass contexts made from the current one, a way to lower no further than asked, and a progress bar for passes."""

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


def empty_body(func: tvm.tir.PrimFunc) -> tvm.tir.PrimFunc:
    """Return the function without its body, so that later passes have nothing to do."""
    return tvm.tir.PrimFunc(func.params, tvm.tir.Evaluate(0), func.ret_type, func.buffer_map, func.attrs)


def stop_lowering(phase: int) -> tuple[int, tvm.transform.Pass]:
    """Return an entry of ``tir.add_lower_pass`` that ends lowering.

    To learn if TVM takes a schedule, or to verify its loops, the later passes are not needed, and they take most of the
    time: many seconds where a large loop is unrolled.

    Parameters
    ----------
    phase : int
        Of lowering: 0 is after the schedule has become loops; in 2 they are vectorised, unrolled, and have threads.
        Entries of the same phase that come before this one see the function.
    """

    @tvm.tir.transform.prim_func_pass(opt_level=0, name="CoExecStopLowering")
    def stop(func: tvm.tir.PrimFunc, _mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.tir.PrimFunc:
        return empty_body(func)

    return phase, stop


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
