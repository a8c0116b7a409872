"""tvm-coexec: run the same operators on a CPU and a GPU at once, as a plug-in of TVM's Relay compiler.

Importing the package adds `relay.transform.CoExecPartition`, loads the OpenCL runtime where the TVM at hand has none,
and gives GPU shares sane schedules where no tuning records apply.
"""

from __future__ import annotations

from .errors import CoExecError

try:
    from tvm import relay as _relay  # noqa: F401
except ImportError as err:
    raise ImportError(
        f"tvm-coexec needs a TVM that has Relay (0.13 to 0.19), and `import tvm.relay` failed ({err}); "
        "run `make setup` or install such a TVM"
    ) from err

from . import runtime, schedules, tophub
from .relay_passes import coexec_partition as _coexec_partition

runtime.load()
tophub.install()
schedules.install()
_coexec_partition.register()

from .api import build, partition_for_coexec, plan_of, targets  # noqa: E402
from .arrays import as_numpy, empty, from_numpy  # noqa: E402
from .executor import create  # noqa: E402
from .kernel_graph import KernelGraph  # noqa: E402
from .plan import Plan  # noqa: E402
from .relay_passes.coexec_partition import CoExecPartition  # noqa: E402
from .report import Report  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "CoExecError",
    "CoExecPartition",
    "KernelGraph",
    "Plan",
    "Report",
    "as_numpy",
    "build",
    "create",
    "empty",
    "from_numpy",
    "partition_for_coexec",
    "plan_of",
    "targets",
]
