"""Trials of tuners on the test-bed, in a process that may be killed.

TVM's own builder and runner start a server for each candidate, which takes longer than the candidate. Here one child
compiles and times all of them; those of a batch wait together for moments when no one else slows their core. What was
measured is kept, so that two tuners that try the same candidate see the same time, and repeating it costs nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks._opencl_worker import Worker
from benchmarks._quiet import CoreDrift

COMPILE_LIMIT_S = 3.0  # of processor time; a candidate that needs more has failed
_TIME_LIMIT_S = 60.0  # of processor time, for a batch
_REPEATS, _BATCH_S, _MOST_S = 5, 2e-3, 0.1
_PATIENCE_S = 5.0  # without a quiet moment; then candidates are timed as it is


class Trials:
    """Measures candidates; use it as a context manager.

    Parameters
    ----------
    cores : dict of str to int, optional
        On a test-bed of one core for each device: the core of the thread that runs the kernels of ``cpu`` and of
        ``gpu``.
    """

    def __init__(self, cores: Mapping[str, int] | None = None) -> None:
        self._known = dict[str, tuple[float, str]]()
        drifts = {device: CoreDrift(core) for device, core in (cores or {}).items()}
        self._worker = Worker(
            {"TVM_NUM_THREADS": "1", "POCL_MAX_PTHREAD_COUNT": "1", "POCL_AFFINITY": "1"},
            functools.partial(serve, drifts),
        )
        self.seconds, self.measured = 0.0, 0

    def __enter__(self) -> Trials:
        self._worker.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.__exit__(*error)

    def measure(self, task: Any, configs: Sequence[Any]) -> list[Any]:
        """Return AutoTVM's results of candidates; an error's `costs` are two texts, as TVM's are."""
        from tvm import autotvm

        common = {"workload": task.workload, "target": str(task.target), "host": str(task.target.host or "")}
        contents = [config.to_json_dict() for config in configs]
        keys = [json.dumps([common["target"], task.workload, content["entity"]]) for content in contents]
        requests = {k: common | {"key": k, "config": c} for k, c in zip(keys, contents, strict=True)}
        start = time.perf_counter()
        self._measure_new({k: r for k, r in requests.items() if k not in self._known})
        self.seconds += time.perf_counter() - start
        results = []
        for seconds, error in map(self._known.__getitem__, keys):
            costs = ("", error) if error else (seconds,)
            number = autotvm.measure.MeasureErrorNo.RUNTIME_DEVICE if error else autotvm.measure.MeasureErrorNo.NO_ERROR
            results.append(autotvm.MeasureResult(costs, int(number), seconds, 0.0))
        return results

    def _measure_new(self, requests: Mapping[str, dict]) -> None:
        self.measured += len(requests)
        left = dict(requests)
        while left:
            for key, request in left.items():
                if "error" in (reply := self._worker.ask(request, COMPILE_LIMIT_S)):
                    self._known[key] = (0.0, reply["error"])
            # A candidate that ended the child took those before it along: they are compiled once more.
            reply = self._worker.ask({}, _TIME_LIMIT_S)
            if "error" in reply:
                self._known |= {key: (0.0, reply["error"]) for key in left if key not in self._known}
            self._known |= {key: (seconds, "") for key, seconds in reply.get("seconds", {}).items()}
            left = {key: request for key, request in left.items() if key not in self._known}

    def tune(self, task: Any, tuner: Any, count: int, batch: int = 8) -> Iterator[tuple[Any, Any]]:
        """Give a tuner `count` trials as AutoTVM's loop does; yield each candidate with its result."""
        from tvm import autotvm

        done = 0
        autotvm.GLOBAL_SCOPE.in_tuning = True
        try:
            while done < count and tuner.has_next():
                configs = tuner.next_batch(min(batch, count - done))
                if not configs:
                    return
                inputs = [autotvm.MeasureInput(task.target, task, c) for c in configs]
                results = self.measure(task, configs)
                tuner.update(inputs, results)
                done += len(configs)
                yield from zip(inputs, results, strict=True)
        finally:
            autotvm.GLOBAL_SCOPE.in_tuning = False


