"""Let TVM look up how it was built once, and not for every dimension of every tensor.

Relay's TE compiler reads ``INDEX_DEFAULT_I64`` from ``tvm.support.libinfo()`` for each dimension that it lowers, and
that function converts some 80 entries of TVM's build settings, one foreign call each: a fifth of the time that a kernel
takes to compile. They can't change while a process runs, so a copy serves.
"""

from __future__ import annotations

import functools


def install() -> None:
    """Keep the settings that the TE compiler reads. Idempotent."""
    from tvm.relay.backend import te_compiler

    if hasattr(te_compiler, "libinfo") and not hasattr(te_compiler.libinfo, "cache_info"):
        te_compiler.libinfo = functools.cache(te_compiler.libinfo)
