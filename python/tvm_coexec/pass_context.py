"""The pass context of deployment builds."""

from __future__ import annotations

import tvm


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
