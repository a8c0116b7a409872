"""Tuning records as samples of a profile: what the best record of an operator says about its tuned kernel.

A sample is one operator on one device, with the seconds of the fastest record of any template and tuner. Its class is
that of the kernel with the variant ``tuned``, so it never mixes with samples of untuned kernels. It is of the operator
alone: records know no fused operators, but for those of the auto-scheduler and MetaSchedule, which are counted.

AutoTVM's records name template and arguments. A record of the auto-scheduler has the shapes of its tensors and a hash,
one of MetaSchedule a loop nest: their operator is recognised by its shapes, where these are those of a convolution of
images or of a product.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.texts import shorten
from tvm_coexec.cost_models.dataset import Sample
from tvm_coexec.cost_models.features.workload import TUNED, Workload
from tvm_coexec.opencl.schedules.device import is_gpu_target
from tvm_coexec.targets import target_text

from .cost_workloads import workload_of_shapes, workload_of_template
from .log import read_log
from .records import is_of

logger = logging.getLogger("tvm_coexec")

_METASCHEDULE = ("database_workload.json", "database_tuning_record.json")
NETWORK = "tuning records"


@dataclass(frozen=True)
class _Record:
    """One measurement: its target, its operator (`None` if it is not recognised), and seconds."""

    target: Target
    workload: Workload | None
    seconds: float


def tuned_samples(paths: Sequence[str], targets: Mapping[str, str] | None = None, label: str = "") -> list[Sample]:
    """Return a sample of each tuned operator, with the seconds of its fastest record.

    Parameters
    ----------
    paths : sequence of str
        Logs of AutoTVM or of the auto-scheduler, or folders of a MetaSchedule database.
    targets : mapping of str to str, optional
        Targets by device; records of others are refused.
    label : str
        What the user gave the files for, such as an option, for messages.

    Raises
    ------
    CoExecError
        If a file can't be read or has a damaged line, which the text names; if all of its records are of other
        targets; or if none is of an operator that is recognised.
    """
    prefix = f"{label}: " if label else ""
    best: dict[tuple[str, str], Sample] = {}
    for path in paths:
        records = list(_read(path, label))
        _check_targets(prefix, path, records, targets or {})
        before = len(best)
        unknown = 0
        for record in records:
            device = "gpu" if is_gpu_target(record.target) else "cpu"
            if targets and not _is_target(record.target, device, targets):
                continue
            if record.workload is None:
                unknown += 1
                continue
            tuned = replace(record.workload, algorithm=f"{record.workload.algorithm}.{TUNED}")
            signature = json.dumps(["tuned", tuned.to_json()], sort_keys=True)
            sample = Sample(device, tuned, record.seconds, network=NETWORK, kernel=tuned.kind, signature=signature)
            known = best.get((device, signature))
            best[device, signature] = sample if known is None else known.choose_shorter(sample)
        if unknown:
            logger.warning("%s%s: %d records are of operators that a profile does not know", prefix, path, unknown)
        if len(best) == before and not any(r.workload for r in records):
            raise CoExecError(
                f"{prefix}{path} has no record that a profile can use: a measurement without an error, of a "
                "convolution or product; give another log, or leave it out"
            )
    return list(best.values())


def _is_target(recorded: Target, device: str, targets: Mapping[str, str]) -> bool:
    text = targets.get(device, "")
    return not text or is_of(recorded, Target(text))


def _check_targets(prefix: str, path: str, records: Sequence[_Record], targets: Mapping[str, str]) -> None:
    """Raise if there are records, but all of other targets."""
    if not records or not any(targets.values()):
        return
    if any(_is_target(r.target, "gpu" if is_gpu_target(r.target) else "cpu", targets) for r in records):
        return
    others = sorted({target_text(r.target) for r in records})
    wanted = " or ".join(target_text(Target(t)) for t in targets.values() if t)
    raise CoExecError(
        f"{prefix}{path} has no records of {wanted}, only of {', '.join(others[:2])}; give the log that was tuned for "
        "the samples' devices"
    )


def _read(path: str, label: str) -> Iterator[_Record]:
    """Yield the measurements of a file or folder that have no error."""
    if os.path.isdir(path):
        return _read_database(path, label)
    log = read_log(path, label)
    return _read_autotvm(log.pairs) if log.tuner != "auto_scheduler" else _read_auto_scheduler(path)


def _read_autotvm(pairs: Sequence[tuple[Any, Any]]) -> Iterator[_Record]:
    for measured, result in pairs:
        if result.error_no == 0 and (seconds := float(np.mean([float(c) for c in result.costs]))) > 0:
            device = "gpu" if is_gpu_target(measured.target) else "cpu"
            yield _Record(measured.target, workload_of_template(measured.task.workload, device), seconds)


def _read_auto_scheduler(path: str) -> Iterator[_Record]:
    from tvm import auto_scheduler

    for measured, result in auto_scheduler.load_records(path):
        if int(result.error_no) or not len(result.costs):
            continue
        seconds = float(np.mean([float(c) for c in result.costs]))
        key = json.loads(measured.task.workload_key)
        shapes = [tuple(s) for s in key[1:] if isinstance(s, list) and all(isinstance(e, int) for e in s)]
        device = "gpu" if is_gpu_target(measured.task.target) else "cpu"
        found = workload_of_shapes(shapes, device) if len(shapes) == len(key) - 1 else None
        yield _Record(measured.task.target, found, seconds)


def _read_database(folder: str, label: str) -> Iterator[_Record]:
    from tvm import meta_schedule as ms

    prefix = f"{label}: " if label else ""
    paths = [os.path.join(folder, name) for name in _METASCHEDULE]
    if missing := [p for p in paths if not os.path.isfile(p)]:
        raise CoExecError(f"{prefix}{folder} is not a database of MetaSchedule: there is no {missing[0]}")
    for path in paths:
        _check_lines(path, prefix)
    try:
        database = ms.database.JSONDatabase(*paths, allow_missing=False)
        records = database.get_all_tuning_records()
    except Exception as err:  # TVM raises various errors for a damaged file
        raise CoExecError(f"{prefix}{folder} is damaged ({shorten(one_line(err), 120)}); tune again") from None
    for record in records:
        seconds = [float(s) for s in record.run_secs or ()]
        if not seconds or min(seconds) <= 0 or max(seconds) >= 1e9 or record.target is None:
            continue  # MetaSchedule writes 1e10 for a failure
        device = "gpu" if is_gpu_target(record.target) else "cpu"
        found = workload_of_shapes(_shapes_of(record.workload.mod), device)
        yield _Record(record.target, found, float(np.mean(seconds)))


def _check_lines(path: str, prefix: str) -> None:
    with open(path, encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            try:
                json.loads(line)
            except ValueError:
                raise CoExecError(
                    f"{prefix}line {number} of {path} is not a tuning record: it is not JSON, or truncated "
                    f"({shorten(line.strip(), 40)}); remove the line or tune again"
                ) from None


def _shapes_of(mod: tvm.IRModule) -> list[tuple[int, ...]]:
    """Return the shapes of a loop nest's tensors, its result last; empty if one is not constant."""
    func = next(iter(mod.functions.values()))
    if not isinstance(func, tvm.tir.PrimFunc):
        return []
    buffers = [func.buffer_map[p] for p in func.params if p in func.buffer_map]
    shapes = [tuple(b.shape) for b in buffers]
    constant = all(isinstance(e, tvm.tir.IntImm) for s in shapes for e in s)
    return [tuple(int(e) for e in s) for s in shapes] if constant else []
