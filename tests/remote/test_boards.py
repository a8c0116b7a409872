"""``coexec profile`` on several servers of one key: two stock servers at a tracker, some of which fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest

pytest.importorskip("tvm.relay")

from tests import models
from tests.remote.servers import kill_tree, serving, start, tracked
from tests.tvmc.test_remote import tracker  # noqa: F401 (a fixture)
from tvm_coexec import CoExecError
from tvm_coexec.cost_models.dataset import read_samples
from tvm_coexec.measuring import reference
from tvm_coexec.measuring.collect import collection, collector
from tvm_coexec.measuring.collect.boards import Board, Boards
from tvm_coexec.measuring.collect.collector import Options, collect
from tvm_coexec.measuring.read_model import Model
from tvm_coexec.remote import Server

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote, pytest.mark.slow]

QUICK = Options(cuts=1, repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0, processes=1, networks=False)
KERNELS = 10  # one kernel, whole and on four axes, on two devices


@pytest.fixture(autouse=True)
def other_tests_may_slow_this_machine(monkeypatch):
    monkeypatch.setattr(reference, "MAX_SPEED_RATIO", 50.0)


@pytest.fixture(scope="module")
def chain() -> list[Model]:
    return [Model("chain", models.conv_chain(2), {})]


@pytest.fixture
def warnings(caplog, monkeypatch) -> Iterator[pytest.LogCaptureFixture]:
    monkeypatch.setattr(logging.getLogger("tvm_coexec"), "propagate", True)
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        yield caplog


def at_kernel(monkeypatch, number: int, act: Callable[[Board], None]) -> None:
    """Call `act` with the board that is about to time its `number`-th kernel, or a batch with it, once."""
    boards: list[Boards] = []

    class Watched(Boards):
        def __init__(self, *args: object):
            super().__init__(*args)
            boards.append(self)

    monkeypatch.setattr(collection, "Boards", Watched)
    done: list[Board] = []

    def watch(worker: collection.DeviceWorker, requests: Sequence[collection.protocol.TimeRequest]) -> None:
        board = next(b for b in boards[0]._all if b.worker is worker)
        kernels = sum(r.built != r.reference for r in requests)
        if board.measured < number <= board.measured + kernels and not done:
            done.append(board)
            act(board)

    one, batch = collection.DeviceWorker.time, collection.DeviceWorker.time_batch

    def time(worker: collection.DeviceWorker, request: collection.protocol.TimeRequest, timeout_s: float) -> object:
        watch(worker, [request])
        return one(worker, request, timeout_s)

    def time_batch(worker: collection.DeviceWorker, requests: Sequence, timeout_s: float) -> object:
        watch(worker, requests)
        return batch(worker, requests, timeout_s)

    monkeypatch.setattr(collection.DeviceWorker, "time", time)
    monkeypatch.setattr(collection.DeviceWorker, "time_batch", time_batch)


def test_two_boards_of_which_one_dies(chain, tmp_path, tracker, monkeypatch, warnings):  # noqa: F811
    path = str(tmp_path / "s.jsonl")
    with ExitStack() as stack:
        servers = [stack.enter_context(tracked(tracker, "pair")) for _ in range(2)]
        killed = []

        def kill(board: Board) -> None:
            killed.append(board.address)
            kill_tree(next(s for s in servers if s.address == board.address))

        at_kernel(monkeypatch, 2, kill)
        summary = collect(chain, path, replace(QUICK, server=Server(None, tracker, "pair")))
    samples = read_samples(path)
    assert summary.measured == len(samples.usable) == KERNELS and not summary.failed
    addresses = {s.address for s in servers}
    # The only sample of the board that died may be noisy, and then be replaced by one of the other board.
    assert {s.board for s in samples.samples} | set(killed) == addresses
    assert [a for a, _ in summary.left_out] == killed and f"board {killed[0]} is left out: " in warnings.text
    (left,) = [b for b in summary.boards if b.address not in killed]
    assert all(b.measured for b in summary.boards)
    assert left.address in addresses - set(killed) and left.measured >= KERNELS - 2
    assert all(pace > 0 for pace in left.paces.values()) and set(left.paces) == {"cpu", "gpu"}
    assert samples.links and samples.round_trips  # on the board that is left


def test_a_board_of_another_speed_is_left_out(chain, tmp_path, tracker, monkeypatch, warnings):  # noqa: F811
    monkeypatch.setattr(reference, "REFERENCE_TRIES", 0)
    seen: list[Board] = []

    def time_reference(run: collection.Collection, board: Board, device: str) -> float:
        seen.append(board)
        return 1.0 if board is seen[0] else 60.0

    monkeypatch.setattr(collector, "_time_reference", time_reference)
    path = str(tmp_path / "s.jsonl")
    with tracked(tracker, "unequal") as one, tracked(tracker, "unequal") as other:
        summary = collect(chain, path, replace(QUICK, cuts=0, server=Server(None, tracker, "unequal")))
    ((address, why),) = summary.left_out
    (used,) = summary.boards
    assert {address, used.address} == {one.address, other.address} and used.paces == {"cpu": 1.0, "gpu": 1.0}
    assert "the cpu takes 60.00 times as long for the reference kernel" in why and address in warnings.text
    assert {s.board for s in read_samples(path).samples} == {used.address}
    assert summary.measured == 2 <= used.measured  # copies are timed there, too


def test_the_only_board_dies_and_the_run_goes_on_later(chain, tmp_path, monkeypatch):
    path = str(tmp_path / "s.jsonl")
    process, address = start()
    with monkeypatch.context() as patch, ExitStack() as stack:
        stack.callback(kill_tree, process)
        at_kernel(patch, 3, lambda board: stack.close())
        with pytest.raises(CoExecError, match=rf"no board of '{address}' is left .* run the same command again"):
            collect(chain, path, replace(QUICK, server=Server(address)))
    assert len(read_samples(path).references) == 2
    with serving(port=int(address.split(":")[1])):
        summary = collect(chain, path, replace(QUICK, server=Server(address)))
    assert summary.measured + summary.found == KERNELS and len(read_samples(path).usable) == KERNELS
