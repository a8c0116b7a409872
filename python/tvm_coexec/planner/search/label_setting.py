"""Label setting: which labels of a state are kept, and which states of a level.

A label is dropped where another one of its state is not worse in any respect: time of the host, time of the GPU's
queue, joules, and values on each device. Beyond that the number of labels of a state and the number of states with
equally many kernels are bounded, which graphs without wide branches never reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .state import Label, State

# Of one state; the worst are dropped beyond it. Of graphs with few kernels there is time for more.
MAX_LABELS, MANY_LABELS = 6, 16
# States with equally many kernels; the one in the model's own order is always kept.
MAX_STATES = 48


class LabelSetting:
    """The labels that are kept.

    Parameters
    ----------
    kernels : int
        Number of kernels.
    max_labels : int
        Labels that a state keeps.
    promise : callable
        Score of a label, the less the better: which of too many labels is dropped.
    last_is_worst : bool
        Whether `promise` is the time of the GPU's queue, so that a label after all others is the worst of them.
    """

    def __init__(self, kernels: int, max_labels: int, promise: Callable[[Label], float], last_is_worst: bool):
        self.levels: list[dict[int, State]] = [{} for _ in range(kernels + 1)]
        self._max_labels, self._promise, self._last_is_worst = max_labels, promise, last_is_worst

    def states(self, count: int) -> Iterator[State]:
        """The most promising states in which so many kernels have run; they are forgotten, their labels live on."""
        level, self.levels[count] = self.levels[count], {}
        if len(level) <= MAX_STATES:
            yield from level.values()
            return
        own = (1 << count) - 1
        yield from sorted(level.values(), key=lambda s: (s.done != own, min(label.gpu_s for label in s.labels)))[
            :MAX_STATES
        ]

    def add(self, labels: list[Label], new: Label) -> None:
        """Add a label to those of its state, unless another is as good; those that are no better are dropped."""
        host_s, gpu_s, joules, is_last = new.host_s, new.gpu_s, new.joules, True
        for old in labels:
            if old.gpu_s <= gpu_s and old.host_s <= host_s and old.joules <= joules and old.where.covers(new.where):
                return
            is_last = is_last and old.gpu_s < gpu_s
        is_full = len(labels) >= self._max_labels
        if is_full and is_last and self._last_is_worst:
            return
        labels[:] = [
            old
            for old in labels
            if not (
                gpu_s <= old.gpu_s and host_s <= old.host_s and joules <= old.joules and new.where.covers(old.where)
            )
        ]
        labels.append(new)
        if is_full and len(labels) > self._max_labels:
            labels.remove(max(labels, key=self._promise))
