"""Records of both devices in one file: of which target they are, the best, and what stock TVM reads."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llvm

tvm = pytest.importorskip("tvm")

from tests.tuning import made  # noqa: E402
from tvm_coexec import CoExecError  # noqa: E402
from tvm_coexec.tuning.records import Records, is_of, load_records, merge_records  # noqa: E402


@pytest.fixture(scope="module")
def records() -> Records:
    workloads = [made.SHARES[0][1], next(w for _, w, _ in made.SHARES if w[0] == "conv2d_nchw.cuda")]
    return made.make_records(map(made.task_of, workloads), count=2)


def test_one_file_for_both_devices(records, tmp_path):
    path = str(tmp_path / "records.log")
    records.save(path)
    found = load_records(path, [made.CPU, made.GPU])
    assert [(str(a[0].target.kind), str(a[0].config), a[1].costs) for a in found.pairs] == [
        (str(a[0].target.kind), str(a[0].config), a[1].costs) for a in records.pairs
    ]
    assert [len(found.of(t)) for t in (made.CPU, made.GPU)] == [2, 2]
    assert [a[1].costs for a in found.best().pairs] == [(1e-3,), (1e-3,)]
    assert len(merge_records([found, records, found])) == len(records)
    with tvm.autotvm.apply_history_best(path) as stock:
        for measured, _ in records.best().pairs:
            assert str(stock.query(measured.target, measured.task.workload)) == str(measured.config)


@pytest.mark.parametrize(
    ("recorded", "target", "same"),
    [
        ("llvm", "llvm -mcpu=core-avx2", True),
        ("llvm -mcpu=core-avx2", "llvm -mcpu=core-avx2 -num-cores=2", True),
        ("llvm -mcpu=skylake-avx512", "llvm -mcpu=core-avx2", False),
        ("opencl", "opencl -model=pocl", True),
        ("opencl -device=mali", "opencl -device=adreno", False),
        ("vulkan", "opencl", False),
    ],
)
def test_which_records_are_of_a_target(recorded, target, same):
    assert is_of(tvm.target.Target(recorded), tvm.target.Target(target)) is same


def test_records_of_other_targets_only(records, tmp_path):
    path = str(tmp_path / "records.log")
    records.of(made.CPU).save(path)
    assert len(load_records(path, [tvm.target.Target("llvm"), made.GPU])) == 2
    with pytest.raises(CoExecError) as caught:
        load_records(path, [tvm.target.Target("llvm -mcpu=skylake-avx512"), made.GPU], "records")
    text = str(caught.value)
    assert text.startswith("records: ") and "records.log has no records of llvm" in text and "\n" not in text
    assert "skylake-avx512" in text and "core-avx2" in text and text.endswith("or give another file")


def test_a_log_of_another_tuner(tmp_path):
    path = tmp_path / "records.log"
    path.write_text('{"i": [["[\\"x\\"]", "llvm"], [[], []]], "r": [[0.1], 0, 0.1, 1], "v": "v0.6"}\n')
    with pytest.raises(CoExecError, match="is a log of TVM's auto_scheduler"):
        load_records(str(path))
