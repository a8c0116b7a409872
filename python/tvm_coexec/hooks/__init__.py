"""Every change that importing this package makes to TVM, in one place.

`install` runs when `tvm_coexec` is imported with a TVM that has Relay. The environment variable ``TVM_COEXEC_HOOKS``
selects the hooks: ``all`` (the default), ``none``, or a comma-separated list of names.

===============  =======================================================================================================
``opencl``       Registers an OpenCL device and its code generator, where this TVM was built without them
``vulkan``       The same for Vulkan, where this TVM has none: a device over wgpu-native, and kernels as WGSL
``tophub``       Lets compilation continue if tuning logs cannot be downloaded (`hooks.tophub`)
``schedules``    Replaces AutoTVM's root context: GPU kernels without tuning records get a default configuration; and
                 TVM's schedules of injective kernels, pooling and LRN on OpenCL devices that run on CPU cores
``records``      Lets that root context ask for tuning records of the whole operator, adapted to its shares, and marks
                 the contexts of TopHub (`tuning.serving`); no effect without ``schedules``
``postprocess``  Registers the OpenCL post-processing callback: 64-bit indices and vectorisable functions on OpenCL
                 devices that run on CPU cores
``dense``        Lets that root context configure dense layers on CPUs (`llvm.dense`); no effect without ``schedules``
``functions``    Lowers ``erf`` for LLVM targets to an expression that is vectorised (`llvm.functions`)
``build_info``   Lets Relay's TE compiler look up how TVM was built only once (`hooks.build_info`): a fifth less time
``relations``    Lets Relay keep the types that it inferred of convolutions and other operators with layouts
                 (`hooks.type_relations`): networks of convolutions compile in a quarter to a third less time
``workers``      Makes the processes that TVM's tuners and RPC servers start import this package (`hooks.workers`)
``runners``      Loads the runtime on the RPC servers on which TVM's tuners measure OpenCL kernels, and says what a
                 tracker or server lacks (`remote.runners`)
===============  =======================================================================================================

The pass ``relay.transform.CoExecPartition`` is registered in any case: it adds a name and changes nothing.
"""

from __future__ import annotations

import importlib
import os

from tvm_coexec.core.errors import CoExecError

VARIABLE = "TVM_COEXEC_HOOKS"
# In order of installation; the `install` of each module is idempotent.
_MODULES = {
    "opencl": "tvm_coexec.opencl.runtime",
    "vulkan": "tvm_coexec.vulkan.runtime",
    "tophub": "tvm_coexec.hooks.tophub",
    "schedules": "tvm_coexec.opencl.schedules",
    "records": "tvm_coexec.tuning.serving",
    "postprocess": "tvm_coexec.opencl.schedules.postprocess",
    "dense": "tvm_coexec.llvm.dense",
    "functions": "tvm_coexec.llvm.functions",
    "build_info": "tvm_coexec.hooks.build_info",
    "relations": "tvm_coexec.hooks.type_relations",
    "workers": "tvm_coexec.hooks.workers",
    "runners": "tvm_coexec.remote.runners",
}
HOOKS = tuple(_MODULES)


def install(names: str | None = None) -> tuple[str, ...]:
    """Install hooks; a hook that is already installed is left unchanged.

    Parameters
    ----------
    names : str, optional
        ``all``, ``none``, or a comma-separated list of names; by default the value of ``TVM_COEXEC_HOOKS``.

    Returns
    -------
    tuple of str
        Names of the requested hooks.

    Raises
    ------
    CoExecError
        If a name is unknown.
    """
    chosen = _parse(os.environ.get(VARIABLE, "all") if names is None else names)
    for name in chosen:
        importlib.import_module(_MODULES[name]).install()
    return chosen


def enabled(name: str) -> bool:
    """Return whether ``TVM_COEXEC_HOOKS`` enables a hook.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool

    Raises
    ------
    CoExecError
        If the variable names an unknown hook.
    """
    return name in _parse(os.environ.get(VARIABLE, "all"))


def _parse(text: str) -> tuple[str, ...]:
    words = [w.strip() for w in text.split(",") if w.strip()]
    if words in (["all"], ["none"], []):
        return HOOKS if words == ["all"] else ()
    if unknown := [w for w in words if w not in HOOKS]:
        raise CoExecError(f"{VARIABLE}: unknown hook '{unknown[0]}'; use all, none or some of {', '.join(HOOKS)}")
    return tuple(name for name in HOOKS if name in words)
