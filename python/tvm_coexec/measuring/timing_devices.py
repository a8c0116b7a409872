"""The devices of the timing process, local or of an RPC server, and what is loaded on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tvm
from tvm.contrib import graph_executor

from tvm_coexec import gpu_runtimes, remote, testbed
from tvm_coexec.core.errors import CoExecError

from . import host_info
from .compile import Built
from .device_parameters import find_cpu_parameters, find_gpu_parameters
from .executors import create_module
from .protocol import Setting

# Longest time to wait until a server of a tracker's key is free; one whose session has ended is, at once.
FREE_S = 20.0


class TimingDevices:
    """The CPU and the GPU of a `Setting`.

    Attributes
    ----------
    setting : Setting
    session : RPCSession or None
        With the RPC server, if there is one; opened when a device is first asked for.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.session: tvm.rpc.RPCSession | None = None

    def get(self, which: str) -> tvm.runtime.Device:
        """Return the device that is called ``cpu`` or ``gpu``."""
        kind = 1 if which == "cpu" else self.setting.gpu_type
        if self.setting.server is None:
            return tvm.runtime.Device(kind, 0)
        if self.session is None:
            self.session = self.setting.server.connect(FREE_S)
        return self.session.device(tvm.runtime.Device.MASK2STR[kind], 0)

    def load(self, built: Built) -> tuple[graph_executor.GraphModule, tvm.runtime.Device]:
        """Create an executor of a library and run it once; return it with its device."""
        return self.create(built.graph, built.device, self.load_library(built.path))

    def create(
        self,
        graph: str,
        which: str,
        lib: tvm.runtime.Module,
        copies: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> tuple[graph_executor.GraphModule, tvm.runtime.Device]:
        """Create an executor and run it once; see `create_module`."""
        both = which == "both"
        device = self.get("gpu" if both else which)
        module = create_module(graph, lib, [self.get("cpu"), device] if both else device, copies)
        module.run()
        device.sync()
        self.pin_again()
        return module, device

    def pin_again(self) -> None:
        """Pin the main thread, if the setting says so; TVM has pinned it when its first parallel loop ran."""
        if self.setting.bed is not None:
            testbed.pin_main_thread(self.setting.bed)

    def load_library(self, path: str) -> tvm.runtime.Module:
        """Load a library on the machine of the devices."""
        if self.session is None:
            return tvm.runtime.load_module(path)
        name = os.path.basename(path)
        self.session.upload(path)
        lib = self.session.load_module(name)
        self.session.remove(name)  # otherwise thousands would accumulate
        return lib

    def find_names(self) -> dict[str, dict[str, str]]:
        """Return names of the devices, and threads of the CPU; `CoExecError` if there is no such GPU."""
        gpu = self.get("gpu")
        if not gpu.exist:
            name = tvm.runtime.Device.MASK2STR.get(self.setting.gpu_type, str(self.setting.gpu_type))
            why = "none was found"
            if self.setting.server:
                why = f"on the RPC server {self.setting.server}: {self._why_not_there(name)}"
            else:
                why = gpu_runtimes.why_unavailable(name) or why
            raise CoExecError(f"no {name} device: {why}")
        server = self.setting.server
        cpu = {"name": f"rpc:{server}" if server else host_info.cpu_name()}
        threads = "all" if server else host_info.cpu_threads()
        return {"cpu": {**cpu, "threads": threads}, "gpu": {"name": str(gpu.device_name or gpu.device_type)}}

    def find_parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of the devices, as JSON values; of an RPC server's CPU nothing is known."""
        cpu = None if self.setting.server else find_cpu_parameters()
        gpu = find_gpu_parameters(self.get("gpu"), cpu)
        return {"cpu": cpu.to_json(), "gpu": gpu.to_json()} if cpu else {"gpu": gpu.to_json()}

    def _why_not_there(self, name: str) -> str:
        assert self.session is not None
        return remote.why_unavailable(self.session, name) or "none was found"
