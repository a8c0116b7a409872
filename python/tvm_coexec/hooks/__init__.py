"""Every change that importing this package makes to TVM, in one place.

`install` runs when `tvm_coexec` is imported with a TVM that has Relay. The environment variable ``TVM_COEXEC_HOOKS``
chooses among the hooks: ``all`` (the default), ``none``, or names with commas between them.

=============  =========================================================================================================
``opencl``     Registers an OpenCL device and its code generator, where this TVM was built without them
``tophub``     Lets compilation go on where tuning logs can't be downloaded (`hooks.tophub`)
``schedules``  Replaces AutoTVM's root context: GPU kernels without tuning records get a configuration of ours
``indices``    Registers the OpenCL post-processing callback: 64-bit indices on OpenCL devices made of CPU cores
=============  =========================================================================================================

The pass ``relay.transform.CoExecPartition`` is registered in any case: it adds a name and changes nothing.
"""

from __future__ import annotations

import importlib
import os

from tvm_coexec.core.errors import CoExecError

VARIABLE = "TVM_COEXEC_HOOKS"
# In this order; each module has `install`, which changes nothing when called again.
_MODULES = {
    "opencl": "tvm_coexec.opencl.runtime",
    "tophub": "tvm_coexec.hooks.tophub",
    "schedules": "tvm_coexec.opencl.schedules",
    "indices": "tvm_coexec.opencl.schedules.indices",
}
HOOKS = tuple(_MODULES)


def install(names: str | None = None) -> tuple[str, ...]:
    """Install hooks; those that are installed already stay as they are.

    Parameters
    ----------
    names : str, optional
        ``all``, ``none``, or names with commas between them; by default the value of ``TVM_COEXEC_HOOKS``.

    Returns
    -------
    tuple of str
        Names of the hooks that were asked for.

    Raises
    ------
    CoExecError
        For an unknown name.
    """
    chosen = _parse(os.environ.get(VARIABLE, "all") if names is None else names)
    for name in chosen:
        importlib.import_module(_MODULES[name]).install()
    return chosen


def enabled(name: str) -> bool:
    """Whether ``TVM_COEXEC_HOOKS`` leaves this hook on; raises as `install`."""
    return name in _parse(os.environ.get(VARIABLE, "all"))


def _parse(text: str) -> tuple[str, ...]:
    words = [w.strip() for w in text.split(",") if w.strip()]
    if words in (["all"], ["none"], []):
        return HOOKS if words == ["all"] else ()
    if unknown := [w for w in words if w not in HOOKS]:
        raise CoExecError(f"{VARIABLE}: unknown hook '{unknown[0]}'; use all, none or some of {', '.join(HOOKS)}")
    return tuple(name for name in HOOKS if name in words)
