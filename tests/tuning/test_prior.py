"""`PriorTuner`: starts with what the device can run, in the tile model's order, and learns; it can be replayed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tvm import autotvm  # noqa: E402

from tests.tuning import made  # noqa: E402
from tvm_coexec.core.errors import CoExecError  # noqa: E402
from tvm_coexec.opencl.schedules.device import device_traits  # noqa: E402
from tvm_coexec.tuning.adapt import adapted_candidates  # noqa: E402
from tvm_coexec.tuning.knobs import threads_of  # noqa: E402
from tvm_coexec.tuning.prior import PriorTuner  # noqa: E402
from tvm_coexec.tuning.prior.residual import Residual, Trialled  # noqa: E402
from tvm_coexec.tuning.rank import modelled_cost  # noqa: E402
from tvm_coexec.tuning.space import Space, key_of  # noqa: E402

CONV = made.conv2d("conv2d_NCHWc.x86", (1, 24, 14, 14), (40, 24, 3, 3), 1, (1,) * 4)
ON_GPU = made.conv2d("conv2d_nchw.cuda", (1, 24, 14, 14), (40, 24, 3, 3), 1, (1,) * 4)


def law(task, config) -> float:
    """Made-up seconds: the tile model, but columns in tiles of two are four times faster."""
    modelled = modelled_cost(task.workload, task.target, config._entity_map, task.flop, 1.0, 0.0)
    last = [e.size[-1] for n, e in config._entity_map.items() if n in ("tile_ow", "tile_x")]
    return 1e-9 * modelled * (0.25 if last == [2] else 1.0)


def results_of(task, configs):
    inputs = [autotvm.MeasureInput(task.target, task, c) for c in configs]
    return inputs, [autotvm.MeasureResult((law(task, c),), 0, 0.1, 0.0) for c in configs]


def search(task, tuner, count, batch=3):
    pairs = []
    while len(pairs) < count and tuner.has_next():
        inputs, results = results_of(task, tuner.next_batch(min(batch, count - len(pairs))))
        tuner.update(inputs, results)
        pairs += zip(inputs, results, strict=True)
    return pairs


def keys(pairs) -> list:
    return [key_of(p[0].config) for p in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("workload", [CONV, ON_GPU], ids=["cpu", "gpu"])
def test_a_plan_follows_the_model_and_then_the_trials(workload):
    task = made.task_of(workload)
    size, count = (8, 24) if workload is CONV else (6, 12)
    pairs = search(task, PriorTuner(task, plan_size=size), count)
    assert len(set(keys(pairs))) == len(pairs) == count, "a candidate is tried once"
    rng = np.random.default_rng(0)
    space = Space(task)
    drawn = [c for c in map(space.get, space.sample(rng, 200)[:200]) if space.fits(c._entity_map)]
    first = [law(task, p[0].config) for p in pairs[:size]]
    assert np.median(first) < np.quantile([law(task, c) for c in drawn], 0.2), "the first plan is not a random one"
    best = [min(p[1].costs[0] for p in pairs[:n]) for n in (size, count)]
    assert best[1] <= best[0]
    if workload is CONV:  # all of the space can be known
        assert best[1] <= 1.05 * min(law(task, space.get(i)) for i in range(len(space)))


@pytest.mark.slow
def test_candidates_fit_the_device():
    """Some are as large as the limits of OpenCL, and random ones are often larger."""
    task = made.task_of(ON_GPU)
    traits = device_traits(task.target)
    found = [p[0].config for p in search(task, PriorTuner(task, plan_size=6, seed=1), 6)]
    assert max(threads_of(c._entity_map) for c in found) <= traits.max_threads
    space, rng = Space(task), np.random.default_rng(0)
    assert not all(space.fits(space.get(i)._entity_map) for i in space.sample(rng, 100))
    for config in found:
        with task.target:
            tvm.lower(*task.instantiate(config))


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was():
    task = made.task_of(CONV)
    whole = search(task, PriorTuner(task, plan_size=8, seed=3), 20)
    assert keys(search(task, PriorTuner(task, plan_size=8, seed=3), 20, batch=5)) == keys(whole), "any batch size"
    assert keys(search(task, PriorTuner(task, plan_size=8, seed=4), 20)) != keys(whole)
    for done in (3, 8):
        resumed = PriorTuner(task, plan_size=8, seed=3)
        resumed.update(*zip(*whole[:done], strict=True))
        assert keys(search(task, resumed, 20 - done)) == keys(whole[done:])


@pytest.mark.slow
def test_more_is_asked_for_than_a_plan_has():
    """A caller may ask again before it gives any result, as with TVM's own tuners."""
    task = made.task_of(CONV)
    tuner = PriorTuner(task, plan_size=4)
    asked = [key_of(c) for _ in range(5) for c in tuner.next_batch(3)]
    assert len(asked) == len(set(asked)) >= 11 and tuner.has_next()


