"""CoExecPartition: the whole sequence as one module pass."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

import tvm
from tvm import relay
from tvm.target import Target

from . import planner
from .core.errors import CoExecError
from .core.kernel_graph import KernelGraph
from .core.plan import Plan
from .cost_models import Costs
from .measuring.verify import Verify, check_verify
from .relay_passes.compilable import Uncompilable, check_compilable
from .relay_passes.extract import Extracted, extract_with_calls
from .relay_passes.layout import AlterShareLayouts
from .relay_passes.outline import Annotate
from .relay_passes.prepare import Prepare
from .relay_passes.schedule_devices import Place
from .relay_passes.split import SplitChains
from .report.report import Report
from .targets import check_textures, targets

logger = logging.getLogger("tvm_coexec")

PLAN_ATTR = "coexec.plan"


@tvm.transform.module_pass(opt_level=0, name="CoExecPartition")
class CoExecPartition:
    """Split a model's heavy operators between a CPU and a GPU.

    The result is built with both targets, ``relay.build(mod, target=tvm_coexec.targets(cpu, gpu))``, and runs in the
    stock graph executor. The pass is idempotent: a module that carries a plan is returned as it is.

    Parameters
    ----------
    cpu, gpu : str or Target
        See `tvm_coexec.targets`.
    params : dict of str to NDArray, optional
        Weights; bound as constants, so that each device gets only its slice.
    plan : Plan, str or path, optional
        A plan to replay (a `Plan`, its JSON text, or the path of a file) instead of planning.
    strategy : str
        How chains are chosen, one of `planner.STRATEGIES`: ``coexec`` is ours, the others are there to compare with.
    axis : str
        ``auto`` or the axis to divide: ``oc`` (``n`` for matrix products), ``h`` (``m``), ``w``, ``batch``.
    ratio : float or "auto"
        The GPU's part, 0..1, rounded to an aligned cut; ``auto`` decides by cost, operator by operator.
    profile : str or Costs, optional
        Measured costs (a file that `MeasuredCosts.save` wrote) or a cost model. Without it ``ratio="auto"`` measures
        the model's kernels on the devices of this machine and remembers what it saw.
    min_gain : float, optional
        Part of the single-device time that a plan must promise to save; if not given, what the profile says of its
        own error (see `planner.margin_of`).
    objective : {"latency", "energy", "edp"}
        What is made small; energy and energy-delay product need a profile with power.
    bandwidth : float, optional
        Bytes a second of the link that ``neurosurgeon`` cuts the network at.
    verify : bool, int or Verify
        Build, run and time the best few plans (five, or so many), each device alone among them, and keep the fastest.
        What was seen is in the plan and the report, and is kept for profiles to learn from. See `verifying.Verify`.

    Raises
    ------
    CoExecError
        For an option, target, plan or profile that can't be used; the text is one sentence.
    """

    def __init__(
        self,
        cpu: str | Target = "llvm",
        gpu: str | Target = "opencl",
        params: dict | None = None,
        plan: Plan | str | os.PathLike | None = None,
        strategy: str = "coexec",
        axis: str = "auto",
        ratio: float | str = "auto",
        profile: object | None = None,
        min_gain: float | None = None,
        objective: str = "latency",
        bandwidth: float | None = None,
        verify: bool | int | Verify = False,
    ):
        self.cpu, self.gpu = targets(cpu, gpu)
        check_textures(self.cpu, self.gpu)
        self.params = params
        self.plan = _read_plan(plan)
        is_file = isinstance(plan, os.PathLike) or (isinstance(plan, str) and not plan.lstrip().startswith("{"))
        self._plan_file = os.fspath(plan) if is_file else ""
        self.options = planner.check_options(
            strategy=strategy, axis=axis, ratio=ratio, min_gain=min_gain, objective=objective, bandwidth=bandwidth
        )
        self.profile = profile
        self.verify = check_verify(verify)
        if self.verify is not None and self.plan is not None:
            raise CoExecError("plan replays a plan as it is, so verify would have no effect: leave one out")
        if self.verify is not None and objective != "latency":
            raise CoExecError(f"verify measures time and can't tell which plan has the least {objective}: leave it out")
        self.report: Report | None = None

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Returns the co-executed module; `report` then tells what was decided."""
        done = plan_of(mod)
        if done is not None:
            return mod
        prepared = Prepare(self.params)(mod)
        extracted = extract_with_calls(prepared)
        if not extracted.graph.kernels:
            reason = extracted.graph.reason or "it has no operators"
            logger.warning("the model stays whole: %s", reason)
            self.report = Report(extracted.graph, None, reason)
            return mod
        costs = self._costs(prepared)
        both = (self.cpu, self.gpu)
        plan, extracted, shares = divide_compilably(prepared, extracted, lambda g: self._plan(g, costs), both)
        if self.verify is None:
            placed = Place(*both)(shares)
        else:
            from .measuring.verify.run import verify_plans  # measuring needs the runtime; planning alone does not

            def divide(plan: Plan) -> tvm.IRModule:
                return Place(*both)(_shares(prepared, extracted, plan, both))

            plan, placed = verify_plans(extracted.graph, costs, self.options, plan, divide, both, self.verify)
        self.report = Report(extracted.graph, plan, costs=costs)
        logger.info("%s", self.report.summary())
        placed["main"] = placed["main"].with_attr(PLAN_ATTR, plan.to_json())
        return placed

    def _costs(self, prepared: tvm.IRModule) -> Costs | None:
        if self.plan is not None or not (planner.needs_costs(self.options) or self.profile is not None):
            return None
        from .measuring.choose_costs import choose_costs  # measuring needs the runtime; planning alone does not

        return choose_costs(prepared, self.cpu, self.gpu, self.profile, self.options.axis).costs

    def _plan(self, graph: KernelGraph, costs: Costs | None) -> Plan:
        """A plan for the graph; one that was given is checked against it, and with it what TVM can compile."""
        if self.plan is None:
            return planner.make_plan(graph, costs, **vars(self.options))
        try:
            self.plan.check(graph)
        except CoExecError as err:
            raise CoExecError(f"{self._plan_file}: {err}" if self._plan_file else str(err)) from None
        return self.plan


