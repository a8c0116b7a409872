"""HELP: a meta-learnt regressor that moves to a new device with the times of ten reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError

from ...features.graphs import NODE_COLUMNS, node_values
from ...features.workload import Workload, Workloads, group_by_class, to_numbers
from ..adjust import select_representative
from ..base import LatencyModel, check_samples, unknown_class_error
from ..state_files import take_array
from .batches import Scale, to_seconds
from .neural import Neural
from .ops import NUMPY, Array, Ops, Parameters, TorchOps, add_dense, dense, require_torch
from .training import single_thread, train


class _Task(NamedTuple):
    """One device: standardised features, the logarithms of times, its embedding and the mean of the references."""

    features: np.ndarray
    logs: np.ndarray
    embedding: np.ndarray
    mean: float


class HELP(Neural, LatencyModel):
    """Latency of a kernel by a network that is meta-learnt over devices.

    Lee et al. (NeurIPS 2021): a device is represented by its latencies on ten reference inputs (there
    networks, here kernels), which modulate the hidden units; parameters are learnt so that a few gradient steps on a
    few samples of a device predict the rest of it (MAML, Finn et al., ICML 2017, with first-order gradients). Times are
    relative to the geometric mean of the references, so a device that is twice as slow in all is the same device.

    Parameters
    ----------
    references : int
    width, layers : int
        Of the hidden layers.
    support : int
        Samples of the inner steps in training.
    inner_steps : int
    inner_rate : float
    epochs, rate, seed, max_fit_s
        See `Training`.

    Attributes
    ----------
    references_ : list of Workload
        What to measure on a new device first.
    """

    name: ClassVar[str] = "help"
    is_slow_to_fit = True

    def __init__(
        self,
        references: int = 10,
        width: int = 64,
        layers: int = 2,
        support: int = 10,
        inner_steps: int = 2,
        inner_rate: float = 0.02,
        epochs: int = 200,
        rate: float = 3e-3,
        seed: int = 0,
        max_fit_s: float = 600.0,
    ):
        self.references, self.width, self.layers = references, width, layers
        self.support, self.inner_steps, self.inner_rate = support, inner_steps, inner_rate
        self.epochs, self.rate, self.seed, self.max_fit_s = epochs, rate, seed, max_fit_s

    def scale_sizes(self) -> dict[str, int]:
        """See `Neural.scale_sizes`."""
        return {"kernel": len(NODE_COLUMNS)}

    def initial_parameters(self) -> Parameters:
        """See `Neural.initial_parameters`."""
        rng = np.random.default_rng(self.seed)
        found: Parameters = {}
        sizes = [len(NODE_COLUMNS), *[self.width] * self.layers]
        for i in range(self.layers):
            add_dense(found, rng, f"hidden{i}", sizes[i], sizes[i + 1])
            add_dense(found, rng, f"modulate{i}", len(self.references_), sizes[i + 1])
            found[f"modulate{i}.w"] *= np.float32(0.1)
        add_dense(found, rng, "out", self.width, 1)
        return found

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`; with one device there is nothing to adapt to, and no inner step."""
        return self.fit_devices([(kernels, seconds)])

    def fit_devices(self, devices: Sequence[tuple[Workloads, np.ndarray]]) -> Self:
        """Fit to kernels that were measured on several devices; the model then predicts the first one.

        Parameters
        ----------
        devices : sequence of (Workload or sequence of Workload, array)
            Kernels and their seconds on each device. Those that all have are preferred as references.
        """
        if not devices:
            raise CoExecError("there are no measured kernels to fit a latency model to")
        flat = [_flatten(*d) for d in devices]
        self.references_ = self._choose_references([kernels for kernels, _ in flat])
        table = np.concatenate([_values(kernels) for kernels, _ in flat])
        self.scales_ = {"kernel": Scale.of(table)}
        self.kinds_ = sorted({w.kind for kernels, _ in flat for w in kernels})
        tasks = [self._make_task(kernels, y) for kernels, y in flat]
        spread = float(np.std(np.concatenate([t.logs - t.mean for t in tasks])))
        self.times_ = [0.0, max(spread, 0.1)]
        self.meta_ = self._train(tasks)
        self._use(tasks[0], adapt=len(tasks) > 1)
        return self

    def adapt(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """Return a model of another device, from a few of its kernels.

        Parameters
        ----------
        kernels : Workload or sequence of Workload
            `references_`, and more if there are. For a reference that is missing the most similar kernel stands, scaled
            by bytes and FLOPs.
        seconds : array, shape (n,)

        Returns
        -------
        HELP
            A new model; this one is not changed.
        """
        self.check_fitted()
        made = type(self).from_state(self.state())
        own, y = _flatten(kernels, seconds)
        made.kinds_ = sorted({*self.kinds_, *(w.kind for w in own)})
        made._use(made._make_task(own, y), adapt=True)
        return made

    def _use(self, task: _Task, adapt: bool) -> None:
        """Predict the device of a task from now on."""
        self.embedding_, self.mean_ = task.embedding, task.mean
        self.parameters_ = self._adapted(task) if adapt else self.meta_

    def _choose_references(self, devices: Sequence[Sequence[Workload]]) -> list[Workload]:
        shared = set.intersection(*({to_numbers(w) for w in kernels} for kernels in devices))
        first = [w for w in {to_numbers(w): w for w in devices[0]}.values() if to_numbers(w) in shared]
        known = first if len(first) >= self.references else list(devices[0])
        return [known[i] for i in select_representative(known, self.references)]

    def _make_task(self, kernels: Sequence[Workload], seconds: np.ndarray) -> _Task:
        logs, features = np.log(seconds), self.scales_["kernel"].apply(_values(kernels))
        measured: dict[tuple[float, ...], list[float]] = {}
        for w, value in zip(kernels, logs, strict=True):
            measured.setdefault(to_numbers(w), []).append(float(value))
        found = []
        for w, row in zip(self.references_, self.scales_["kernel"].apply(_values(self.references_)), strict=True):
            if to_numbers(w) in measured:
                found.append(np.mean(measured[to_numbers(w)]))
            else:
                nearest = int(np.argmin(np.abs(features - row).sum(axis=1)))
                found.append(logs[nearest] + np.log(_work(w) / _work(kernels[nearest])))
        mean = float(np.mean(found))
        return _Task(features, logs, np.array(found) - mean, mean)

    def _forward(self, ops: Ops, parameters: Parameters, features: Array, embedding: Array) -> Array:
        x = features
        for i in range(self.layers):
            factor = 1.0 + ops.tanh(dense(parameters, f"modulate{i}", embedding))
            x = ops.relu(dense(parameters, f"hidden{i}", x)) * factor
        return dense(parameters, "out", x)[:, 0]

    def _train(self, tasks: Sequence[_Task]) -> Parameters:
        ops, rng = TorchOps(), np.random.default_rng(self.seed + 1)
        owner = np.repeat(np.arange(len(tasks)), [len(t.logs) for t in tasks])
        within = np.concatenate([np.arange(len(t.logs)) for t in tasks])

        def loss(parameters: Parameters, rows: np.ndarray) -> Array:
            total: Any = 0.0
            for k in np.unique(owner[rows]):
                task, query = tasks[k], within[rows[owner[rows] == k]]
                own = parameters
                if len(tasks) > 1:
                    chosen = rng.choice(len(task.logs), min(self.support, len(task.logs)), replace=False)
                    own = self._step(ops, parameters, task, chosen)
                total = total + self._error(ops, own, task, query) * len(query)
            return total / len(rows)

        return train(self.initial_parameters(), loss, len(owner), self.training(), self.name)

    def _error(self, ops: Ops, parameters: Parameters, task: _Task, rows: np.ndarray) -> Array:
        found = self._forward(ops, parameters, ops.array(task.features[rows]), ops.array(task.embedding))
        return ((found - ops.array((task.logs[rows] - task.mean) / self.times_[1])) ** 2).mean()

    def _step(self, ops: Ops, parameters: Parameters, task: _Task, rows: np.ndarray) -> Parameters:
        """Take the inner steps on some samples; gradients of the gradients are left out."""
        grad = require_torch().autograd.grad
        for _ in range(self.inner_steps):
            steps = grad(self._error(ops, parameters, task, rows), list(parameters.values()))
            moved = zip(parameters.items(), steps, strict=True)
            parameters = {n: p - self.inner_rate * g for (n, p), g in moved}
        return parameters

    def _adapted(self, task: _Task) -> Parameters:
        ops, torch = TorchOps(), require_torch()
        with single_thread(torch):
            start = {n: torch.from_numpy(np.array(a)).requires_grad_() for n, a in self.meta_.items()}
            moved = self._step(ops, start, task, np.arange(len(task.logs)))
            return {n: t.detach().numpy().copy() for n, t in moved.items()}

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`: algorithms that were not measured are predicted like others of their kind."""
        return w.kind in self.kinds_

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        if not self.knows(w):
            raise unknown_class_error(self, w.key, self.kinds_)
        features = self.scales_["kernel"].apply(node_values(w))
        found = self._forward(NUMPY, self.double_parameters(), features, self.embedding_)
        return to_seconds(found, [self.mean_, self.times_[1]])

    def state(self) -> dict[str, Any]:
        """See `Neural.state`."""
        found = super().state()
        found["arrays"] |= {f"meta.{n}": a for n, a in self.meta_.items()} | {"embedding": self.embedding_}
        references = [w.to_json() for w in self.references_]
        return {**found, "kinds": self.kinds_, "references": references, "mean": self.mean_}

    def read_extra(self, state: dict[str, Any]) -> None:
        """See `Neural.read_extra`."""
        self.kinds_, self.mean_ = [str(k) for k in state["kinds"]], float(state["mean"])
        self.references_ = [Workload.from_json(d) for d in state["references"]]
        self.embedding_ = take_array(state, "embedding", (len(self.references_),))
        self.meta_ = {n: take_array(state, f"meta.{n}", np.shape(a)) for n, a in self.initial_parameters().items()}


def _flatten(kernels: Workloads, seconds: np.ndarray) -> tuple[list[Workload], np.ndarray]:
    """Return workloads of numbers, one for each kernel, and their times in the same order."""
    groups, y = check_samples(kernels, seconds)
    found = [Workload("other")] * len(y)
    for w, where in groups:
        for at, numbers in zip(where, zip(*to_numbers(w), strict=True), strict=True):
            found[at] = _with_numbers(w, [float(n) for n in numbers])
    return found, y


def _with_numbers(w: Workload, numbers: Sequence[float]) -> Workload:
    return Workload(w.kind, w.algorithm, *numbers)


def _values(kernels: Sequence[Workload]) -> np.ndarray:
    found = np.empty((len(kernels), len(NODE_COLUMNS)))
    for w, where in group_by_class(kernels)[0]:
        found[where] = node_values(w)
    return found


def _work(w: Workload) -> float:
    return float(w.flops + w.traffic_bytes) + 1.0
