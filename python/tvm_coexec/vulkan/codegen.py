"""``target.build.vulkan``: kernels by TVM's WGSL generator, as a module of this package's runtime."""

from __future__ import annotations

import re

import tvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.opencl.schedules.device import ask_limits_of
from tvm_coexec.relay_passes.compilable import check_language

from . import load
from .devices import first_device
from .functions import with_functions
from .kernels import launch_parameters, lower_for_wgsl, parameter_types, why_not_wgsl
from .narrow_types import with_accessors

GENERATOR = "target.build.webgpu"
RULES = "webgpu.FLowerIntrinsic"
# Functions that TVM's rules for WebGPU lack; `functions` has them.
_BY_NAME = ("nearbyint", "fmod", "log10", "log1p", "exp10", "popcount", "isnan", "isinf", "isfinite")
_SHARED = re.compile(r"var<workgroup> \w+ : array<(?:vec([234])<)?[fiu](16|32)>?, (\d+)>")
_HALVES = "enable f16;"
_LEVEL = 20  # above TVM's own rules, if any


def install() -> None:
    """Register the generator and the lowering of functions for ``vulkan``. Idempotent."""
    if tvm.get_global_func(GENERATOR, allow_missing=True) is None:
        return
    for name in tvm.ir.Op.list_op_names():
        if name.startswith("tir.") and (rule := tvm.ir.Op.get(name).get_attr(RULES)) is not None:
            tvm.ir.register_intrin_lowering(name, target="vulkan", f=rule, level=_LEVEL)
    for name in _BY_NAME:
        tvm.ir.register_intrin_lowering(f"tir.{name}", target="vulkan", f=_by_name, level=_LEVEL + 1)
    tvm.register_func("target.build.vulkan", build, override=True)
    check_language("vulkan", lambda func: why_not_wgsl(func, first_device()))
    ask_limits_of("vulkan", first_device)


def _by_name(call: tvm.tir.Call) -> tvm.tir.Call:
    return tvm.tir.call_pure_extern(call.dtype, call.op.name.removeprefix("tir."), *call.args)


def build(mod: tvm.IRModule, target: Target) -> tvm.runtime.Module:
    """Compile kernels for Vulkan.

    Parameters
    ----------
    mod : IRModule
        Kernels, after TVM's passes for devices.
    target : Target

    Returns
    -------
    Module
        Of type ``wgsl``.

    Raises
    ------
    CoExecError
        If WGSL or the device can't express a kernel; the text names it.
    """
    strings: list[str] = []
    for var, func in mod.functions.items():
        name = str(func.attrs.get("global_symbol", var.name_hint))
        source = shader_of(name, func, target)
        strings += [source, name, " ".join(parameter_types(func)), " ".join(launch_parameters(func))]
    return load.call("source_module", *strings)


def shader_of(name: str, func: tvm.tir.PrimFunc, target: Target) -> str:
    """Return the WGSL of one kernel.

    Parameters
    ----------
    name : str
        The function's name in the shader.
    func : PrimFunc
    target : Target

    Returns
    -------
    str

    Raises
    ------
    CoExecError
    """
    lowered = lower_for_wgsl(name, func, first_device())
    generate = tvm.get_global_func(GENERATOR)
    try:
        text = generate(tvm.IRModule({name: lowered}), target).get_source()
    except tvm.TVMError as err:
        raise CoExecError(f"kernel '{name}' can't be compiled for vulkan: {one_line(err)}") from err
    # Without comments: a module finds its kernels by TVM's.
    text = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    source = with_functions(with_accessors(text, func))
    if _HALVES in source:  # has to be at the beginning
        source = f"{_HALVES}\n{source.replace(_HALVES, '')}"
    if why := _why_not_here(source):
        raise CoExecError(f"kernel '{name}' can't be compiled for vulkan: {why}")
    return source


def _why_not_here(source: str) -> str:
    """Return why this machine's device does not take a shader; empty if it does, or if there is no device."""
    device = first_device()
    if device is None:
        return ""
    shared = sum(int(lanes or 1) * int(bits) // 8 * int(count) for lanes, bits, count in _SHARED.findall(source))
    if shared > device.local_bytes > 0:  # wgpu-native's compiler says it only when the kernel is launched
        return f"its work-groups have {shared} bytes of shared memory, the device {device.local_bytes}"
    return " ".join(load.call("check", source).split())