def divide_compilably(
    prepared: tvm.IRModule, extracted: Extracted, plan: Callable[[KernelGraph], Plan], targets: Sequence[Target]
) -> tuple[Plan, Extracted, tvm.IRModule]:
    """Plan a module, and plan again as long as TVM can't compile what the plan gives to the GPU.

    Parameters
    ----------
    prepared : IRModule
        After `Prepare`.
    extracted : Extracted
        Its kernels.
    plan : callable
        Makes a plan for a graph, or raises `CoExecError`. It is called again with the graph without what was refused,
        so it must respect that (`Plan.check`).
    targets : (Target, Target)
        CPU and GPU.

    Returns
    -------
    plan : Plan
    extracted : Extracted
        With the graph that the plan was made for.
    shares : IRModule
        The functions of both devices, layouts chosen.
    """
    while True:
        made = plan(extracted.graph)
        try:
            return made, extracted, _shares(prepared, extracted, made, targets)
        except Uncompilable as err:
            for r in err.refusals:
                logger.info("kernel %d (%s): %s", r.kernel, extracted.graph.kernels[r.kernel].name, r.reason)
            extracted = Extracted(extracted.graph.restrict(err.refusals), extracted.calls)


def _shares(prepared: tvm.IRModule, extracted: Extracted, plan: Plan, targets: Sequence[Target]) -> tvm.IRModule:
    """A plan's functions of both devices; raises `Uncompilable`."""
    annotated = Annotate(plan, extracted)(prepared)
    altered = AlterShareLayouts(*targets)(SplitChains()(annotated))
    check_compilable(altered, plan, extracted.graph, targets[1])
    return altered


def plan_of(mod: tvm.IRModule) -> Plan | None:
    """The plan that a co-executed module carries, `None` for any other module."""
    if "main" not in [g.name_hint for g in mod.get_global_vars()]:
        return None
    attrs = mod["main"].attrs
    if attrs is None or PLAN_ATTR not in attrs.keys():  # noqa: SIM118 (DictAttrs has no `in`)
        return None
    return Plan.from_json(str(attrs[PLAN_ATTR]))


def _read_plan(plan: Plan | str | os.PathLike | None) -> Plan | None:
    if plan is None or isinstance(plan, Plan):
        return plan
    if isinstance(plan, str) and plan.lstrip().startswith("{"):
        return Plan.from_json(plan)
    if isinstance(plan, (str, os.PathLike)):
        return Plan.load(os.fspath(plan))
    raise CoExecError(f"plan must be a Plan, its JSON text or a path, not {type(plan).__name__}")


def register() -> None:
    """Makes the pass available as ``relay.transform.CoExecPartition`` and by name in ``required=[...]``."""
    relay.transform.CoExecPartition = CoExecPartition
    tvm.register_func("relay._transform.CoExecPartition", lambda: CoExecPartition(), override=True)