@pytest.mark.slow
def test_records_of_another_shape_come_first_and_teach():
    task, other = (
        made.task_of(CONV),
        made.task_of(made.conv2d("conv2d_NCHWc.x86", (1, 24, 14, 14), (56, 24, 3, 3), 1, (1,) * 4)),
    )
    records = search(other, PriorTuner(other, plan_size=12), 24)
    without = search(task, PriorTuner(task, plan_size=6), 6)
    tuner = PriorTuner(task, plan_size=6, records=records)
    found = search(task, tuner, 6)
    adapted = adapted_candidates(CONV, made.CPU, records)[0].config
    assert key_of(found[0][0].config) == key_of(adapted)
    with_records, alone = (np.median([p[1].costs[0] for p in pairs]) for pairs in (found, without))
    assert with_records < alone
    space = Space(task)
    assert found[0][1].costs[0] == min(law(task, space.get(i)) for i in range(len(space))), "the best comes first"
    late = PriorTuner(task, plan_size=6)
    late.load_history(records)
    assert keys(search(task, late, 6)) == keys(found)


@pytest.mark.slow
def test_a_template_without_a_tile_model():
    workload = ("dense_nopack.x86", made.tensor(2, 8), made.tensor(6, 8), None, "float32")
    task = made.task_of(workload)
    tuner = PriorTuner(task, plan_size=8)
    pairs = search(task, tuner, 10_000)
    assert not tuner.has_next() and not tuner.next_batch(4)
    lowered = Space(task)
    assert set(keys(pairs)) == {i for i in range(len(task.config_space)) if lowered.lowers(lowered.get(i))}


@pytest.mark.slow
def test_failed_trials_count_as_slow():
    task = made.task_of(CONV)
    tuner = PriorTuner(task, plan_size=8)
    inputs, results = results_of(task, tuner.next_batch(8))
    failed = [autotvm.MeasureResult(("", "no room"), 4, 0.1, 0.0)] * 4
    tuner.update(inputs, [*results[:4], *failed])
    assert len(tuner.next_batch(8)) == 8
    every = PriorTuner(task, plan_size=4)
    every.update(inputs[:4], failed)
    assert every.next_batch(4)


@pytest.mark.parametrize("has_xgboost", [True, False])
def test_the_residual_corrects_the_model(has_xgboost, monkeypatch):
    if not has_xgboost:
        monkeypatch.setitem(sys.modules, "xgboost", None)
    rng = np.random.default_rng(0)
    features = rng.integers(0, 4, (200, 3)).astype(np.float32)
    modelled = rng.standard_normal(200) * 2
    seconds = np.exp2(modelled + 1.5 * (features[:, 1] == 2 if has_xgboost else features[:, 1]) - 20)
    own, new = Trialled(features[:60], modelled[:60], seconds[:60]), slice(60, 200)
    found = Residual().fit(own).predict(features[new], modelled[new])
    errors = found - np.log2(seconds[new])
    most = 0.4 if has_xgboost else 0.8
    assert np.std(errors) < most < np.std(modelled[new] - np.log2(seconds[new]))
    # of another task of which every time is a constant factor larger, as of a larger operator
    other = Trialled(features[:60], modelled[:60], 16 * seconds[:60])
    moved = Residual().fit(None, [other]).predict(features[new], modelled[new])
    assert np.std(moved - np.log2(seconds[new])) < most
    untaught = Residual().fit(None)
    assert untaught.slope == 1.0 and np.array_equal(untaught.predict(features, modelled), modelled)


@pytest.mark.slow
def test_tvms_own_loop(tmp_path):
    """With AutoTVM's builder, runner and callbacks; the log is read again."""
    task = made.task_of(CONV)
    log = tmp_path / "records.log"
    option = autotvm.measure_option(
        autotvm.LocalBuilder(n_parallel=1), autotvm.LocalRunner(number=1, repeat=1, min_repeat_ms=0)
    )
    tuner = PriorTuner(task, plan_size=3)
    tuner.tune(2, option, callbacks=[autotvm.callback.log_to_file(str(log))])
    pairs = list(autotvm.record.load_from_file(str(log)))
    assert len(pairs) == 2 and all(r.error_no == 0 for _, r in pairs) and tuner.best_config is not None
    again = PriorTuner(made.task_of(CONV), plan_size=3)
    again.update(*zip(*pairs, strict=True))
    assert not {key_of(c) for c in again.next_batch(3)} & {key_of(p[0].config) for p in pairs}


@pytest.mark.parametrize(("options", "message"), [({"plan_size": 0}, "plan_size is 0; give a number of trials")])
def test_errors(options, message):
    with pytest.raises(CoExecError, match=message):
        PriorTuner(made.task_of(CONV), **options)
