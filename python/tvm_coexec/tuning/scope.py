"""AutoTVM's global settings, changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import autotvm


@contextmanager
def autotvm_scope(**values: bool) -> Iterator[None]:
    """Set attributes of ``autotvm.GLOBAL_SCOPE``, and restore them at the end.

    Parameters
    ----------
    **values : bool
        ``silent``: no notes about operators without records. ``in_tuning``: templates take a packed layout's inputs as
        they are, which they do only while AutoTVM tunes; workers learn it at their start.
    """
    scope = autotvm.GLOBAL_SCOPE
    before = {name: getattr(scope, name) for name in values}
    for name, value in values.items():
        setattr(scope, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(scope, name, value)
