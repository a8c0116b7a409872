"""The pass context of deployment builds, and a progress bar for what passes do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tvm
from tqdm import tqdm

from tvm_coexec.core.progress import progress


def deployed(instruments: bool = True) -> tvm.transform.PassContext:
    """The current context at level 3, where layouts and fusion of both devices are chosen, or above.

    Parameters
    ----------
    instruments : bool
        Keep the context's instruments, too.
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
    """A pass instrument that counts the passes that ran, on a bar.

    The total is unknown: lowering runs some for every kernel.

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
    """Instruments for a pass context that show a progress bar; none where no bar would be seen."""
    with progress(what=what, unit="pass") as bar:
        yield [] if bar.disable else [PassProgress(bar)]
