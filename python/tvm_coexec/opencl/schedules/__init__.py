"""Schedules for GPU shares that need no tuning.

Tuning records are made for whole operators and do not fit their shares, and without records TVM's GPU schedules are an
order of magnitude too slow. `install` gives every convolution, dense layer and batched product on a GPU target a
configuration that fits its shape and device, wherever neither tuning records nor TopHub have one. Kernels for OpenCL
devices that are made of CPU cores get indices that their compilers can vectorise.

===========================  ==========================================================================================
`dispatch`                   the dispatch context, and which template is answered by whom
`device`                     what kind of device a target stands for
`windows`                    tiles for convolutions of any rank, by a small cost model
`conv2d`, `group_conv2d`...  one module for each class of operators: its workloads read, its knobs written
`indices`                    indices of 64 bits where devices are CPUs
===========================  ==========================================================================================
"""

from __future__ import annotations

from tvm.autotvm.task.dispatcher import FallbackContext

from .device import DeviceTraits, device_traits
from .dispatch import SharesContext, configuration, replace_root, root

__all__ = ["DeviceTraits", "configuration", "device_traits", "install", "installed", "uninstall"]

_replaced: list[FallbackContext] = []


def install() -> None:
    """Put the shares' context at AutoTVM's root; a second call changes nothing."""
    if not installed():
        _replaced[:] = [replace_root(SharesContext())]


def uninstall() -> None:
    """Put back the root context that `install` replaced; without effect where it is not installed."""
    if installed() and _replaced:
        stock = _replaced.pop()
        # Configurations given while installed must not outlive it; what TVM itself has remembered may.
        stock.memory = {k: v for k, v in root().memory.items() if getattr(v, "code_hash", None) != "tvm_coexec"}
        memory = stock.memory
        replace_root(stock)
        stock.memory = memory


def installed() -> bool:
    """Whether the root context is the shares'."""
    return isinstance(root(), SharesContext)
