"""The two targets of a co-executed build."""

from __future__ import annotations

import difflib
import logging
import platform

import tvm
from tvm.target import Target
from tvm.target.codegen import llvm_get_cpu_archlist, llvm_get_system_triple

from .core.errors import CoExecError, one_line
from .opencl import runtime
from .opencl.schedules.device import has_textures, local_device

logger = logging.getLogger("tvm_coexec")

CPU_TYPES = (1,)  # kDLCPU
ADRENO = "adreno"
KEYS = ["opencl", "gpu"]  # TVM's own keys of an OpenCL target
TEXTURES = "texture"  # key of a target that asks for Adreno's textures


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
        Any GPU target of TVM: ``opencl``, ``opencl -device=mali``, ``vulkan`` (also by the name
        ``webgpu``), ``cuda``, ``metal``. For ``opencl
        -device=adreno`` TVM puts tensors into textures, which this package's OpenCL runtime does not have; so it is
        compiled as ``opencl -model=adreno``, with buffers, unless TVM's own runtime is in use here or
        ``-keys=texture`` asks for textures. A ``vulkan`` target that means this machine's device, and whose work-groups
        may be larger than the device takes, gets the device's limit.

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
    return [Target(bare, host=bare), _limit_threads(Target(_choose_textures(bare, gpu_target), host=bare))]


def kind_of_gpu(gpu: str | Target) -> str:
    """Return the kind of a GPU target, such as ``vulkan``, without opening its driver.

    Parameters
    ----------
    gpu : str or Target

    Raises
    ------
    CoExecError
        If a text is not a target.
    """
    return _parse("gpu", gpu).kind.name


def _limit_threads(gpu: Target) -> Target:
    """Return a GPU target by which TVM's own schedules make no larger work-groups than this machine's device takes.

    TVM assumes 256 work-items; Vulkan guarantees 128.
    """
    device = local_device(gpu)
    limits = {name: gpu.attrs[name] for name in ("max_num_threads", "max_threads_per_block") if name in gpu.attrs}
    lower = {name: device.max_threads for name, n in limits.items() if device and 0 < device.max_threads < int(n)}
    return Target({**gpu.export(), **lower}) if lower else gpu


def _choose_textures(cpu: Target, gpu: Target) -> dict[str, object]:
    """Return a GPU target as JSON, without host, and without textures unless they are possible or asked for."""
    bare = {k: v for k, v in gpu.export().items() if k != "host"}
    if not has_textures(gpu):
        return bare
    keys = [str(key) for key in gpu.keys]
    if TEXTURES in keys:  # given as -keys=..., which replaces TVM's own
        return bare | {"keys": list(dict.fromkeys([ADRENO, *(k for k in keys if k != TEXTURES), *KEYS, TEXTURES]))}
    if not (runtime.is_ours() or is_for_another_machine(cpu)):
        return bare
    device = bare.pop("device", ADRENO)
    return {"model": device, **bare} | {"keys": [key for key in keys if key != ADRENO] or KEYS}


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


def check_textures(given: str | Target, cpu: Target, gpu: Target) -> None:
    """Say what became of an Adreno's textures, and refuse those that this machine's OpenCL runtime can't run.

    The runtime of another machine is unknown: textures are compiled for it on request, with a warning.

    Parameters
    ----------
    given : str or Target
        The GPU target that the user gave.
    cpu, gpu : Target
        What `targets` made of it.

    Raises
    ------
    CoExecError
        If a module with textures is compiled for this machine, and this package's OpenCL runtime is in use.
    """
    if not has_textures(gpu):
        if has_textures(_parse("gpu", given)):
            logger.warning(
                "-device=adreno: compiling with buffers, as this package's OpenCL runtime needs; for textures, which "
                "only TVM's own can run (a TVM built with USE_OPENCL=ON), add -keys=%s",
                TEXTURES,
            )
        return
    what = "the GPU target puts tensors into textures, which only TVM's own OpenCL runtime can run"
    if is_for_another_machine(cpu):
        logger.warning("%s (a TVM built with USE_OPENCL=ON), not this package's: load the module there", what)
    elif runtime.is_ours():
        raise CoExecError(
            f"{what}, and this package's is in use here; omit -keys={TEXTURES}, or use a TVM built with USE_OPENCL=ON"
        )


# Names of machines, in LLVM triples and in the operating system, that mean the same architecture.
_MACHINES = {
    **dict.fromkeys(("x86_64", "amd64", "AMD64"), "x86_64"),
    **dict.fromkeys(("aarch64", "arm64"), "aarch64"),
    **dict.fromkeys(("arm", "armv7", "armv7a", "armv7l", "armv8l"), "arm"),
    **dict.fromkeys(("i386", "i686"), "i386"),
    "riscv64": "riscv64",
}


def why_not_linkable(cpu: Target, option: str) -> str | None:
    """Return why this machine's linker can't link code for a CPU target, and what to give; None if it can.

    Parameters
    ----------
    cpu : Target
    option : str
        What takes a cross compiler, such as ``--cross-compiler``.
    """
    triple = str(cpu.attrs.get("mtriple", ""))
    there, here = _MACHINES.get(triple.split("-")[0]), _MACHINES.get(platform.machine())
    if not there or not here or there == here:
        return None
    example = f"the NDK's {there}-linux-android24-clang++" if "android" in triple else f"{triple}-gcc"
    return f"the CPU target is for {triple}, this machine is {platform.machine()}: give {option}, for example {example}"


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
    if isinstance(target, str) and target.split(maxsplit=1)[:1] == ["webgpu"]:
        target = target.replace("webgpu", "vulkan", 1)  # the same kernels and the same device
    try:
        return target if isinstance(target, Target) else Target(target)
    except (ValueError, TypeError, tvm.TVMError) as err:
        raise CoExecError(f"{which} target '{target}' is not a TVM target ({one_line(err, 160)})") from None
