"""Compile equal modules once: for tests of what is done with compiled modules, not of compiling."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tvm
from tvm import relay

from tvm_coexec.executor import annotations


class BuildMemo:
    """What `relay.build` made of a module for a target in a pass context.

    Modules are equal only if their constants are. Builds with instruments are not kept, since an instrument wants to
    see the passes; but the instrument of `annotate_graph` gets the lowered module again.
    """

    def __init__(self) -> None:
        self._stock = relay.build
        self._made: dict[tuple, list[tuple[tvm.IRModule, Any, tvm.IRModule | None]]] = {}
        self._capture: annotations.LoweringCapture | None = None
        self._new_capture = annotations.LoweringCapture

    def new_capture(self) -> annotations.LoweringCapture:
        """Make the instrument of `annotate_graph`, for the build that follows."""
        self._capture = self._new_capture()
        return self._capture

    def build(self, mod: tvm.IRModule, target: Any = None, **options: Any) -> Any:
        """Return what was made before of an equal module, or compile it; the arguments are those of `relay.build`."""
        context = tvm.transform.PassContext.current()
        capture, self._capture = self._capture, None
        if options or len(context.instruments) != (capture is not None):
            return self._stock(mod, target=target, **options)
        setting = (context.opt_level, context.config, context.required_pass, context.disabled_pass)
        key = (str(target), str(setting), tvm.ir.structural_hash(mod))
        made = self._made.setdefault(key, [])
        for before, lib, lowered in made:
            if tvm.ir.structural_equal(before, mod) and (capture is None or lowered is not None):
                if capture is not None:
                    capture.mod = lowered
                return copy.copy(lib)
        lib = self._stock(mod, target=target)
        made.append((mod, lib, None if capture is None else capture.mod))
        return copy.copy(lib)  # the caller may annotate it


@contextmanager
def compile_equal_modules_once() -> Iterator[Callable]:
    """Let `relay.build` remember what it made."""
    with pytest.MonkeyPatch.context() as patch:
        memo = BuildMemo()
        patch.setattr(relay, "build", memo.build)
        patch.setattr(annotations, "LoweringCapture", memo.new_capture)
        yield memo.build
