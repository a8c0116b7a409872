"""``tvmc compile`` with co-execution.

TVM's own ``drive_compile`` and ``compile_model`` do the work: import, layouts, mixed precision, tuning records, dumps,
export. Co-execution replaces the one call that builds (`build_hook`): tuning records are in force there, so layouts and
measured costs follow them, and the pass context is the user's. The options reach it in a context variable from the
command line, and as an attribute of the module from a target ``coexec ...`` (which works from Python as well).
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import functools
import inspect
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import tvm
from tvm.driver.tvmc import TVMCException, compiler
from tvm.driver.tvmc.registry import reconstruct_registry_entity
from tvm.relay.backend import Executor, Runtime
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Costs
from tvm_coexec.executor.annotations import LoweringCapture, annotate_graph, read_metadata
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.executor.lowering_errors import explain_lowering
from tvm_coexec.executor.variants import PREFIX, weight_bytes
from tvm_coexec.partition import CoExecPartition, plan_of
from tvm_coexec.pass_context import show_passes
from tvm_coexec.report.report import Report
from tvm_coexec.targets import targets, why_not_linkable
from tvm_coexec.tuning.log import Log, read_log
from tvm_coexec.tuning.loop import load_tuned
from tvm_coexec.tuning.records import Records, check_targets
from tvm_coexec.tuning.serving import apply_records
from tvm_coexec.whole import check_buildable, open_input, target_of_whole

from .messages import LOG_LEVELS, reported
from .model_file import Frontends
from .options import OUTPUT, Given, flag, from_args, from_target, pass_options
from .options import TUNED as TUNED_NAMES
from .patching import replaced
from .staging import StagedFiles
from .target_text import CODEGEN, codegen_options, devices_of, read_target, target_from_text

logger = logging.getLogger("tvm_coexec")

OPTIONS_ATTR = "coexec.options"
_RECORDS = "--tuning-records"
(TUNED,) = TUNED_NAMES


@dataclass
class _Request:
    """One co-executed compilation: the options, and later the results."""

    options: Given
    report: Report | None = None
    plan: Plan | None = None
    module: tvm.IRModule | None = None
    lowered: LoweringCapture | None = None
    notes: Sequence[str] = ()
    records: Records = field(default_factory=lambda: Records(()))


_request: contextvars.ContextVar[_Request | None] = contextvars.ContextVar("coexec_request", default=None)


@contextmanager
def _requested(request: _Request) -> Iterator[None]:
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def mark(
    mod: tvm.IRModule,
    params: dict | None = None,  # noqa: ARG001 - TVM passes it
    mod_name: str = "default",  # noqa: ARG001 - TVM passes it
    **opts: object,
) -> tvm.IRModule:
    """The "partition function" of the target ``coexec``: stores the options in the module, for `build_hook`.

    TVM calls it without the targets and outside of tuning records, so the model can't be divided here yet.
    """
    text = json.dumps(from_target(opts))
    return mod.with_attr(OPTIONS_ATTR, tvm.runtime.String(text))  # TVM 0.17 doesn't convert a plain string here


def build_hook(stock: Callable) -> Callable:
    """Wrap ``tvm.driver.tvmc.compiler.build``: same arguments and result, for two devices on request."""
    signature = inspect.signature(stock)

    def build(*args: object, **kwargs: object) -> object:
        bound = signature.bind(*args, **kwargs)
        given = bound.arguments
        request = _request.get() or _marked(given["mod"])
        if request is None:
            return stock(*args, **kwargs)
        cpu = targets(*devices_of(given["tvm_target"]))[0]
        with explain_lowering(cpu), apply_records(request.records) if request.records else contextlib.nullcontext():
            if TUNED not in request.options:
                return _build_both(stock, bound, request, pass_options(request.options))
            tuned = load_tuned(request.options[TUNED])
            with tuned.in_force(targets(*devices_of(given["tvm_target"]))):
                options = tuned.choose_options(pass_options(request.options), flag)
                return _build_both(stock, bound, request, options, tuned.profile)

    return build


def _build_both(
    stock: Callable,
    bound: inspect.BoundArguments,
    request: _Request,
    options: dict[str, object],
    report_costs: Costs | None = None,
) -> object:
    """Divide the module between both devices and build it."""
    given = bound.arguments
    if given.get("use_vm"):
        raise TVMCException("co-execution needs the graph executor: compile without the VM (use_vm)")
    _check_executor(given.get("executor"), given.get("runtime"))
    _check_shapes(given["mod"])
    cpu, gpu = devices_of(given["tvm_target"])
    partition = CoExecPartition(cpu, gpu, params=given.get("params"), **options)
    partition.report_costs = report_costs
    request.module = given["mod"] = partition(given["mod"])
    request.report, request.plan = partition.report, plan_of(request.module)
    given["params"] = {}  # bound by the pass
    if request.plan is None:
        check_buildable(request.module)
        given["tvm_target"] = target_of_whole(request.module, cpu, gpu)
        return stock(*bound.args, **bound.kwargs)
    given["tvm_target"] = targets(cpu, gpu)
    variants = {
        name: annotate_graph(
            functools.partial(_build_variant, stock, bound, alone, name), plan, None, lowered=request.lowered
        )
        for name, (plan, alone) in partition.alone.items()
    }
    made = annotate_graph(
        lambda: stock(*bound.args, **bound.kwargs),
        request.plan,
        request.report,
        lowered=request.lowered,
        variants=variants if partition.options.adaptive else None,
    )
    if partition.options.adaptive and request.report is not None:
        metadata = read_metadata(Graph(made.get_graph_json())) or {}
        request.notes = [size.to_text()] if (size := weight_bytes(metadata)) is not None else []
    return made


def _build_variant(stock: Callable, bound: inspect.BoundArguments, mod: tvm.IRModule, name: str) -> object:
    """Build another program of an adaptive module as the main one is built, with names of its own."""
    return stock(**bound.arguments | {"mod": mod, "mod_name": PREFIX + name})


def _marked(mod: tvm.IRModule) -> _Request | None:
    text = mod.get_attr(OPTIONS_ATTR)
    return None if text is None else _Request(json.loads(str(text)))


def _check_executor(executor: Executor | None, runtime: Runtime | None) -> None:
    if executor is not None and executor.name != "graph":
        raise CoExecError(f"--executor {executor.name} runs on one device: co-execution needs --executor graph")
    if executor is not None and "link-params" in executor and executor["link-params"]:
        raise CoExecError("--executor-graph-link-params keeps weights where the GPU can't read them: leave it out")
    if runtime is not None and runtime.name != "cpp":
        raise CoExecError(f"--runtime {runtime.name} has no GPU: co-execution needs --runtime cpp")


def _check_shapes(mod: tvm.IRModule) -> None:
    """Check that shapes are static, as the graph executor needs; TVM reports it late and without the input's name."""
    if found := open_input(mod):
        raise CoExecError(f"{found}: give the full shape with --input-shapes")


