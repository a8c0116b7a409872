"""The two targets of a co-executed build."""

from __future__ import annotations

import difflib
import logging

import tvm
from tvm.target import Target
from tvm.target.codegen import llvm_get_cpu_archlist, llvm_get_system_triple

from .core.errors import CoExecError, one_line
from .opencl import runtime

logger = logging.getLogger("tvm_coexec")

CPU_TYPES = (1,)  # kDLCPU


def targets(cpu: str | Target = "llvm", gpu: str | Target = "opencl") -> list[Target]:
    """Return the targets for a plain ``relay.build(mod, target=tvm_coexec.targets(cpu, gpu))``.

    In a build for two targets TVM compiles the CPU's kernels for the GPU target's *host*. A host without the CPU
    target's ``-mcpu``/``-mattr`` silently makes the CPU's shares several times slower, so the host is always the CPU
    target itself.

    Parameters
    ----------
    cpu : str or Target
        For example ``llvm -mcpu=core-avx2`` or ``llvm -mtriple=aarch64-linux-gnu -mattr=+neon``.
    gpu : str or Target
        Any GPU target of TVM: ``opencl``, ``opencl -device=mali``, ``vulkan``, ``cuda``, ``metal``.

    Returns
    -------
    list of Target
        CPU target and GPU target.

    Raises
    ------
    CoExecError
        If a text is not a target, or is a target of the wrong kind.
    """
    cpu_target = _parse("cpu", cpu)
    gpu_target = _parse("gpu", gpu)
    if cpu_target.get_target_device_type() not in CPU_TYPES:
        raise CoExecError(f"cpu target '{cpu}' is not a CPU target; use llvm with its options")
    _check_processor(cpu, cpu_target)
    if gpu_target.get_target_device_type() in CPU_TYPES:
        raise CoExecError(f"gpu target '{gpu}' is a CPU target; use opencl, vulkan, cuda, metal or another GPU target")
    bare = Target({k: v for k, v in cpu_target.export().items() if k != "host"})
    host = gpu_target.host
    if host is not None and str(Target(dict(host.export()))) != str(bare):
        logger.info("the GPU target's host %s is replaced by the CPU target %s", host, bare)
    return [Target(bare, host=bare), Target({k: v for k, v in gpu_target.export().items() if k != "host"}, host=bare)]


def _check_processor(text: str | Target, target: Target) -> None:
    """Raise for an unknown processor, for which LLVM would compile generic code with a warning per function."""
    name = str(target.attrs.get("mcpu", "")) if target.kind.name == "llvm" else ""
    try:
        known = [str(a) for a in llvm_get_cpu_archlist(target)] if name else []
    except tvm.TVMError:  # an LLVM without the architecture raises when it compiles
        return
    if known and name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`llc -mcpu=help` lists them"
        raise CoExecError(f"cpu target '{text}': LLVM knows no processor '{name}'; {hint}")


def check_textures(cpu: Target, gpu: Target) -> None:
    """Refuse to compile for textures if this package's OpenCL runtime has to run the result.

    For an Adreno, TVM puts the tensors of convolutions into textures, which TVM's own OpenCL runtime supports and this
    package's does not. The runtime of another machine is unknown: compiling for one is allowed, with a warning.

    Parameters
    ----------
    cpu, gpu : Target

    Raises
    ------
    CoExecError
        If the module is compiled for this machine, and this package's OpenCL runtime is in use.
    """
    if gpu.kind.name != "opencl" or "adreno" not in (*gpu.keys, gpu.attrs.get("device", "")) or not runtime.is_ours():
        return
    what = "the GPU target's -device=adreno puts tensors into textures, which only TVM's own OpenCL runtime can run"
    if is_for_another_machine(cpu):
        logger.warning("%s (a TVM built with USE_OPENCL=ON), not this package's: load the module there", what)
        return
    raise CoExecError(
        f"{what}, and this package's is in use here; omit -device=adreno, or use a TVM built with USE_OPENCL=ON"
    )


def is_for_another_machine(cpu: Target) -> bool:
    """Return whether the processor or the system (gnu, android) differs from this machine's."""
    wanted = str(cpu.attrs.get("mtriple", ""))
    here = llvm_get_system_triple()

    def ends(triple: str) -> tuple[str, str]:
        parts = triple.replace("arm64", "aarch64").split("-")
        return parts[0], parts[-1].rstrip("0123456789")  # android21

    return bool(wanted) and ends(wanted) != ends(here)


def target_text(target: Target) -> str:
    """Return the text of a target as profiles store it: without host and tag, which do not identify the device.

    Parameters
    ----------
    target : Target

    Returns
    -------
    str
    """
    bare = {k: v for k, v in target.export().items() if k not in ("host", "tag")}
    return " ".join(str(Target(bare)).split())


def _parse(which: str, target: str | Target) -> Target:
    try:
        return target if isinstance(target, Target) else Target(target)
    except (ValueError, TypeError, tvm.TVMError) as err:
        raise CoExecError(f"{which} target '{target}' is not a TVM target ({one_line(err, 160)})") from None
