"""Hooks are chosen by an environment variable, and importing the package installs no other ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tvm_coexec import CoExecError, hooks

pytestmark = pytest.mark.llvm

# What each hook leaves in TVM.
STATE = """
import json, sys, tvm
from tvm.autotvm import tophub
from tvm.autotvm.measure import measure_methods
from tvm.contrib.popen_pool import PopenWorker
from tvm.relay.backend import te_compiler
before = tophub.download_package
stock_opencl = tvm.get_global_func("device_api.opencl", allow_missing=True) is not None
stock_vulkan = tvm.get_global_func("device_api.vulkan", allow_missing=True) is not None
import tvm_coexec
from tvm import relay
from tvm_coexec.opencl import runtime, schedules
print(json.dumps({
    "opencl": tvm.get_global_func("tvm_coexec.opencl.stats", allow_missing=True) is not None or stock_opencl,
    "stock": {"opencl": stock_opencl, "vulkan": stock_vulkan},
    "vulkan": tvm.get_global_func("target.build.vulkan", allow_missing=True) is not None or stock_vulkan,
    "tophub": tophub.download_package is not before,
    "schedules": schedules.installed(),
    "records": schedules.dispatch.SharesContext.serve_records is not None,
    "postprocess": tvm.get_global_func("tvm_callback_opencl_postproc", allow_missing=True) is not None,
    "dense": "dense_pack.x86" in schedules.dispatch.CPU_TEMPLATES,
    "functions": "tvm_coexec.llvm.functions" in sys.modules,
    "build_info": hasattr(te_compiler.libinfo, "cache_info"),
    "relations": "tvm_coexec" in tvm.ir.Op.get("nn.conv2d").op_type.type_constraints[0].func.name,
    "workers": PopenWorker._start.__module__ == "tvm_coexec.hooks.workers",
    "runners": hasattr(measure_methods.run_through_rpc, "__wrapped__"),
    "pass": hasattr(relay.transform, "CoExecPartition"),
    "why": runtime.why_unavailable(),
}))
"""


def state(value: str | None) -> dict:
    env = {k: v for k, v in os.environ.items() if k != hooks.VARIABLE}
    if value is not None:
        env[hooks.VARIABLE] = value
    done = subprocess.run([sys.executable, "-c", STATE], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, "none", "tophub,schedules,workers"])
def test_which_hooks_are_installed(value):
    found = state(value)
    wanted = {None: set(hooks.HOOKS), "none": set()}.get(value, set(str(value).split(",")))
    wanted |= {name for name in ("opencl", "vulkan") if found[name] and found["stock"][name]}  # of the TVM's own
    assert {name for name in hooks.HOOKS if found[name]} == wanted
    assert found["pass"]
    assert "opencl" in wanted or f"switched off by {hooks.VARIABLE}" in found["why"]


def test_unknown_name():
    with pytest.raises(CoExecError, match="unknown hook 'tophubs'; use all, none or some of opencl"):
        hooks.install("opencl,tophubs")
