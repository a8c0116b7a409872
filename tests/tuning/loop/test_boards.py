"""Boards of a key: they measure in parallel, one that ends is left out; what is said if there are none."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import psutil
import pytest

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]

pytest.importorskip("tvm.relay")

from tests.remote.servers import kill_tree, serving, tracked  # noqa: E402
from tests.tuning import made  # noqa: E402
from tests.tvmc.test_remote import tracker  # noqa: E402, F401 - a fixture
from tvm_coexec import CoExecError  # noqa: E402
from tvm_coexec.remote import Server  # noqa: E402
from tvm_coexec.tuning.loop import boards as module  # noqa: E402
from tvm_coexec.tuning.loop import hanging  # noqa: E402
from tvm_coexec.tuning.loop.boards import Boards, wait_for_board  # noqa: E402
from tvm_coexec.tuning.loop.options import check_tune_options  # noqa: E402

OPTIONS = check_tune_options({"number": 1, "repeat": 1, "min_repeat_ms": 0, "timeout": 30})


def test_a_board_that_ends_is_left_out(tracker, caplog, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "FREE_S", 1.0)
    task = made.task_of(made.conv2d("conv2d_nchw.cuda", (1, 8, 14, 14), (8, 8, 3, 3), 1, (1,) * 4))
    configs = [m.config for m, _ in made.make_records([task], 5).pairs]
    with tracked(tracker, "farm") as first, tracked(tracker, "farm") as second:
        boards = Boards(OPTIONS, Server(tracker=tracker, key="farm"))
        assert boards.start() == 2
        at_once, running, lock = [0], [0], threading.Lock()
        runner_run = module.autotvm.RPCRunner.run

        def run(runner, *arguments):
            with lock:
                running[0] += 1
                at_once[0] = max(at_once[0], running[0])
            try:
                return runner_run(runner, *arguments)
            finally:
                with lock:
                    running[0] -= 1

        monkeypatch.setattr(module.autotvm.RPCRunner, "run", run)
        found: dict[int, object] = {}

        def save(number, result):
            found[number] = result
            if len(found) == 2:
                kill_tree(second)

        boards.measure(task, configs, save)
        assert at_once[0] == 2, "both boards measure"
        assert {n: r.error_no for n, r in found.items()} == dict.fromkeys(range(5), 0), "no trial is lost"
        kill_tree(first)
        with pytest.raises(
            CoExecError, match=r"no board 'farm' is left .* --key farm`, and run the same command again"
        ):
            boards.measure(task, configs, lambda *_: None)
        boards.close()


def stop_sessions(server, stop: threading.Event) -> threading.Thread:
    """Suspend every process in which a server serves a session: it hangs, and its server goes on."""

    def watch() -> None:
        while not stop.wait(0.01):
            with contextlib.suppress(psutil.Error):
                for listener in psutil.Process(server.pid).children():
                    for session in listener.children():
                        session.suspend()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_board_that_hangs_is_left_out(tracker, caplog, monkeypatch):  # noqa: F811
    """Its candidates are measured again, on the other board."""
    monkeypatch.setattr(hanging, "MOST", 2)
    monkeypatch.setattr(logging.getLogger("tvm_coexec"), "propagate", True)
    options = check_tune_options({"number": 1, "repeat": 1, "min_repeat_ms": 0, "timeout": 4})
    task = made.task_of(made.conv2d("conv2d_nchw.cuda", (1, 8, 14, 14), (8, 8, 3, 3), 1, (1,) * 4))
    configs = [m.config for m, _ in made.make_records([task], 20).pairs]
    # So many that the other board does not end all others before this one has had two.
    stop = threading.Event()
    with tracked(tracker, "some"), tracked(tracker, "some") as second:
        boards = Boards(options, Server(tracker=tracker, key="some"))
        assert boards.start() == 2
        found: dict[int, int] = {}
        boards.measure(task, configs[:2], lambda number, result: found.update({number: result.error_no}))
        assert found == {0: 0, 1: 0}
        found.clear()
        thread = stop_sessions(second, stop)
        with caplog.at_level(logging.WARNING, "tvm_coexec"):
            boards.measure(task, configs, lambda number, result: found.update({number: result.error_no}))
        assert found == dict.fromkeys(range(20), 0), "no trial is lost"
        assert "is left out: 2 candidates in a row did not end within 4 s" in caplog.text
        assert boards.count() == 1
        start = time.monotonic()
        found.clear()
        boards.measure(task, configs[:3], lambda number, result: found.update({number: result.error_no}))
        assert found == dict.fromkeys(range(3), 0) and time.monotonic() - start < 12, "it is not asked again"
        stop.set()
        thread.join()
        boards.close()


def test_no_board_and_no_free_one(tracker):  # noqa: F811
    with pytest.raises(
        CoExecError, match=r"has no board 'none' \(it has: .*\): start one with `python -m tvm.exec.rpc_"
    ):
        wait_for_board(tracker, "none", 0)
    server = Server(tracker=tracker, key="one")
    with tracked(tracker, "one"):
        wait_for_board(tracker, "one", 0)
        session = server.connect()
        with pytest.raises(
            CoExecError, match=r"has no free board 'one': wait .*query_rpc_tracker --host 127.0.0.1 --port"
        ):
            wait_for_board(tracker, "one", 0)
        del session
    with pytest.raises(CoExecError, match=r"tuning measures through a tracker, and 127\.0\.0\.1:1 is an RPC server"):
        Boards(OPTIONS, Server("127.0.0.1:1")).start()
    with serving() as address, pytest.raises(CoExecError, match=f"^{address} does not answer as a tracker"):
        Boards(OPTIONS, Server(tracker=address, key="one")).start()
