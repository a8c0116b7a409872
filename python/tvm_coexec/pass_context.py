"""Pass contexts made from the current one."""

from __future__ import annotations

from collections.abc import Sequence

import tvm


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
