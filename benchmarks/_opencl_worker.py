"""Compiles and times AutoTVM configurations on ``tvm.opencl(0)`` in a process that may be killed.

A configuration can keep the OpenCL compiler busy for a minute or make it abort, so each is tried in a child process:
`Worker.ask` sends it, waits up to a limit, and starts a new child if the old one hangs or has died. Children are forked
by a server process that never opens an OpenCL driver: a child of a process that has one open would wait for
threads of the driver that it does not have.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import psutil

_IDLE_LIMIT_S = 600.0


class Worker:
    """A child process that answers requests, one at a time.

    Parameters
    ----------
    environment : dict
        Variables that the child sets before it opens the OpenCL driver.
    serve : callable, optional
        What the child runs, with its end of the pipe and the variables; by default it times configurations in turns.
        It must be picklable.
    """

    def __init__(self, environment: dict[str, str], serve: Callable[[Connection, dict], None] | None = None) -> None:
        self._serve = serve or _serve
        # Kernels of random configurations are not used later: keep them out of the user's caches.
        self._cache = tempfile.mkdtemp(prefix="tvm_coexec_kernels")
        self._environment = environment | {"POCL_CACHE_DIR": self._cache, "TVM_COEXEC_CACHE_DIR": "off"}
        self._child: multiprocessing.Process | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self._cache, ignore_errors=True)

    def ask(self, request: dict, limit_s: float) -> dict:
        """Return the child's answer, or ``{"error": ...}`` if it exceeds its time limit.

        The limit is on processor time, so that no configuration fails on a busy machine; an idle child is abandoned
        after some minutes.
        """
        if self._child is None or not self._child.is_alive():
            self._start()
        self._pipe.send(request)
        process = psutil.Process(self._child.pid)
        until_cpu_s, until = _cpu_s(process) + limit_s, time.monotonic() + _IDLE_LIMIT_S
        while not self._pipe.poll(0.05):
            if _cpu_s(process) > until_cpu_s or time.monotonic() > until:
                self._stop()
                return {"error": "time limit"}
        try:
            return self._pipe.recv()
        except EOFError:
            self._stop()
            return {"error": "compiler died"}

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tvm_coexec"])  # once, not in each child
        self._pipe, other = context.Pipe()
        self._child = context.Process(target=self._serve, args=(other, self._environment), daemon=True)
        self._child.start()
        other.close()
        self._pipe.recv()  # the driver is open: this time is not charged to any request

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._child = None


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
        return times.user + times.system
    except psutil.Error:  # the process has just ended
        return 0.0


def _serve(pipe: Connection, environment: dict[str, str]) -> None:
    """Answer requests until the pipe is closed."""
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # output of compilers must not mix with answers
    os.dup2(nowhere, 2)
    import tvm
    from tvm import autotvm

    import tvm_coexec

    logging.getLogger("autotvm").setLevel(logging.ERROR)
    autotvm.GLOBAL_SCOPE.silent = True
    target = tvm.target.Target("opencl", host="llvm")
    tasks: dict[str, object] = {}
    tvm_coexec.opencl.schedules.device_traits(target)
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            request = pipe.recv()
            try:
                pipe.send(_times(request, target, tasks))
            except Exception as error:  # TVM raises various errors for configurations that it cannot compile
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                pipe.send({"error": (lines or [type(error).__name__])[-1][:160]})


def task_of(template: str, arguments: list, target):
    """Return the AutoTVM task of a template; tensors are written as ``["TENSOR", shape, dtype]``."""
    from tvm import autotvm, te

    def plain(value):
        if isinstance(value, list):
            if value and value[0] == "TENSOR":
                return te.placeholder(value[1], value[2])
            return tuple(plain(v) for v in value)
        return value

    return autotvm.task.create(template, [plain(a) for a in arguments], target)


def _entity(task, which: int | str, target):
    """A configuration: an index into the task's space, ``"ours"`` or ``"stock"``."""
    from tvm.autotvm.task.space import FallbackConfigEntity

    from tvm_coexec.opencl import schedules

    if which == "stock":
        return FallbackConfigEntity()
    if which == "ours":
        return schedules.configuration(target, task.workload)
    return task.config_space.get(which)


def _times(request: dict, target, tasks: dict) -> dict:
    """Seconds of each of the request's configurations, timed in turns.

    A configuration is ``[[template, arguments], ..., which]``; of several templates the one with our lowest cost is
    used. One that TVM cannot compile has no seconds, unless it is the only one: then that is the answer.
    """
    import tvm

    runs, compile_s = [], []
    for *templates, which in request["configurations"]:
        for template, arguments in templates:
            key = json.dumps([template, arguments])
            if key not in tasks:
                tasks[key] = task_of(template, arguments, target)
        choices = [(tasks[json.dumps(t)], _entity(tasks[json.dumps(t)], which, target)) for t in templates]
        task, entity = min(choices, key=lambda c: c[1].cost or 0.0)
        start = time.process_time()
        try:
            runs.append(_prepare(task, entity, target))
        except tvm.TVMError:
            if len(request["configurations"]) == 1:
                raise
            runs.append(None)
        compile_s.append(time.process_time() - start)
    lengths = [run and max(1, min(100, int(request["batch_s"] / max(run(1), 1e-6)))) for run in runs]
    if request.get("core") is not None:
        os.sched_setaffinity(0, {request["core"]})
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(request["repeats"]):
        for run, length, into in zip(runs, lengths, seconds, strict=True):
            if run is not None:
                into.append(run(length))
    return {"seconds": seconds, "compile_s": compile_s}


def _prepare(task, entity, target):
    """Compile, run once, and return a function that measures the mean time of a number of launches."""
    import numpy as np
    import tvm

    with target:
        schedule, placeholders = task.instantiate(entity)
        function = tvm.build(schedule, placeholders, target)
    device = tvm.opencl(0)
    rng = np.random.default_rng(0)
    arrays = [
        tvm.nd.array(rng.standard_normal([int(e) for e in p.shape]).astype(p.dtype), device) for p in placeholders
    ]

    def run(launches: int) -> float:
        start = time.perf_counter()
        for _ in range(launches):
            function(*arrays)
        device.sync()
        return (time.perf_counter() - start) / launches

    run(1)
    return run
