"""The session of an RPC server that ``tvmc run`` opens."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection

import tvm

from tvm_coexec import remote
from tvm_coexec.tracing.load import check_archive, make_factory_there, read_weights


class Sessions:
    """Notes the session that TVM opens, and loads this package's runtime there.

    Parameters
    ----------
    path : str
        The archive that is to run.
    kinds : collection of str
        Which of `remote.KINDS` the module runs on: if any, it needs the runtime.
    """

    def __init__(self, path: str, kinds: Collection[str]):
        self.path, self.kinds = path, kinds
        self.session: tvm.rpc.RPCSession | None = None

    def opens(self, stock: Callable[..., tvm.rpc.RPCSession]) -> Callable[..., tvm.rpc.RPCSession]:
        """Wrap a function that opens a session."""

        def open_session(*args: object, **kwargs: object) -> tvm.rpc.RPCSession:
            self.session = stock(*args, **kwargs)
            if self.kinds:
                remote.load_runtime(self.session)
            check_archive(self.path, self.session)
            return self.session

        return open_session

    def records(self) -> bool:
        """Whether runs can be recorded on the server."""
        assert self.session is not None
        needed = ("tvm_coexec.executor_factory", "tvm_coexec.record_runs")
        return any(remote.serves_own(self.session, kind) for kind in self.kinds) and all(
            remote.find_function(self.session, name) is not None for name in needed
        )

    def make_factory(self, graph_json: str, library: object) -> tvm.runtime.Module | None:
        """Return an executor factory on the server; `None` if the server lacks this package's runtime."""
        assert self.session is not None
        if remote.find_function(self.session, "tvm_coexec.executor_factory") is None:
            return None
        with tarfile.open(self.path) as archive:
            weights = read_weights(self.path, archive)
        return make_factory_there(library, graph_json, weights, self.session)