def drive_compile(args: argparse.Namespace) -> int:
    """Run ``tvmc compile``; TVM's own, unless co-execution was requested."""
    asked, options = from_args(args)
    composite = codegen_options(args.target)
    if not asked and composite is None:
        if options:
            raise TVMCException(f"{flag(next(iter(options)))} has no effect without --coexec: add --coexec")
        return compiler.drive_compile(args)
    with reported(args.verbose, "compiling failed"):
        _compile(args, from_target(composite or {}) | options)
    return 0


def _compile(args: argparse.Namespace, options: Given) -> None:
    logger.setLevel(LOG_LEVELS[min(args.verbose, 2)])
    _free_stdout()
    _check_executor(reconstruct_registry_entity(args, Executor), reconstruct_registry_entity(args, Runtime))
    if args.output_format == "mlf":
        raise CoExecError("--output-format mlf is for microcontrollers, which have no GPU: co-execution needs so")
    if getattr(args, "workspace_pools", None):
        raise CoExecError("--workspace-pools is for --executor aot, which does not support co-execution: leave it out")
    if args.tuning_records and TUNED in options:
        raise CoExecError(f"{flag(TUNED)} has records of its own: leave out {_RECORDS}")
    if args.tuning_records and not os.path.isfile(args.tuning_records):
        raise CoExecError(f"{_RECORDS}: there is no file {args.tuning_records}")
    log = read_log(args.tuning_records, _RECORDS) if args.tuning_records else Log("")
    if not log.tuner:
        args.tuning_records = None  # with an empty log TVM would build for its auto-scheduler
    cpu, gpu = devices_of(read_target(args))
    records = Records(log.pairs, args.tuning_records or "")
    check_targets(records, targets(cpu, gpu), _RECORDS)
    _check_cross_compiler(cpu, args.cross_compiler)
    CoExecPartition(cpu, gpu, None, **pass_options(options))  # checks the options before the model is read
    if TUNED in options:
        tuned = load_tuned(options[TUNED])
        tuned.choose_options(pass_options(options), flag)
        tuned.check(targets(cpu, gpu))
    # an instrument of TVM's own context: a nested context would lose the times of --print-pass-times
    request = _Request(options, lowered=LoweringCapture(), records=records)
    with StagedFiles() as files:
        args.output = files.stage(args.output)
        plan_file, report_file = (_staged(files, options.get(name), flag(name)) for name in OUTPUT)
        with (
            _requested(request),
            show_passes("compiling") as bars,
            replaced(
                compiler,
                frontends=Frontends(),
                save_dumps=_save_dumps(compiler.save_dumps, request),
                target_from_cli=target_from_text,
                compile_model=functools.partial(compiler.compile_model, instruments=[request.lowered, *bars]),
            ),
        ):
            compiler.drive_compile(args)
        for note in request.notes:
            logger.warning("%s", note)  # a note for standard error, at every level
        if request.plan is None:
            if flag("adaptive") in map(flag, options):
                logger.warning("the module is not adaptive: the model stays whole")
            if plan_file is not None:
                logger.warning("no plan was written: the model stays whole")
        elif plan_file not in (None, "-"):
            _write(plan_file, request.plan.to_json())
        report = request.report.to_text() if request.report else "the model was already divided\n"
        if report_file not in (None, "-"):
            _write(report_file, report)
    if report_file == "-":
        sys.stdout.write(report)
    if plan_file == "-" and request.plan is not None:
        sys.stdout.write(request.plan.to_json())


