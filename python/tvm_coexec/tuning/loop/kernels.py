"""Fused kernels and shares with tuning records in force: whether they compute the right numbers, and how fast."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import autotvm, relay

from tvm_coexec.core.errors import one_line
from tvm_coexec.core.random_inputs import random_tensor
from tvm_coexec.measuring.kernel_meter import KernelMeter, Timing
from tvm_coexec.measuring.pieces import KernelBuilder
from tvm_coexec.measuring.verify.entries import TOLERANCE, max_error
from tvm_coexec.remote import Server
from tvm_coexec.tuning.parts import Part
from tvm_coexec.tuning.records import Records
from tvm_coexec.tuning.serving import apply_records

from .folder import Journal

logger = logging.getLogger("tvm_coexec")

TIMING = Timing(patience_s=1.0, settle_s=0.5)


@dataclass(frozen=True)
class Checked:
    """A kernel, or a share, as it was compiled with records.

    Attributes
    ----------
    seconds : float
        Alone; 0 if there is an error.
    error : str
        Why it must not be used.
    """

    seconds: float
    error: str = ""


class KernelChecks:
    """Builds, compares and times kernels with records in force; each of them once for the same records.

    Parameters
    ----------
    builder : KernelBuilder
    journal : Journal
        Answers of earlier runs.
    server : Server, optional
        RPC server of the devices.
    opencl_runtime : {"own", "tvm"}
    """

    def __init__(
        self, builder: KernelBuilder, journal: Journal, server: Server | None = None, opencl_runtime: str = "own"
    ):
        self.builder, self.journal, self.server = builder, journal, server
        self._make_meter: Callable[[], KernelMeter] = lambda: KernelMeter(builder, TIMING, opencl_runtime, server)
        self._meter: KernelMeter | None = None
        self._right: dict[str, list[np.ndarray]] = {}

    @property
    def meter(self) -> KernelMeter:
        """Times kernels; its process is started when it is first needed."""
        if self._meter is None:
            self._meter = self._make_meter()
        return self._meter

    def check(self, part: Part, records: Records) -> Checked:
        """Build a part with records in force, compare its result with the untuned CPU's, and time it.

        Parameters
        ----------
        part : Part
        records : Records
            Those that concern the part: its own ones, and any that it takes adapted.
        """
        key = self._key(part, records)
        found = self.journal.found.get(key)
        if found is None:
            checked = self._measure(part, records)
            found = self.journal.write(key, kernel=part.name, seconds=checked.seconds, error=checked.error)
        return Checked(float(found["seconds"]), str(found["error"]))

    def _key(self, part: Part, records: Records) -> str:
        lines = [autotvm.record.encode(*pair) for pair in records.pairs]
        digest = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
        signature = self.builder.graph.kernels[part.kernels[0]].signature()
        return json.dumps([part.device, signature, part.dim, part.rows, digest])

    def _measure(self, part: Part, records: Records) -> Checked:
        try:
            right, inputs = self._reference(part)
        except Exception as err:  # of any class; without it nothing can be said about the record
            return Checked(0.0, f"the untuned kernel can't be run: {one_line(err)}")
        try:
            with apply_records(records, (self.builder.cpu, self.builder.gpu)):
                func = self.builder.function(part.piece)
                built, weights = self.meter.compile(tvm.IRModule.from_expr(func), part.device)
            got = self.meter.run(built, inputs | weights)
            error = max_error(got, right)
            if error > TOLERANCE:
                return Checked(0.0, f"its result differs by {error:.1e} of the largest value from the untuned CPU's")
            return Checked(self.meter.time(built).best_s)
        except Exception as err:  # of any class: a kernel that fails must not end the run
            return Checked(0.0, one_line(err))

    def _reference(self, part: Part) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Return the outputs of the untuned CPU, and the inputs."""
        func = self.builder.unaltered(part.piece)
        inputs = _inputs(func.params)
        key = json.dumps([part.kernels[0], part.device, part.dim, part.rows])
        if key not in self._right:
            built, weights = self.meter.compile(tvm.IRModule.from_expr(func), "cpu")
            self._right[key] = self.meter.run(built, inputs | weights)
        return self._right[key], inputs

    def release(self) -> None:
        """Free the board for trials: the process holds its session until it ends."""
        if self.server is not None:
            self.close()

    def close(self) -> None:
        """End the process; another check starts it again."""
        if self._meter is not None:
            self._meter.close()
            self._meter = None


def _inputs(params: Sequence[relay.Var]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    types = {p.name_hint: p.checked_type for p in params}
    return {n: random_tensor([int(d) for d in t.shape], t.dtype, rng) for n, t in types.items()}
