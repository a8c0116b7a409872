"""CoExecPartition: all steps from a Relay module to a co-executed one, as one module pass."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import tvm
from tvm import relay
from tvm.target import Target

from . import planner
from .core.errors import CoExecError
from .core.kernel_graph import DEVICES, KernelGraph
from .core.plan import OtherModelError, Plan
from .cost_models import Costs
from .gpu_runtimes import OPTIONAL_TYPES, find_lacking_types
from .partition_options import PartitionOptions, check_partition_options
from .planner.strategies.single import on_one
from .relay_passes.divide import divide_compilably, make_shares, place
from .relay_passes.extract import Extracted, extract_with_calls
from .relay_passes.ir_utils import ModulePass
from .relay_passes.prepare import Prepare, bind_params
from .relay_passes.static_shapes import why_dynamic
from .report.report import Report
from .report.sources_text import KernelSource
from .targets import check_textures, is_for_another_machine, targets
from .tuning.serving import has_records

logger = logging.getLogger("tvm_coexec")

PLAN_ATTR = "coexec.plan"
_NO_KERNELS = "it has no operators, or only operators whose results are empty"


@tvm.transform.module_pass(opt_level=0, name="CoExecPartition")
class CoExecPartition(ModulePass):
    """Split a model's compute-intensive operators between a CPU and a GPU.

    The result is built with both targets, ``relay.build(mod, target=tvm_coexec.targets(cpu, gpu))``, and runs in the
    stock graph executor. The pass is idempotent: a module that carries a plan is returned unchanged.

    Parameters
    ----------
    cpu, gpu : str or Target
        See `tvm_coexec.targets`.
    params : dict of str to NDArray, optional
        Weights; bound as constants, so that each device gets only its slice. They are in the result even if the model
        stays whole or was already divided.
    **options
        Fields of `PartitionOptions`: strategy, axis, ratio, min_gain, objective, bandwidth, runtime, memory, profile,
        plan, verify, adaptive. Each may be a Python value or the text of a command-line option.

    Raises
    ------
    CoExecError
        For an invalid option, target, plan or profile; the text is one sentence.

    Attributes
    ----------
    report : Report or None
        Set by the pass.
    report_costs : Costs or None
        For the report on a plan that is replayed; to be set before the pass runs.
    alone : dict of str to (Plan, IRModule)
        With ``adaptive``, set by the pass: the model on ``cpu`` and on ``gpu`` alone, if the plan is another one.
    """

    def __init__(
        self,
        cpu: str | Target = "llvm",
        gpu: str | Target = "opencl",
        params: dict | None = None,
        **options: object,
    ):
        self.cpu, self.gpu = targets(cpu, gpu)
        check_textures(gpu, self.cpu, self.gpu)
        self.params = params
        self.options = check_partition_options(options)
        plan = options.get("plan")
        is_file = isinstance(plan, os.PathLike) or (isinstance(plan, str) and not plan.lstrip().startswith("{"))
        self._plan_file = str(plan) if is_file else ""
        self.report: Report | None = None
        self.alone: dict[str, tuple[Plan, tvm.IRModule]] = {}
        self.report_costs: Costs | None = None

    def transform_module(self, mod: tvm.IRModule, ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Return the co-executed module, and set `report` and `alone`."""
        self.alone = {}
        mod = bind_params(mod, self.params)
        if plan_of(mod) is not None:
            if self.options.adaptive:
                raise CoExecError(
                    "adaptive: the model was already divided, so the devices can't be built alone: give the model as "
                    "it was before CoExecPartition"
                )
            return mod
        prepared = Prepare()(mod)
        extracted = extract_with_calls(prepared)
        graph = extracted.graph
        reason = graph.reason or why_dynamic(prepared) or ("" if graph.kernels else _NO_KERNELS)
        if reason:
            self._refuse_plan(reason)
            logger.warning("the model stays whole: %s", reason)
            self.report = Report(graph, None, reason)
            # without kernels only inputs and constants are left, which any device can hold
            return prepared if reason == _NO_KERNELS else mod
        costs = self._costs(prepared)
        both = (self.cpu, self.gpu)
        if costs is not None:
            from .measuring.restrict import restrict_to_measured

            extracted = restrict_to_measured(prepared, extracted, costs, both)
        self._mark_tuned(prepared, extracted, costs)
        plan, extracted, shares = divide_compilably(prepared, extracted, lambda g: self._plan(g, costs), both)
        if self.options.verify is None:
            placed = place(shares, plan, both)
        else:
            from .measuring.verify.run import verify_plans  # measuring needs the runtime; planning alone does not

            def divide(plan: Plan) -> tvm.IRModule:
                return place(make_shares(prepared, extracted, plan, both), plan, both)

            plan, placed, costs = verify_plans(
                extracted.graph, costs, self.options, plan, divide, both, self.options.verify
            )
        self.report = Report(
            extracted.graph, plan, costs=costs or self.report_costs, sources=self._sources(prepared, extracted, plan)
        )
        logger.info("%s", self.report.summary())
        self._warn_of_types(extracted.graph, plan)
        if self.options.adaptive:
            self.alone = self._each_alone(prepared, extracted, plan)
        return _with_plan(placed, plan)

    def _warn_of_types(self, graph: KernelGraph, plan: Plan) -> None:
        """Warn if this machine's GPU lacks a type that it is to compute with: its driver would say so when it runs."""
        on_gpu = [k for s in plan.segments if s.device != "cpu" for k in s.kernels]
        used = {k: {graph.tensor(v).dtype for v in (*graph.kernels[k].inputs, k)} for k in on_gpu}
        if is_for_another_machine(self.cpu) or not set().union(*used.values()).intersection(OPTIONAL_TYPES):
            return  # devices are looked for only if it matters
        kind = self.gpu.kind.name
        lacking = find_lacking_types(kind)
        if found := [(k, types & lacking) for k, types in used.items() if types & lacking]:
            kernel, types = found[0]
            logger.warning(
                "this machine's %s device has no %s, so kernel %d (%s) of the plan can't run on it: use float32, or "
                "run the module on a device that has it",
                *(kind, " and no ".join(sorted(types)), kernel, graph.kernels[kernel].name),
            )

    def _each_alone(
        self, prepared: tvm.IRModule, extracted: Extracted, divided: Plan
    ) -> dict[str, tuple[Plan, tvm.IRModule]]:
        """Make the module of each device alone, except for those that equal the given plan or each other."""
        both, seen = (self.cpu, self.gpu), {divided.digest()}
        found: dict[str, tuple[Plan, tvm.IRModule]] = {}
        for device in DEVICES:

            def on_device(graph: KernelGraph, device: str = device) -> Plan:
                return Plan(graph.fingerprint(), on_one(graph, device), "single", runtime=divided.runtime)

            plan, _, shares = divide_compilably(prepared, extracted, on_device, both)
            if plan.digest() not in seen:
                seen.add(plan.digest())
                found[device] = plan, _with_plan(place(shares, plan, both), plan)
        return found

    def _sources(self, prepared: tvm.IRModule, extracted: Extracted, plan: Plan) -> tuple[KernelSource, ...]:
        """Where the kernels' configurations come from; empty without tuning records."""
        if not has_records():
            return ()
        from .measuring.pieces import KernelBuilder
        from .tuning.sources import find_sources

        return find_sources(KernelBuilder(prepared, extracted, self.cpu, self.gpu), plan)

    def _mark_tuned(self, prepared: tvm.IRModule, extracted: Extracted, costs: Costs | None) -> None:
        """Let a profile that learned from tuning records predict the kernels that records in force serve."""
        if not has_records():
            return
        from .measuring.pieces import KernelBuilder
        from .tuning.served import knows_tuned, mark_tuned

        if knows_tuned(costs):
            mark_tuned(KernelBuilder(prepared, extracted, self.cpu, self.gpu))

    def _refuse_plan(self, reason: str) -> None:
        """Refuse a plan for a model that stays whole: its segments would be ignored without a word."""
        if self.options.plan is not None and self.options.plan.segments:
            name = f"{self._plan_file}: the plan" if self._plan_file else "the plan"
            raise CoExecError(f"{name} can't be followed, because the model stays whole ({reason}); leave it out")

    def _costs(self, prepared: tvm.IRModule) -> Costs | None:
        if self.options.plan is not None or not (planner.needs_costs(self.options) or self.options.profile is not None):
            return None
        from .measuring.choose_costs import choose_costs  # measuring needs the runtime; planning alone does not

        wanted = self.options
        return choose_costs(
            prepared, self.cpu, self.gpu, wanted.profile, wanted.axis, wanted.runtime, wanted.memory
        ).costs

    def _options_for(self, costs: Costs | None) -> PartitionOptions:
        """Return the options, with the OpenCL runtime of this machine where neither they nor costs name one."""
        if costs is not None or self.options.runtime is not None or is_for_another_machine(self.cpu):
            return self.options
        from .measuring.local_devices import runtime_here

        return replace(self.options, runtime=runtime_here(self.gpu))

    def _plan(self, graph: KernelGraph, costs: Costs | None) -> Plan:
        """Make a plan for the graph, or check the given plan against it and against what TVM can compile."""
        if self.options.plan is None:
            return planner.make_plan(graph, costs, self._options_for(costs))
        try:
            self.options.plan.check(graph)
        except OtherModelError as err:
            raise OtherModelError(err.here, self._of_plan_file(err)) from None
        except CoExecError as err:
            raise CoExecError(self._of_plan_file(err)) from None
        return self.options.plan

    def _of_plan_file(self, err: CoExecError) -> str:
        return f"{self._plan_file}: {err}" if self._plan_file else str(err)


def _with_plan(placed: tvm.IRModule, plan: Plan) -> tvm.IRModule:
    placed["main"] = placed["main"].with_attr(PLAN_ATTR, plan.to_json())
    return placed


def plan_of(mod: tvm.IRModule) -> Plan | None:
    """Return the plan that a co-executed module carries; `None` for any other module."""
    if "main" not in [g.name_hint for g in mod.get_global_vars()]:
        return None
    attrs = mod["main"].attrs
    if attrs is None or PLAN_ATTR not in attrs.keys():  # noqa: SIM118 (DictAttrs has no `in`)
        return None
    return Plan.from_json(str(attrs[PLAN_ATTR]))


def register() -> None:
    """Make the pass available as ``relay.transform.CoExecPartition`` and by name in ``required=[...]``."""
    relay.transform.CoExecPartition = CoExecPartition
    tvm.register_func("relay._transform.CoExecPartition", lambda: CoExecPartition(), override=True)
