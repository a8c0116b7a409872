"""The joint loop: plan, tune what the plan runs, refine the profile with what was measured, and plan again.

How it works
------------
1. **Plan** with the profile. The plan's kernels and shares give the tuning tasks. A task is worth the seconds that the
   plan spends in it (`allocation`). A task of the device that its segment waits for counts fully, one of the other
   device half, since a faster other device moves the cut; a whole kernel on a device that the plan does not use counts
   by how near that device is, so that both devices are explored.
2. **Spend trials** in turns of a few candidates of one task. As in TVM's auto-scheduler (Ansor, OSDI 2020, section 6)
   the next turn goes to the task with the largest expected gain per trial: seconds at stake, times what the last trials
   gained and what further ones may. The first candidates of a task are the configuration that a build would use now,
   the best ones of earlier logs, and records of other shares, adapted; the others come from the tuner (`candidates`).
3. **Check** the best record of each task in its fused kernel (`kernels`): the result must equal that of the untuned
   CPU, or the record is dropped. The kernel is timed with the records in force.
4. **Refine** the profile (`refine`): kernels that were timed cost that; other shares of a tuned kernel cost what its
   adapted records promise; an untuned kernel keeps the profile's cost. Plan again.
5. **Stop** when the plan and its promise stay, or the budget ends.
6. **Measure** (`final`): the untuned module and the candidate plans with the new records, in turns. The folder gets
   whatever is the fastest, so the result is never slower than the start.

Everything that decides is a function of the results so far: no clock and no shared random state. A run that was
interrupted starts from its beginning and takes the results of `state/trials.log` and `state/kernels.jsonl` instead of
measuring, until it gets to where it was (`trials`, `folder`). So nothing is lost, and with the same seed the end is the
same as without the interruption.

============  =========================================================================================================
`options`     options of the loop
`folder`      the folder of a run: what it is of, and its state
`results`     its results
`trials`      measuring candidates once, here or on boards (`boards`)
`build_ahead`
              building several of them before the first is measured
`candidates`  which configurations of a task are measured, and in which order
`allocation`  which task gets the next trials
`kernels`     fused kernels with records in force: right, and how fast
`refine`      the profile, with what was measured
`final`       modules measured in turns
`session`     one run: steps 1 to 5
`progress`    the table of tasks
`run`         `tune`, which does it all
============  =========================================================================================================
"""

from __future__ import annotations

from .results import Tuned, load_tuned
from .run import tune

__all__ = ["Tuned", "load_tuned", "tune"]
