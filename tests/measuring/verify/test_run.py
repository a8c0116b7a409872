"""Plans measured on the devices: the fastest is kept, what fails or gives wrong numbers is left out."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tests.measuring.verify.recorded import recorded
from tests.planner.graphs import costs as made_up
from tests.tvmc.test_remote import server, tracker  # noqa: F401 (a fixture)
from tvm_coexec import CoExecError, CoExecPartition
from tvm_coexec.cost_models.dataset import read_samples
from tvm_coexec.measuring.protocol import Timed
from tvm_coexec.measuring.verify import Verify, entries, run
from tvm_coexec.measuring.verify.bench import Bench
from tvm_coexec.measuring.verify.child import PlanTimeRequest
from tvm_coexec.measuring.verify.correct import Corrections
from tvm_coexec.measuring.worker import Child, ChildError

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]

QUICK = Verify(plans=3, repeats=2)


@pytest.fixture
def chain():
    return models.conv_chain(3)


def seconds_by_device(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """What the bench measures, by the device of the plan (plans are built and run all the same)."""
    stock, devices = run.time_in_turns, {}

    def note(entries, bench, repeats):
        devices.update({e.compiled.path: e.plan.device for e in entries if e.compiled is not None})
        return stock(entries, bench, repeats)

    monkeypatch.setattr(run, "time_in_turns", note)
    monkeypatch.setattr(Bench, "time", lambda self, compiled: Timed((seconds[devices[compiled.path]],), 0.0, 0.0, 0.0))


@pytest.mark.parametrize("fastest", ["cpu", "gpu", "both"])
def test_the_fastest_is_kept_and_right(chain, cache, monkeypatch, fastest):
    seconds_by_device(monkeypatch, **{"cpu": 3e-3, "gpu": 4e-3, "both": 5e-3, fastest: 1e-3})
    partition = CoExecPartition(profile=made_up(), verify=QUICK)
    split = partition(chain)
    plan = tvm_coexec.plan_of(split)
    assert plan.device == fastest and {v.device for v in plan.verified} == {"cpu", "gpu", "both"}
    assert next(v for v in plan.verified if v.segments == plan.digest()).measured_s == 1e-3
    assert "measured 1.000 ms, the fastest of 3 plans" in partition.report.summary()
    (path,) = cache.glob("plans-*.jsonl")
    found = {r.device: r for r in read_samples(path).plans}
    assert found[fastest].measured_s == 1e-3 and found["both"].chains and found["cpu"].predicted_s > 0
    assert {r.alone_s for r in found.values()} == {min(found[d].measured_s for d in ("cpu", "gpu"))}
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(split, target=tvm_coexec.targets())
    inputs = models.input_of(chain)
    models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), models.reference(chain, inputs))


def test_it_measures(chain, cache):
    plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, ratio=0.5, verify=QUICK))
    assert len(plan.verified) == 3 and all(0 < v.measured_s < 10 and not v.error for v in plan.verified)
    fastest = min(plan.verified, key=lambda v: v.measured_s)
    assert fastest.segments == plan.digest() and fastest.expected_s == 0
    assert not list(cache.glob("*"))  # nothing was predicted: there is nothing to learn
    again = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, plan=plan))
    assert again == plan


@pytest.fixture
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The CPU's shares are said to take twice as long as predicted; returns what was recorded."""
    stock, seen = Corrections.learn, []

    def learn(self, plan, seconds):
        seen.append(dict(seconds))
        stock(self, plan, recorded(self.graph, self.base, plan, cpu=2.0))

    monkeypatch.setattr(Corrections, "learn", learn)
    return seen


def test_what_shares_took_corrects_the_next_plan(chain, cache, slow_cpu):
    """It is built, compared and measured as the others are."""
    split = CoExecPartition(profile=made_up(), verify=Verify(plans=4, repeats=1))(chain)
    plan = tvm_coexec.plan_of(split)
    assert [v.device for v in plan.verified] == ["cpu", "gpu", "both", "both"]
    assert len({v.segments for v in plan.verified}) == 4
    assert not any(v.error for v in plan.verified) and all(v.measured_s > 0 for v in plan.verified)
    (seen,) = slow_cpu  # of the first plan, which has one chain
    assert set(seen) == {(0, "cpu"), (0, "gpu")} and all(0 < s < 1 for s in seen.values())
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(split, target=tvm_coexec.targets())
    inputs = models.input_of(chain)
    models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), models.reference(chain, inputs))


