"""Choose the few kernels to measure on a new device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_coexec.core.devices import has_work_groups
from tvm_coexec.cost_models.dataset import DEVICES
from tvm_coexec.cost_models.models.adjust import select_representative
from tvm_coexec.cost_models.models.moved import choose_informative
from tvm_coexec.cost_models.profile import Profile

from .sampling_plan import Job


def choose_few(
    jobs: Sequence[Job], count: int, profiles: Sequence[Profile], names: Mapping[str, str] | None = None
) -> list[Job]:
    """Choose jobs for each device.

    Parameters
    ----------
    jobs : sequence of Job
    count : int
        Number for each device.
    profiles : sequence of Profile
        Of other devices: then those kernels are chosen that tell most of how the new device differs; without profiles
        those with typical shapes.
    names : mapping of str to str, optional
        Of the new devices: kernels differ by their tiles, too, on a GPU that is made of CPU cores.

    Returns
    -------
    list of Job
        In the order of `jobs`.
    """
    chosen: set[int] = set()
    for device in DEVICES:
        own = [i for i, job in enumerate(jobs) if job.piece.device == device]
        workloads = [jobs[i].workload for i in own]
        donors = [p.devices[device].silence_warnings() for p in profiles]
        if donors:
            found = choose_informative(workloads, count, donors, has_work_groups(device, (names or {}).get(device, "")))
        else:
            found = select_representative(workloads, count)
        chosen.update(own[i] for i in found)
    return [jobs[i] for i in sorted(chosen)]
