"""The same model gives the same graph, plan and module text, byte for byte, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tvm.relay")

pytestmark = [pytest.mark.llvm, pytest.mark.slow]

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import tvm
from tvm import relay
from ir_text import ir_text
from tvm_coexec import planner
from tvm_coexec.relay_passes.outline import OutlineSegments
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.split import SplitChains

rng = np.random.default_rng(0)
def conv(x, c, o, k=3, **attrs):
    w = relay.const(rng.standard_normal((o, c, k, k)).astype("float32"))
    return relay.nn.relu(relay.nn.conv2d(x, w, padding=(k // 2, k // 2), **attrs))

x = relay.var("x", shape=(1, 8, 24, 24))
y = conv(x, 8, 16)
for _ in range(3):
    branches = [conv(y, 16, 16, k) for k in (1, 3, 5)] + [relay.nn.max_pool2d(y, (3, 3), padding=(1, 1))]
    y = relay.nn.relu(conv(relay.concatenate(branches, axis=1), 64, 16) + y)
out = relay.nn.softmax(relay.nn.batch_flatten(relay.nn.global_avg_pool2d(y)))
mod = Prepare()(tvm.IRModule.from_expr(relay.Function([x], relay.Tuple([out, y]))))
graph = extract(mod)
print(graph.to_json())
for axis in ("h", "oc"):
    plan = planner.make_plan(graph, axis=axis, ratio=0.5)
    print(plan.to_json())
    annotated = OutlineSegments(plan)(mod)
    print(ir_text(annotated), ir_text(SplitChains()(annotated)))
"""


def output(hash_seed: str) -> bytes:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    here = str(Path(__file__).parent / "relay_passes")
    done = subprocess.run([sys.executable, "-c", SCRIPT, here], env=env, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def test_same_bytes_in_every_process():
    first = output("0")
    assert b'"segments"' in first and b"@coexec_" in first
    assert output("1") == first
    assert output("4242") == first