@pytest.mark.usefixtures("slow_cpu")
def test_a_corrected_plan_is_reported_by_the_corrected_costs(chain, cache, monkeypatch):
    def time(self, compiled):
        return Timed((1.0 / (1 + int(re.search(r"plan(\d+)", compiled.path)[1])),), 0.0, 0.0, 0.0)

    monkeypatch.setattr(Bench, "time", time)
    partition = CoExecPartition(profile=made_up(), verify=Verify(plans=4, repeats=1))
    plan = tvm_coexec.plan_of(partition(chain))
    assert plan.verified[3].segments == plan.digest()  # the last is the fastest
    assert "corrected by recorded runs" in plan.costs
    assert partition.report.simulated.now_s == pytest.approx(plan.expected_s)


def test_runs_that_copy_are_not_recorded(chain, cache, monkeypatch):
    """They are those of TVM's own executor, in which the module will run; other plans are measured."""
    stock, seen = Bench.record, []
    monkeypatch.setattr(Bench, "record", lambda self, compiled: seen.append(stock(self, compiled)) or seen[-1])
    monkeypatch.setattr(Corrections, "learn", lambda *_: pytest.fail("there is nothing to learn from"))
    options = {"profile": made_up(), "memory": "copied", "verify": Verify(5, 1)}
    plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, **options))
    assert not any(v.error for v in plan.verified) and len(plan.verified) >= 3
    assert seen and set(seen) == {None}


def test_a_busy_machine_is_logged_and_nothing_is_recorded(chain, cache, monkeypatch, caplog):
    loads = iter([0.1, 0.9, 0.5] * 2)
    stock = Child.call

    def call(self, request, timeout_s):
        if isinstance(request, PlanTimeRequest):
            return Timed((1.0,), 1.0, next(loads), 0.0)
        return stock(self, request, timeout_s)

    monkeypatch.setattr(Child, "call", call)
    tvm_coexec.partition_for_coexec(chain, profile=made_up(), verify=QUICK)
    assert "other processes used 0.5 cores while plans were measured" in caplog.text
    assert not list(cache.glob("*"))


def test_a_plan_that_can_not_be_built_is_left_out(chain, monkeypatch, caplog):
    stock = Bench.build

    def build(self, number, placed, plan):
        if number == 1:
            raise tvm.TVMError("Stack trace:\nInternalError: no such instruction")
        return stock(self, number, placed, plan)

    monkeypatch.setattr(Bench, "build", build)
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, profile=made_up(), verify=QUICK))
    assert "(strategy single, all on the gpu) can't be measured and is left out: " in caplog.text
    assert [bool(v.error) for v in plan.verified] == [False, True, False]
    assert "no such instruction" in plan.verified[1].error and plan.verified[1].measured_s == 0


def test_a_plan_whose_process_crashes_is_left_out(chain, monkeypatch):
    """The others go on in a new process."""
    stock = Bench.time

    def time(self, compiled):
        if "plan1" in compiled.path:
            self.worker._child._process.kill()
        return stock(self, compiled)

    monkeypatch.setattr(Bench, "time", time)
    plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, profile=made_up(), verify=QUICK))
    errors = {v.device: v.error for v in plan.verified}
    assert "SIGKILL" in errors["gpu"] and not errors["cpu"] and not errors["both"]


def test_no_plan_that_works_is_an_error(chain, monkeypatch):
    def outputs(self, compiled):
        raise ChildError("it did not end in time")

    monkeypatch.setattr(Bench, "run", outputs)
    with pytest.raises(CoExecError, match=r"none of 3 plans can be built and run here \(it did not end in time\)"):
        tvm_coexec.partition_for_coexec(chain, ratio=0.5, verify=QUICK)


