"""``coexec fit --records``: a log of AutoTVM adds classes of tuned kernels to the profile."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tvm import autotvm  # noqa: E402

from tests.cli.conftest import law  # noqa: E402
from tests.tuning import made  # noqa: E402
from tvm_coexec.cost_models.profile import Profile  # noqa: E402
from tvm_coexec.tuning.cost_workloads import workload_of_template  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402
from tvm_coexec.tuning.teach import tuned_samples  # noqa: E402


def write_log(path, sizes, target="llvm", speed=3.0) -> str:
    """Records of convolutions that run `speed` times as fast as the untuned law has it."""
    pairs = []
    for ic, oc, size, k in sizes:
        workload = made.conv2d("conv2d_NCHWc.x86", (1, ic, size, size), (oc, ic, k, k), 1, (k // 2,) * 4)
        task = autotvm.task.create(workload[0], workload[1:], tvm.target.Target(target))
        seconds = law("cpu", workload_of_template(workload, "cpu")) / speed
        for slower in (1.0, 1.5):
            measured = autotvm.MeasureInput(
                task.target, autotvm.task.Task(task.name, task.args), task.config_space.get(0)
            )
            pairs.append((measured, autotvm.MeasureResult((slower * seconds,), 0, 0.1, 0.0)))
    Records(tuple(pairs)).save(str(path))
    return str(path)


SIZES = [(ic, oc, size, 3) for ic in (16, 32, 64) for oc in (16, 64) for size in (7, 14, 28)]


@pytest.mark.slow
def test_records_teach_the_profile(coexec, samples_file, tmp_path):
    seen, held_out = write_log(tmp_path / "a.log", SIZES[::2]), write_log(tmp_path / "b.log", SIZES[1::2])
    plain, taught = tmp_path / "plain.json", tmp_path / "taught.json"
    assert coexec("fit", samples_file, "-o", plain).code == 0
    done = coexec("fit", samples_file, "--records", seen, "-o", taught)
    assert done.code == 0 and done.err == ""
    assert "9 tuned operators from records" in done.out and "conv/nchwc.3x3.tuned" in done.out
    samples = tuned_samples([held_out])
    assert len(samples) == 9
    workloads, seconds = [s.workload for s in samples], [s.seconds for s in samples]
    models = [Profile.load(p).devices["cpu"] for p in (plain, taught)]
    off = [np.mean(np.abs(model.predict(workloads) / seconds - 1)) for model in models]
    assert off[0] > 1.0 > 0.2 > off[1]


def test_errors_are_one_line(coexec, samples_file, profile_file, tmp_path):
    good, other = write_log(tmp_path / "good.log", SIZES[:1]), write_log(tmp_path / "other.log", SIZES[:1], "vulkan")
    torn = tmp_path / "torn.log"
    torn.write_text((tmp_path / "good.log").read_text() + "{\n")
    for argv, text in [
        (("--records", torn), f"--records: line 3 of {torn} is not a tuning record"),
        (("--records", good, other), f"--records: {other} has no records of llvm "),
        (("--records", tmp_path / "none"), "can't read"),
        (
            ("--records", good, "--boosted"),
            "--records: only the model 'analytic' learns from tuning records",
        ),
    ]:
        done = coexec("fit", samples_file, *argv, "-o", tmp_path / "p.json")
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1, done
    assert not (tmp_path / "p.json").exists()
    done = coexec("fit", samples_file, "--refine", profile_file, "--records", good, "-o", tmp_path / "p.json")
    assert done.code == 0, done.err
