"""The sequence of a task's candidates: what comes first, each once, and a function of seed and results."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytestmark = pytest.mark.llvm

pytest.importorskip("tvm.relay")

from tvm.autotvm.measure import MeasureInput, MeasureResult  # noqa: E402

from tests.tuning import made  # noqa: E402
from tests.tuning.loop.nets import made_up_s  # noqa: E402
from tvm_coexec.opencl.schedules import configuration  # noqa: E402
from tvm_coexec.tuning.loop.candidates import Candidates, default_config, make_tuner  # noqa: E402
from tvm_coexec.tuning.loop.options import check_tune_options  # noqa: E402
from tvm_coexec.tuning.loop.trials import key_of  # noqa: E402
from tvm_coexec.tuning.parts import Part  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402
from tvm_coexec.tuning.tasks import TuningTask  # noqa: E402

CONV = made.conv2d("conv2d_nchw.cuda", (1, 16, 28, 28), (32, 16, 3, 3), 1, (1,) * 4)
PACKED = made.conv2d("conv2d_NCHWc.x86", (1, 16, 28, 28), (32, 16, 3, 3), 1, (1,) * 4)
NONE = Records(())
DENSE = ("dense_nopack.x86", made.tensor(8, 64), made.tensor(48, 64), None, "float32")


def tuning_task(workload: tuple) -> TuningTask:
    task, device = made.task_of(workload), "cpu" if made.target_of(workload) is made.CPU else "gpu"
    return TuningTask(task, "autotvm", device, made.target_of(workload), (Part(device, (0,), "conv"),), str(workload))


def sequence(workload: tuple, turns: int, earlier=NONE, others=NONE, **options) -> list[str]:
    """The keys of all candidates of several turns, with results that depend on the candidate only."""
    task = tuning_task(workload)
    candidates, found = Candidates(task, check_tune_options({"tuner": "random", "batch": 4} | options), earlier), []
    for turn in range(turns):
        random.seed(turn), np.random.seed(turn)  # what others draw must not matter
        pairs = []
        for config in candidates.propose(4, others):
            measured = MeasureInput(task.task.target, task.task, config)
            found.append(key_of(measured))
            pairs.append((measured, MeasureResult((made_up_s(found[-1]),), 0, 0.1, 0.0)))
        candidates.update(pairs)
    return found


@pytest.mark.parametrize("tuner", ["random", "gridsearch"])
def test_equal_seeds_give_equal_candidates(tuner):
    one, other = sequence(PACKED, 6, tuner=tuner), sequence(PACKED, 6, tuner=tuner)
    assert one == other and len(set(one)) == len(one) == 24
    if tuner != "gridsearch":
        assert sequence(PACKED, 6, tuner=tuner, seed=1) != one


@pytest.mark.slow
def test_a_learning_tuner_starts_again_at_the_same_place():
    """Its model is fitted again after two batches."""
    assert sequence(DENSE, 4, tuner="xgb") == sequence(DENSE, 4, tuner="xgb")


def test_a_small_space_ends():
    workload = ("dense_nopack.x86", made.tensor(1, 2), made.tensor(3, 2), None, "float32")
    task = tuning_task(workload)
    candidates = Candidates(task, check_tune_options({"tuner": "random"}), Records(()))
    found = [c for _ in range(20) for c in candidates.propose(8, Records(()))]
    assert candidates.exhausted and 0 < len(found) <= len(task.task.config_space) + 1


@pytest.mark.parametrize("workload", [CONV, PACKED, DENSE])
def test_the_first_is_what_a_build_uses_now(workload):
    task = tuning_task(workload)
    config = default_config(task)
    assert config is not None and set(config._entity_map) == set(task.task.config_space.space_map)
    assert sequence(workload, 1)[0] == key_of(MeasureInput(task.task.target, task.task, config))
    ours = configuration(task.target, workload)
    if ours is not None:
        assert {n: repr(e) for n, e in ours._entity_map.items()} == {n: repr(e) for n, e in config._entity_map.items()}


@pytest.mark.slow
def test_then_earlier_logs_and_records_of_other_shares():
    whole = made.task_of(CONV)
    own = made.make_records([whole], 3, seed=1)
    other = made.conv2d("conv2d_nchw.cuda", (1, 16, 28, 28), (64, 16, 3, 3), 1, (1,) * 4)
    served = made.make_records([made.task_of(other)], 2, seed=2)
    foreign = Records(tuple((MeasureInput(made.CPU, m.task, m.config), r) for m, r in own.pairs))
    default = sequence(CONV, 1)[0]
    found = sequence(CONV, 2, earlier=own)
    assert found[:3] == [default, *(key_of(m) for m, _ in own.pairs[:2])]
    assert sequence(CONV, 1, earlier=foreign)[1] != key_of(own.pairs[0][0])
    adapted = sequence(CONV, 1, others=served)
    assert adapted[0] == default and adapted[1] != sequence(CONV, 1)[1]


def test_tuners_by_name():
    kinds = {"xgb": "PriorTuner", "random": "RandomTuner", "gridsearch": "GridSearchTuner"}
    for name, kind in kinds.items():
        options = check_tune_options({"tuner": name})
        assert type(make_tuner(tuning_task(DENSE), options, Records(()))).__name__ == kind


def test_random_state_of_the_caller_is_left_alone():
    random.seed(3), np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3), np.random.seed(3)
    candidates = Candidates(tuning_task(DENSE), check_tune_options({"tuner": "random"}), Records(()))
    candidates.propose(8, Records(()))
    assert (random.random(), np.random.random()) == expected
