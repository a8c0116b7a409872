"""`create` in every memory mode and with every way to wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executor import memory_checks
from tests.runtime import process

pytestmark = [pytest.mark.opencl, pytest.mark.slow]

CODE = """
from tests.executor import memory_checks
from tvm_coexec.opencl import runtime
mode, waiting = runtime.devices()[0].memory_mode, runtime.wait_method()["method"]
report({{"mode": mode, "waiting": waiting, "results": memory_checks.run_all({folder!r})}})
"""
# With several workers pocl takes every liberty that the order of commands leaves it.
WORKERS = {"POCL_MAX_PTHREAD_COUNT": "3", "POCL_AFFINITY": "0", "TVM_NUM_THREADS": "1"}
WAYS = {
    "fine, event": {"TVM_COEXEC_OPENCL_MEMORY": "fine", "TVM_COEXEC_OPENCL_WAIT": "event"},
    "fine, poll": {"TVM_COEXEC_OPENCL_MEMORY": "fine", "TVM_COEXEC_OPENCL_WAIT": "poll"},
    "fine, flag": {"TVM_COEXEC_OPENCL_MEMORY": "fine", "TVM_COEXEC_OPENCL_WAIT": "flag"},
    "coarse": {"TVM_COEXEC_OPENCL_MEMORY": "coarse"},
    "hostptr": {"TVM_COEXEC_OPENCL_MEMORY": "hostptr"},
    "buffer": {"TVM_COEXEC_OPENCL_MEMORY": "buffer"},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict]:
    folder: Path = tmp_path_factory.mktemp("exported")
    memory_checks.export_all(folder)
    known: dict[str, dict] = {}

    def of(way: str) -> dict:
        if way not in known:
            known[way] = {"results": "{}"}  # what hangs or crashes does so once
            known[way] = process.run(CODE.format(folder=str(folder)), **WAYS[way], **WORKERS)
        got = dict(known[way])
        return got | {"results": json.loads(got["results"])}

    return of


@pytest.mark.parametrize("check", memory_checks.CHECKS)
@pytest.mark.parametrize("way", WAYS)
def test_check_holds(results, way: str, check: str) -> None:
    got = results(way)
    assert got["mode"] == way.split(",")[0]
    assert "," not in way or got["waiting"] == way.split(", ")[1]
    assert "failed" not in got["results"][check], got["results"][check]["failed"]


@pytest.mark.parametrize("name", memory_checks.MODELS)
def test_what_is_copied(results, name: str) -> None:
    """Nothing where memory is shared; inputs where it has to be mapped; all that crosses where it is not shared."""
    fine, coarse, buffer = (
        results(way)["results"][f"equal_{name}"]["gave"] for way in ("fine, event", "coarse", "buffer")
    )
    assert fine["uploads"] == fine["downloads"] == 0 < fine["copies_elided"]
    assert coarse["downloads"] == 0 < coarse["copies_elided"]
    assert 0 < coarse["uploads"] <= buffer["uploads"]
    assert buffer["downloads"] > 0 == buffer["copies_elided"]