@pytest.mark.parametrize(("wrong", "device"), [("plan1", "gpu"), ("plan2", "both")])
def test_a_plan_that_gives_wrong_numbers_is_left_out(chain, cache, monkeypatch, caplog, wrong, device):
    """Even if it is the fastest; the profile does not learn from it either."""
    seconds_by_device(monkeypatch, **{"cpu": 3e-3, "gpu": 2e-3, "both": 2e-3, device: 1e-3})
    give_wrong_numbers(monkeypatch, wrong)
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, profile=made_up(), verify=QUICK))
    assert plan.device not in (device, "cpu")
    (bad,) = [v for v in plan.verified if v.error]
    assert bad.device == device and bad.measured_s == 0
    assert re.search(
        r"outputs differ by 1\.0e-02 of the largest value from those of plan \w+ \(.*on the cpu\)", bad.error
    )
    assert f"plan {bad.segments} (strategy" in caplog.text and "gives wrong numbers and is left out" in caplog.text
    (path,) = cache.glob("plans-*.jsonl")
    assert device not in {r.device for r in read_samples(path).plans}


def test_which_numbers_are_wrong_is_not_guessed(chain, monkeypatch):
    """Two plans differ, and the CPU alone can't be run."""
    stock = Bench.build

    def build(self, number, placed, plan):
        if number == 0:
            raise tvm.TVMError("no such instruction")
        return stock(self, number, placed, plan)

    monkeypatch.setattr(Bench, "build", build)
    give_wrong_numbers(monkeypatch, "plan2")
    with pytest.raises(CoExecError, match=r"computes something else: .* the CPU alone can't be run \(.*no such instr"):
        tvm_coexec.partition_for_coexec(chain, ratio=0.5, verify=QUICK)


def give_wrong_numbers(monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    stock = Bench.run

    def outputs(self, compiled):
        found = stock(self, compiled)
        return [found[0] * 1.01] if plan in compiled.path else found

    monkeypatch.setattr(Bench, "run", outputs)


def test_outputs_are_compared_by_their_largest_value():
    a = np.array([1.0, -4.0, np.inf], "float32")
    assert entries.max_error([a], [a]) == 0
    assert entries.max_error([a + np.float32(4e-3)], [a]) == pytest.approx(1e-3, rel=1e-2)
    assert entries.max_error([a], [np.array([1.0, -4.0, 2.0])]) == np.inf
    assert entries.max_error([np.array([np.nan, 1.0])], [np.array([1.0, 1.0])]) == np.inf
    assert entries.max_error([np.zeros((2, 1))], [np.zeros(2)]) == np.inf


def test_what_can_not_be_verified_is_refused(chain):
    plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, ratio=0.5))
    with pytest.raises(CoExecError, match="verify would have no effect"):
        CoExecPartition(plan=plan, verify=True)
    with pytest.raises(CoExecError, match="verify measures time"):
        CoExecPartition(objective="energy", verify=True)
    arm = "llvm -mtriple=aarch64-linux-gnu"
    with pytest.raises(CoExecError, match=r"plans can't be run here \(the CPU target is for aarch64-linux-gnu\)"):
        tvm_coexec.partition_for_coexec(chain, cpu=arm, ratio=0.5, verify=True)


def test_a_script_is_not_run_again(chain, tmp_path):
    """The process is a fresh one: a script needs no guard around what it does."""
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "print('started', flush=True)\n"
        "import tvm_coexec\n"
        "from tests import models\n"
        "from tvm_coexec.measuring.verify import Verify\n"
        "split = tvm_coexec.partition_for_coexec(models.conv_chain(1), ratio=0.5, verify=Verify(3, 1))\n"
        "print(len(tvm_coexec.plan_of(split).verified))\n"
    )
    environment = dict(os.environ, PYTHONPATH=os.getcwd())
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.splitlines() == ["started", "3"], done.stderr


@pytest.mark.remote
def test_devices_over_rpc(chain, tracker, cache, slow_cpu):  # noqa: F811
    host, port = tracker.split(":")
    with server("tvm.exec.rpc_server", tracker, "board"):  # the stock one: the runtime is loaded there
        there = Verify(plans=3, repeats=1, tracker=(host, int(port)), key="board")
        plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, ratio=0.5, verify=there))
        assert all(v.measured_s > 0 for v in plan.verified)
        more = replace(there, plans=4)
        plan = tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(chain, profile=made_up(), verify=more))
        assert all(v.measured_s > 0 for v in plan.verified) and len(plan.verified) == 4
        assert set(slow_cpu[0]) == {(0, "cpu"), (0, "gpu")}  # recorded there
        elsewhere = Verify(plans=3, tracker=(host, int(port)), key="desk")
        with pytest.raises(CoExecError, match="no device 'desk'; it has: board"):
            tvm_coexec.partition_for_coexec(chain, ratio=0.5, verify=elsewhere)
