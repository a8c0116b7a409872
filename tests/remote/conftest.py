"""A stock RPC server for the tests of a file, and sessions of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("tvm.relay")

import tvm

from tests.remote.servers import serving
from tvm_coexec import remote


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as found:
        yield found


@pytest.fixture
def session(address) -> Iterator[tvm.rpc.RPCSession]:
    """A session of the server, which takes one at a time; this package's runtime is loaded there."""
    opened = remote.connect(address, upload=True)
    yield opened
    remote.close(opened)
