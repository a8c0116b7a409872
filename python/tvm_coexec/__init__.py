"""tvm-coexec: run the same operators on a CPU and a GPU at once, as a plug-in of TVM's Relay compiler.

With a TVM that has Relay, importing the package adds ``relay.transform.CoExecPartition`` and installs the hooks that
`tvm_coexec.hooks` lists. Without one, what needs no TVM works all the same: kernel graphs, plans, the planner, cost
models, reports and drawings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__
from .core.errors import CoExecError
from .core.kernel_graph import KernelGraph
from .core.plan import Plan
from .report import Report

# Names that need TVM.
_RELAY_NAMES = (
    *("CoExecPartition", "as_numpy", "build", "create", "empty", "from_numpy"),
    *("extract_tasks", "load_tuned", "partition_for_coexec", "plan_of", "targets", "tune"),
)
__all__ = [
    "CoExecError",
    "CoExecPartition",
    "KernelGraph",
    "Plan",
    "Report",
    "__version__",
    "as_numpy",
    "build",
    "create",
    "empty",
    "extract_tasks",
    "from_numpy",
    "load_tuned",
    "partition_for_coexec",
    "plan_of",
    "targets",
    "tune",
]

_why_no_relay: str | None = None
if not TYPE_CHECKING:
    try:
        from tvm import relay as _relay  # noqa: F401
    except (ImportError, OSError, RuntimeError) as err:  # a TVM whose libraries are missing raises the last two
        _why_no_relay = f"{type(err).__name__}: {err}".splitlines()[0]

if _why_no_relay is None:
    from . import hooks, partition
    from .build import build, partition_for_coexec, plan_of, targets
    from .executor.arrays import as_numpy, empty, from_numpy
    from .executor.create import create
    from .partition import CoExecPartition
    from .tuning.loop import load_tuned, tune
    from .tuning.tasks import extract_tasks

    hooks.install()
    partition.register()


def __getattr__(name: str) -> object:
    if name in _RELAY_NAMES:
        raise ImportError(
            f"tvm_coexec.{name} needs a TVM that has Relay (0.13 to 0.19), and `from tvm import relay` failed "
            f"({_why_no_relay}); run `make setup` or install such a TVM"
        )
    raise AttributeError(f"module 'tvm_coexec' has no attribute '{name}'")