def _check_cross_compiler(cpu: Target, cross_compiler: str) -> None:
    """Raise `CoExecError` if the library can't be linked, before compiling instead of after it."""
    if cross_compiler:
        if shutil.which(cross_compiler) is None:
            raise CoExecError(
                f"--cross-compiler: there is no program '{cross_compiler}'; install it or give another one"
            )
        return
    if why := why_not_linkable(cpu, "--cross-compiler"):
        raise CoExecError(why)


def _staged(files: StagedFiles, path: str | None, option: str) -> str | None:
    if path in (None, "-"):
        return path
    try:
        return files.stage(path, into_device=True)
    except CoExecError as err:
        raise CoExecError(f"{option}: {err}") from None


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def _free_stdout() -> None:
    """Redirect tvmc's log from standard output, which is for the report and the plan, to standard error."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def _save_dumps(stock: Callable, request: _Request) -> Callable:
    """Wrap ``save_dumps``: ``--dump-code relay`` shows the module that was built, with its chains."""

    def save_dumps(module_name: str, dumps: dict[str, str], *args: object, **kwargs: object) -> None:
        if "relay" in dumps and request.module is not None:
            dumps = {**dumps, "relay": str(request.module)}
        stock(module_name, dumps, *args, **kwargs)

    return save_dumps


__all__ = ["CODEGEN", "build_hook", "drive_compile", "mark"]
