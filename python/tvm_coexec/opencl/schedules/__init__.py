"""Schedules for GPU shares that need no tuning.

Tuning records are made for whole operators and do not fit their shares, and without records TVM's GPU schedules are 10
times too slow. `install` gives every convolution, dense layer and batched product on a GPU target a configuration that
fits its shape and device, unless tuning records or TopHub have one. Other kernels for OpenCL devices that run on CPU
cores get loops and indices that their compilers can vectorise.

===========================  ==========================================================================================
`dispatch`                   the dispatch context, and the function that configures each template
`device`                     the kind of device that a target means
`window`                     convolutions of any rank, and tiles
`windows`                    the best tile by the small cost models of the next two
`windows_on_cores`, `windows_on_gpus`
                             candidates and their cost
`conv2d`, `group_conv2d`...  one module per class of operators: from workload to knobs of the template
`injective`                  loop nests of injective kernels for OpenCL devices that run on CPU cores
`pooling`, `lrn`             the same for pooling and local response normalisation
`pointwise`                  register tiles of grouped 1x1 convolutions for such devices
`inner_product`              register tiles of dense layers and batched products for such devices
`reduction`                  reductions in work-groups that Vulkan devices take
`postprocess`                the callback that rewrites kernels' sources for such devices, by the two below
`indices`                    64-bit indices
`functions`                  `erf`, `pow` and logarithms without branches
===========================  ==========================================================================================
"""

from __future__ import annotations

from tvm.autotvm.task.dispatcher import FallbackContext

from . import injective, inner_product, lrn, pointwise, pooling, reduction
from .device import DeviceTraits, device_traits
from .dispatch import SharesContext, configuration, replace_root, root
from .tiles import CODE_HASH

__all__ = ["DeviceTraits", "configuration", "device_traits", "install", "installed", "uninstall"]

_SCHEDULES = (injective, pooling, lrn, pointwise, inner_product, reduction)
_replaced: list[FallbackContext] = []


def install() -> None:
    """Make `SharesContext` AutoTVM's root context, and replace schedules of TVM. Idempotent."""
    if not installed():
        _replaced[:] = [replace_root(SharesContext())]
        for module in _SCHEDULES:
            module.install()


def uninstall() -> None:
    """Restore the root context and the schedules that `install` replaced, if it did."""
    if installed() and _replaced:
        for module in _SCHEDULES:
            module.uninstall()
        stock = _replaced.pop()
        # Remove this package's configurations from the cache; TVM's own entries stay.
        stock.memory = {k: v for k, v in root().memory.items() if getattr(v, "code_hash", None) != CODE_HASH}
        memory = stock.memory
        replace_root(stock)
        stock.memory = memory


def installed() -> bool:
    """Return whether the root context is `SharesContext`."""
    return isinstance(root(), SharesContext)
