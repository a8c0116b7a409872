"""Which kernels and shares are chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tests.planner.graphs import conv_kernel, graph, softmax_kernel, straight
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.measuring.collect.design import NAME
from tvm_coexec.measuring.collect.sampling_plan import choose_jobs


def test_equal_kernels_are_measured_once():
    two = [("a", graph(conv_kernel(7, (-1,)))), ("b", graph(conv_kernel(7, (-1,))))]
    jobs = choose_jobs(two, 0)
    assert Counter(j.piece.device for j in jobs) == {"cpu": 1, "gpu": 1} and {j.network for j in jobs} == {"a"}


def test_heavy_kernels_are_cut_on_every_axis():
    jobs = choose_jobs([("a", graph(conv_kernel(0, (-1,))))], 3)
    shares = Counter((j.piece.device, j.piece.dim) for j in jobs if j.piece.rows)
    assert shares == {("cpu", 1): 3, ("gpu", 1): 3, ("cpu", 2): 3, ("gpu", 2): 3}
    assert len({j.key for j in jobs}) == len(jobs)


def test_both_devices_get_the_two_sides_of_a_cut():
    jobs = choose_jobs([("a", straight(4))], 2)
    sides: dict = {}
    for j in jobs:
        if j.piece.rows:
            lo, hi = j.piece.rows
            cut = hi if j.piece.device == "gpu" else lo
            assert (lo == 0) == (j.piece.device == "gpu") and 0 < cut < 32
            sides.setdefault((j.piece.kernel, j.piece.dim, cut), set()).add(j.piece.device)
    assert sides and all(both == {"cpu", "gpu"} for both in sides.values())


def test_designed_kernels_are_cut_once_and_come_after_whole_ones():
    jobs = choose_jobs([("net", straight(2)), (NAME, graph(conv_kernel(9, (-1,))))], 2)
    designed = [j for j in jobs if j.network == NAME]
    assert Counter(bool(j.piece.rows) for j in designed) == {False: 2, True: 2}
    assert all(j.network == "net" and not j.piece.rows for j in jobs[:4])


def test_what_has_no_axes_stays_whole():
    jobs = choose_jobs([("a", graph(conv_kernel(0, (-1,)), softmax_kernel(1, (0,))))], 2)
    assert all(j.piece.rows is None for j in jobs if j.kernel.op == "nn.softmax")


def test_reshapes_are_not_measured():
    views, sums = (OpKind.VIEW, OpKind.VIEW), (OpKind.VIEW, OpKind.ELEMENTWISE)
    flat = replace(softmax_kernel(1, (0,)), name="nn.batch_flatten+reshape", op="reshape", kinds=views)
    fused = replace(softmax_kernel(2, (1,)), name="reshape+add", op="add", kinds=sums)
    jobs = choose_jobs([("a", graph(conv_kernel(0, (-1,)), flat, fused))], 0)
    assert {j.kernel.index for j in jobs} == {0, 2}


def test_order_is_random_but_the_same():
    graphs = [("a", straight(8))]
    jobs = choose_jobs(graphs, 2)
    assert jobs == choose_jobs(graphs, 2)
    assert [j.piece.kernel for j in jobs[:16]] != sorted(j.piece.kernel for j in jobs[:16])


def test_workloads_are_plain_numbers():
    attrs = {"kernel_size": [3, 3], "strides": [1, 1]}
    for job in choose_jobs([("a", graph(replace(conv_kernel(0, (-1,)), attrs=attrs)))], 2):
        whole, w = job.piece.rows is None, job.workload
        assert all(isinstance(v, (int, float, str)) for v in w.to_json().values())
        assert w.size == 1 and (w.out_bytes == job.kernel.out_bytes) == whole
