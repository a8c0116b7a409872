"""Run one network on two machines, divided as Neurosurgeon does.

A plan of the strategy ``neurosurgeon`` has one cut, between its devices ``cpu`` and ``gpu``. ``cpu`` stands for this
machine and ``gpu`` for a remote one, reached through TVM's RPC. `split_at` makes a module of each segment of the plan;
`TwoMachineRunner` builds each module for its own target, loads it on its machine, and runs them in order. Values that
cross are outputs of the first module and inputs of the second, in a fixed order, so that any number of values may cross
(a residual in addition to its branch).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor
from tvm.target import Target

from . import remote
from .core.errors import CoExecError, one_line
from .core.naming import function_name
from .core.plan import Plan
from .pass_context import deployment_context
from .relay_passes.extract.extractor import Extracted, extract_with_calls
from .relay_passes.outline import OutlineSegments
from .relay_passes.prepare import Prepare

HERE, THERE = "here", "there"
_MACHINE_OF = {"cpu": HERE, "gpu": THERE}


@dataclass(frozen=True)
class Source:
    """Where a value comes from: an input of the model (`part` is -1) or an output of an earlier part.

    Attributes
    ----------
    part : int
    output : int
        Number of the part's output.
    name : str
        Name of the model input.
    """

    part: int = -1
    output: int = 0
    name: str = ""


@dataclass(frozen=True)
class Part:
    """The part of the model that one machine computes.

    Attributes
    ----------
    machine : str
        ``here`` (the plan's ``cpu``) or ``there`` (its ``gpu``).
    mod : IRModule
        Its inputs are model inputs under their own names, and ``coexec_cross0``, ``coexec_cross1``... for values of
        the earlier part; its outputs are the values that the later part or the caller reads.
    inputs : dict of str to Source
        In the order of the module's parameters.
    kernels : tuple of int
        Indices in the plan.
    """

    machine: str
    mod: tvm.IRModule
    inputs: Mapping[str, Source]
    kernels: tuple[int, ...]


@dataclass(frozen=True)
class Partition:
    """A model in parts.

    Attributes
    ----------
    parts : tuple of Part
        In execution order: prefix and suffix, or a single part if one machine computes everything.
    outputs : tuple of Source
        The model's outputs.
    """

    parts: tuple[Part, ...]
    outputs: tuple[Source, ...]


def split_at(mod: tvm.IRModule, params: dict | None, plan: Plan) -> Partition:
    """Make a module of every segment of a plan.

    Parameters
    ----------
    mod : IRModule
        A Relay module.
    params : dict of str to NDArray, optional
        Its weights.
    plan : Plan
        A plan for this model with at most two segments and no chains, as the strategy ``neurosurgeon`` makes them.

    Raises
    ------
    CoExecError
        If the plan is for another model, splits kernels, or changes machines more than once.
    """
    prepared, extracted = prepare(mod, params)
    return split_prepared(prepared, extracted, plan)


def prepare(mod: tvm.IRModule, params: dict | None = None) -> tuple[tvm.IRModule, Extracted]:
    """Prepare a model for planning, and extract its kernels."""
    with deployment_context():
        prepared = Prepare(params)(mod)
        extracted = extract_with_calls(prepared)
    # the plan's devices stand for machines here, whose targets may be of any kind
    extracted.graph = extracted.graph.lift_restrictions()
    if not extracted.graph.kernels:
        raise CoExecError(f"the model can't be cut: {extracted.graph.reason or 'it has no operators'}")
    return prepared, extracted


def split_prepared(prepared: tvm.IRModule, extracted: Extracted, plan: Plan) -> Partition:
    """Do what `split_at` does, for results of `prepare`."""
    if plan.chains or len(plan.segments) > 2:
        raise CoExecError(
            f"the plan (strategy {plan.strategy}) has {len(plan.segments)} segments and {len(plan.chains)} chains; two "
            "machines take one segment each: plan with strategy neurosurgeon"
        )
    with deployment_context():
        return _ModuleSplitter(OutlineSegments(plan, extracted)(prepared), plan).run()


class _ModuleSplitter:
    def __init__(self, annotated: tvm.IRModule, plan: Plan):
        self.mod, self.plan = annotated, plan
        self.number = {function_name(n, s.device): n for n, s in enumerate(plan.segments)}

    def run(self) -> Partition:
        main = self.mod["main"]
        calls: dict[int, relay.Call] = {}

        def visit(node: relay.Expr) -> None:
            if isinstance(node, relay.Call):
                calls[self.number[node.op.name_hint]] = node

        relay.analysis.post_order_visit(main.body, visit)
        parts = tuple(self._part(n, calls[n]) for n in range(len(self.plan.segments)))
        return Partition(parts, tuple(self._sources(main.body)))

    def _part(self, number: int, call: relay.Call) -> Part:
        func, segment = self.mod[call.op], self.plan.segments[number]
        params: list[relay.Var] = []
        inputs: dict[str, Source] = {}
        for old, arg in zip(func.params, call.args, strict=True):
            (source,) = self._sources(arg)
            name = source.name or f"coexec_cross{sum(s.part >= 0 for s in inputs.values())}"
            params.append(relay.Var(name, old.checked_type))
            inputs[name] = source
        body = relay.bind(func.body, dict(zip(func.params, params, strict=True)))
        mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(params, body)))
        return Part(_MACHINE_OF[segment.device], mod, inputs, segment.kernels)

    def _sources(self, expr: relay.Expr) -> Iterator[Source]:
        if isinstance(expr, relay.Var):
            yield Source(name=expr.name_hint)
        elif isinstance(expr, relay.Call):
            yield Source(self.number[expr.op.name_hint])
        elif isinstance(expr, relay.TupleGetItem):
            yield Source(self.number[expr.tuple_value.op.name_hint], expr.index)
        elif isinstance(expr, relay.Tuple):
            for f in expr.fields:
                yield from self._sources(f)
        else:
            raise CoExecError("the model returns a constant, which no machine computes; leave that output out")


@dataclass(frozen=True)
class RunResult:
    """Outputs and times of a run on both machines.

    Attributes
    ----------
    outputs : list of array
    part_s : list of float
        Seconds of each part; for a remote part including the round trip of the call.
    link_s : float
        Seconds spent on sending and receiving.
    sent_bytes, received_bytes : int
        Bytes sent to the remote machine, and received from it.
    """

    outputs: list[np.ndarray]
    part_s: list[float]
    link_s: float
    sent_bytes: int
    received_bytes: int

    @property
    def total_s(self) -> float:
        """Seconds of all parts and the link."""
        return sum(self.part_s) + self.link_s


class TwoMachineRunner:
    """Builds a partition's parts, loads each on its machine, and runs them.

    `close`, or leaving a ``with`` block, ends the session: an RPC server accepts one session at a time.

    Parameters
    ----------
    partition : Partition
    here, there : str or Target
        Targets of this and the remote machine: ``llvm -mcpu=...``, or a GPU such as ``opencl``.
    session : tvm.rpc.RPCSession
        See `remote.connect`; required if a part is remote.
    host_there : str or Target
        Target of the remote CPU if `there` is a GPU, such as ``llvm -mtriple=aarch64-linux-gnu``.

    Raises
    ------
    CoExecError
        If a target is invalid, or a device is missing.
    """

    def __init__(
        self,
        partition: Partition,
        here: str | Target = "llvm",
        there: str | Target = "llvm",
        session: tvm.rpc.RPCSession | None = None,
        host_there: str | Target = "llvm",
    ):
        self.partition, self.session = partition, session
        targets = {HERE: _target(HERE, here, "llvm"), THERE: _target(THERE, there, host_there)}
        self.devices = {m: self._device(m, targets[m]) for m in {p.machine for p in partition.parts}}
        self.modules = [self._load(part, targets[part.machine]) for part in partition.parts]

    def run(self, inputs: Mapping[str, np.ndarray]) -> RunResult:
        """Run all parts in order.

        Parameters
        ----------
        inputs : mapping of str to array
            The model's inputs by name.
        """
        values = {Source(name=name): value for name, value in inputs.items()}
        part_s, link_s, sent, received = [], 0.0, 0, 0
        for number, (part, module) in enumerate(zip(self.partition.parts, self.modules, strict=True)):
            device, start = self.devices[part.machine], time.perf_counter()
            for name, source in part.inputs.items():
                value = _value(values, source)
                module.set_input(name, value)
                sent += value.nbytes * (part.machine == THERE)
            device.sync()
            start_run = time.perf_counter()
            module.run()
            device.sync()
            done = time.perf_counter()
            for i in range(module.get_num_outputs()):
                values[Source(number, i)] = value = module.get_output(i).numpy()
                received += value.nbytes * (part.machine == THERE)
            part_s.append(done - start_run)
            if part.machine == THERE:
                link_s += start_run - start + time.perf_counter() - done
        return RunResult([_value(values, s) for s in self.partition.outputs], part_s, link_s, sent, received)

    def close(self) -> None:
        """End the session; remote parts can't run afterwards."""
        self.modules = []
        if self.session is not None:
            remote.close(self.session)
            self.session = None

    def __enter__(self) -> TwoMachineRunner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _device(self, machine: str, target: Target) -> tvm.runtime.Device:
        kind = target.get_target_device_type()
        name = tvm.runtime.Device.MASK2STR.get(kind, str(kind))
        if machine == HERE:
            device = tvm.runtime.Device(kind, 0)
        elif self.session is None:
            raise CoExecError("the plan has work for the remote machine: give a session (see remote.connect)")
        else:
            device = self.session.device(name, 0)
        if not device.exist:
            hint = "; see `coexec connect`, and open the session with upload=True" if machine == THERE else ""
            raise CoExecError(f"there is no {name} device {machine}{hint}")
        return device

    def _load(self, part: Part, target: Target) -> graph_executor.GraphModule:
        with deployment_context():
            lib = relay.build(part.mod, target=target)
        if part.machine == HERE:
            return graph_executor.GraphModule(lib["default"](self.devices[HERE]))
        assert self.session is not None
        with tempfile.TemporaryDirectory(prefix="coexec-parts-") as folder:
            path = os.path.join(folder, f"part{part.kernels[0]}.tar")
            lib.export_library(path)
            self.session.upload(path)
        name = os.path.basename(path)
        loaded = self.session.load_module(name)
        self.session.remove(name)
        return graph_executor.GraphModule(loaded["default"](self.devices[THERE]))


def _target(machine: str, target: str | Target, host: str | Target) -> Target:
    try:
        made = Target(target)
        return made if made.get_target_device_type() == 1 or made.host else Target(made, host=Target(host))
    except (ValueError, TypeError, tvm.TVMError) as err:
        raise CoExecError(f"the target {machine}, '{target}', is not a TVM target ({one_line(err, 160)})") from None


def _value(values: Mapping[Source, np.ndarray], source: Source) -> np.ndarray:
    if source not in values:
        given = ", ".join(s.name for s in values if s.part < 0) or "none"
        raise CoExecError(f"the model's input '{source.name}' is missing (given: {given}); give it")
    return values[source]
