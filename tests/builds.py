"""Compile equal modules once: for tests of what is done with compiled modules, not of compiling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tvm
from tvm import relay


class BuildMemo:
    """What `relay.build` made of a module for a target in a pass context.

    Modules are equal only if their constants are. Builds with instruments are not kept, since an instrument wants to
    see the passes.
    """

    def __init__(self) -> None:
        self._stock = relay.build
        self._made: dict[tuple, list[tuple[tvm.IRModule, Any]]] = {}

    def build(self, mod: tvm.IRModule, target: Any = None, **options: Any) -> Any:
        """Return what was made before of an equal module, or compile it; the arguments are those of `relay.build`."""
        context = tvm.transform.PassContext.current()
        if options or len(context.instruments):
            return self._stock(mod, target=target, **options)
        setting = (context.opt_level, context.config, context.required_pass, context.disabled_pass)
        key = (str(target), str(setting), tvm.ir.structural_hash(mod))
        made = self._made.setdefault(key, [])
        for before, lib in made:
            if tvm.ir.structural_equal(before, mod):
                return lib
        lib = self._stock(mod, target=target)
        made.append((mod, lib))
        return lib


@contextmanager
def compile_equal_modules_once() -> Iterator[Callable]:
    """Let `relay.build` remember what it made."""
    with pytest.MonkeyPatch.context() as patch:
        memo = BuildMemo()
        patch.setattr(relay, "build", memo.build)
        yield memo.build
