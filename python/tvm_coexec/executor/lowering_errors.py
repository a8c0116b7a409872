"""Which operators TVM could not compile, when a build fails.

TVM's error is that of a pass deep inside, and names buffers. The kernels of the module that was to be lowered are
lowered once more, one at a time, until one fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tvm
from tvm import relay
from tvm.relay.backend import te_compiler
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.texts import shorten
from tvm_coexec.pass_context import change_context

_LONGEST = 120  # characters of a kernel's name, and of TVM's error


@tvm.instrument.pass_instrument
class _KeepFused:
    """Keeps the module with fused kernels, before they are lowered."""

    def __init__(self) -> None:
        self.mod: tvm.IRModule | None = None

    def run_before_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """Called by TVM."""
        if info.name == "LowerTE":
            self.mod = mod


@contextmanager
def explain_lowering(cpu: Target) -> Iterator[None]:
    """Convert TVM's error for a kernel that it can't lower for the CPU to a `CoExecError` that names its operators.

    Other errors are raised as they are. What TVM can't lower for the GPU is found before a build (see
    `relay_passes.compilable`).

    Parameters
    ----------
    cpu : Target
    """
    kept = _KeepFused()
    try:
        with change_context(instruments=[*tvm.transform.PassContext.current().instruments, kept]):
            yield
    except tvm.TVMError as err:
        if kept.mod is None or (found := _find_failing(kept.mod, cpu)) is None:
            raise
        name, why = found
        raise CoExecError(
            f"TVM can't compile the fused kernel {name} for {cpu.kind.name}, also without co-execution ({why}): change "
            "the model there, or keep these operators apart by relay.annotation.stop_fusion"
        ) from err


def _find_failing(mod: tvm.IRModule, target: Target) -> tuple[str, str] | None:
    """Return name and TVM's error of the first kernel that can't be lowered; `None` if all can."""
    kernels: list[relay.Function] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, relay.Function) and _is_kernel(node.op):
            kernels.append(node.op)

    for function in mod.functions.values():
        if isinstance(function, relay.Function):
            relay.analysis.post_order_visit(function.body, visit)
    compiler = te_compiler.get()
    for kernel in kernels:
        compiler.clear()
        try:
            with target:
                compiler.lower(kernel, target)
        except Exception as err:  # of any class: the build would fail with it
            cause = err.__context__ or err  # the text of TVM's wrapper holds a stack trace
            return shorten("+".join(_operators(kernel)), _LONGEST), one_line(cause, _LONGEST)
        finally:
            compiler.clear()
    return None


def _is_kernel(func: relay.Function) -> bool:
    if func.attrs is None or "Primitive" not in func.attrs.keys():  # noqa: SIM118 (TVM's map is no dict)
        return False
    return "device_copy" not in _operators(func)  # which the executor runs


def _operators(kernel: relay.Function) -> list[str]:
    """Return the names of a kernel's operators, each once, in order of execution."""
    names: list[str] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op):
            names.append(node.op.name)

    relay.analysis.post_order_visit(kernel.body, visit)
    return list(dict.fromkeys(names))