def best_so_far(results: Sequence[Any]) -> list[float]:
    """Return the least seconds up to each trial; infinite before the first candidate that works."""
    best, found = float("inf"), []
    for result in results:
        best = min(best, result.costs[0]) if result.error_no == 0 else best
        found.append(best)
    return found


def serve(drifts: Mapping[str, CoreDrift], pipe: Connection, environment: dict[str, str]) -> None:
    """Answer requests until the pipe is closed: to compile a candidate, or to time all those that were."""
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # output of compilers must not mix with answers
    os.dup2(nowhere, 2)
    import tvm
    from tvm import autotvm

    from tvm_coexec.measuring.quiet_moments import Waiting, time_when_quiet  # also registers the OpenCL device

    logging.getLogger("autotvm").setLevel(logging.ERROR)
    autotvm.GLOBAL_SCOPE.silent = True
    autotvm.GLOBAL_SCOPE.in_tuning = True
    tasks: dict[str, Any] = {}
    compiled: dict[str, Waiting] = {}
    tvm.opencl(0).sync()
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            request = pipe.recv()
            try:
                if request:
                    device = "gpu" if request["target"].startswith("opencl") else "cpu"
                    compiled[request["key"]] = Waiting(_compile(request, tasks), drifts.get(device))
                    pipe.send({})
                else:
                    batch, compiled = compiled, {}
                    if drifts:
                        os.sched_setaffinity(0, {drifts["cpu"].core})  # TVM and pocl bind threads when they begin
                    time_when_quiet(list(batch.values()), _PATIENCE_S)
                    pipe.send({"seconds": {key: min(found.seconds) for key, found in batch.items()}})
            except Exception as error:  # TVM raises various errors for candidates that it cannot compile
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                pipe.send({"error": (lines or [type(error).__name__])[-1][:160]})


def _compile(request: dict, tasks: dict[str, Any]) -> Callable[[], tuple[float, ...]]:
    """Compile a candidate and run it; return what gives the mean seconds of some batches of launches."""
    import numpy as np
    import tvm
    from tvm import autotvm
    from tvm.autotvm.measure.measure_methods import gpu_verify_pass
    from tvm.autotvm.task.space import ConfigEntity

    target = tvm.target.Target(request["target"], host=request["host"] or None)
    key = json.dumps([request["workload"], str(target)])
    if key not in tasks:
        tasks[key] = autotvm.task.create(request["workload"][0], request["workload"][1:], target)
    device = tvm.device(target.kind.name)
    limits: list[Any] = []
    if target.kind.name == "opencl":
        names = {"max_shared_memory_per_block": device.max_shared_memory_per_block}
        names["max_threads_per_block"] = device.max_threads_per_block
        limits = [(2, gpu_verify_pass(**names))]
    config = ConfigEntity.from_json_dict(request["config"])
    with target, tvm.transform.PassContext(opt_level=3, config={"tir.add_lower_pass": limits}):
        schedule, arguments = tasks[key].instantiate(config)
        if not config.valid():
            raise ValueError("the template refuses it")
        function = tvm.build(schedule, arguments, target)
    rng = np.random.default_rng(0)
    arrays = [tvm.nd.array(rng.standard_normal([int(e) for e in a.shape]).astype(a.dtype), device) for a in arguments]

    def run(launches: int) -> float:
        start = time.perf_counter()
        for _ in range(launches):
            function(*arrays)
        device.sync()
        return (time.perf_counter() - start) / launches

    run(1)  # also compiles for the OpenCL device
    once = run(1)
    launches = max(1, min(100, int(_BATCH_S / max(once, 1e-6))))
    repeats = max(1, min(_REPEATS, int(_MOST_S / (once * launches))))
    return lambda: tuple(run(launches) for _ in range(repeats))
