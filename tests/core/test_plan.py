"""Plans as JSON: the same bytes back, every refusal in one sentence, files replaced as a whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tvm.relay")

from tvm_coexec.core.access import AccessMap, InputAccess
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, SplitAxis, Tensor
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.core.plan import Plan, Segment


def graph() -> KernelGraph:
    """Three convolutions in a row and a softmax that can't be divided."""
    t = Tensor((1, 16, 12, 12), "float32")
    kernels = []
    for i in range(3):
        axes = (
            SplitAxis("oc", 1, 16, 4, 4, (None,), True),
            SplitAxis("h", 2, 12, 1, 2, (InputAccess(2, ((AccessMap(1, -1, 1, 1, 12),),)),), False),
        )
        attrs, kinds = {"groups": 4}, (OpKind.CONV,)
        kernels.append(Kernel(i, "nn.conv2d", "nn.conv2d", attrs, (i - 1,), (t,), (t,), 9216, 1e6, axes, kinds=kinds))
    why, kinds = "it mixes everything", (OpKind.SOFTMAX,)
    kernels.append(Kernel(3, "nn.softmax", "nn.softmax", {}, (2,), (t,), (t,), reason=why, kinds=kinds))
    return KernelGraph(tuple(kernels), (("x", t),), (3,))


def plan(**changes) -> Plan:
    segments = (
        Segment("split", (0, 1), "h", 5, {"total": 0.001, "cpu": 0.0005}),
        Segment("gpu", (2,)),
        Segment("cpu", (3,)),
    )
    made = Plan(graph().fingerprint(), segments, "coexec", {"3": "it mixes everything"}, "measured here")
    return replace(made, **changes)


GOLDEN = """{
 "version": 1,
 "graph": "%s",
 "strategy": "coexec",
 "costs": "measured here",
 "notes": {"3": "it mixes everything"},
 "segments": [
  {"device": "split", "kernels": [0, 1], "axis": "h", "cut": 5, "expected_s": {"cpu": 0.0005, "total": 0.001}},
  {"device": "gpu", "kernels": [2]},
  {"device": "cpu", "kernels": [3]}
 ]
}
"""


def test_text():
    assert plan().to_json() == GOLDEN % graph().fingerprint()


def test_a_good_plan_passes():
    plan().check(graph())


segment = st.builds(
    Segment,
    device=st.sampled_from(["cpu", "gpu", "split"]),
    kernels=st.lists(st.integers(0, 999), min_size=1, max_size=4, unique=True).map(lambda k: tuple(sorted(k))),
    axis=st.sampled_from(["oc", "h", "m"]),
    cut=st.integers(0, 4096),
    expected_s=st.dictionaries(st.sampled_from(["cpu", "gpu", "total"]), st.floats(0, 1e3), max_size=3),
)


@pytest.mark.slow
@given(st.lists(segment, max_size=5), st.text(), st.dictionaries(st.text(), st.text(), max_size=3), st.text())
@settings(deadline=None, derandomize=True, database=None)
def test_round_trip(segments, strategy, notes, costs):
    text = Plan("0123456789abcdef", tuple(segments), strategy, notes, costs).to_json()
    assert json.loads(text)["version"] == 1
    again = Plan.from_json(text)
    assert again.to_json() == text
    assert Plan.from_json(again.to_json()) == again


def test_what_a_person_may_leave_out():
    made = Plan.from_json('{"version": 1, "graph": "abc", "segments": [{"device": "cpu", "kernels": [0]}]}')
    assert made == Plan("abc", (Segment("cpu", (0,)),), "file")


@pytest.mark.parametrize(
    "text,says",
    [
        ("", "here.json is not JSON (line 1: Expecting value); give a plan that --coexec-dump-plan wrote"),
        ('{\n "version": 1,\n oops', "here.json is not JSON (line 3: "),
        ("[]", "here.json is not a co-execution plan: it has no 'segments' and 'version'"),
        ('{"version": 1}', "here.json is not a co-execution plan: it has no 'segments' and 'version'"),
        (
            '{"version": 7, "segments": []}',
            "here.json has plan version 7; this release reads version 1: plan again",
        ),
        ('{"version": "1", "segments": []}', "here.json has plan version '1'; this release reads version 1"),
        (
            '{"version": 1, "graph": "a", "segments": [], "segmentz": []}',
            "here.json is damaged: it has the unknown key 'segmentz' (allowed: version, graph, strategy, ",
        ),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "gpu", "kernels": [0], "axis": "h"}]}',
            "segment 0 is on the gpu, so its 'axis' would have no effect; leave it out, or set the device to split",
        ),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "cpu", "kernels": [0], "cut": 4}]}',
            "segment 0 is on the cpu, so its 'cut' would have no effect",
        ),
        ('{"version": 1, "segments": []}', "here.json is damaged: missing or invalid 'graph'"),
        ('{"version": 1, "graph": "a", "segments": [{"kernels": [0]}]}', "missing or invalid 'device'"),
        ('{"version": 1, "graph": "a", "segments": [{"device": "cpu"}]}', "missing or invalid 'kernels'"),
        ('{"version": 1, "graph": "a", "segments": [{"device": "cpu", "kernels": 3}]}', "here.json is damaged"),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "cpu", "kernels": ["x"]}]}',
            "segment 0 has a missing or invalid 'kernels'",
        ),
        ('{"version": 1, "graph": "a", "segments": ["cpu"]}', "here.json is damaged: segment 0 is not an object"),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "cpu", "kernels": [0.5]}]}',
            "segment 0 has a missing or invalid 'kernels'",
        ),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "split", "kernels": [0], "axis": "h", "cut": 4.5}]}',
            "segment 0 has a missing or invalid 'cut'",
        ),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "split", "kernels": [0], "axis": "h"}]}',
            "segment 0 has a missing or invalid 'cut'",
        ),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "cpu", "kernels": [0], "Cut": 4}]}',
            "segment 0 has the unknown key 'Cut' (allowed: device, kernels, axis, cut, expected_s)",
        ),
        ('{"version": 1, "graph": "a", "segments": 5}', "here.json is damaged: 'segments' is not a list; plan again"),
        ('{"version": 1, "graph": "a", "segments": [], "notes": []}', "here.json is damaged: 'notes' is not an object"),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "split", "kernels": [0], "cut": "half"}]}',
            "here.json is damaged",
        ),
        (
            '{"version": 1, "graph": "a", "segments": [{"device": "cpu", "kernels": [], "expected_s": {"cpu": "?"}}]}',
            "here.json is damaged",
        ),
    ],
)
def test_text_that_is_no_plan(text, says):
    with pytest.raises(CoExecError) as caught:
        Plan.from_json(text, "here.json")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).count("here.json") == 1


@pytest.mark.parametrize(
    "changes,says",
    [
        (
            {"graph": "feedfacefeedface"},
            "another model or other shapes, or at another opt_level (`coexec plan` takes 3); it names graph feedface",
        ),
        (
            {"segments": (Segment("npu", (0, 1, 2, 3)),)},
            "segment 0 of the plan names device 'npu'; use cpu, gpu or split",
        ),
        ({"segments": (Segment("cpu", ()),)}, "segment 0 of the plan must list kernels once each, in ascending order"),
        ({"segments": (Segment("cpu", (1, 0)),)}, "must list kernels once each, in ascending order"),
        ({"segments": (Segment("cpu", (0, 0)),)}, "must list kernels once each, in ascending order"),
        (
            {"segments": (Segment("cpu", (0, 9)),)},
            "segment 0 of the plan lists kernel 9; the model's are 0 to 3",
        ),
        (
            {"segments": (Segment("cpu", (0,)), Segment("gpu", (0, 1)))},
            "segment 1 of the plan lists kernel 0, which an earlier segment has",
        ),
        (
            {"segments": (Segment("cpu", (1, 2, 3)), Segment("cpu", (0,)))},
            "segment 0 of the plan runs kernel 1 before kernel 0, which it reads",
        ),
        (
            {"segments": (Segment("cpu", (0, 1)),)},
            "the plan has no segment for kernels [2, 3]: put every kernel into a segment",
        ),
        (
            {"segments": (Segment("split", (0,), "w", 4), Segment("cpu", (1, 2, 3)))},
            "segment 0 of the plan can't be split: kernel 0 (nn.conv2d) has no axis 'w' (available: oc, h",
        ),
        (
            {"segments": (Segment("split", (0,), "oc", 6), Segment("cpu", (1, 2, 3)))},
            "0 of the plan can't be split: cut 6 of kernel 0 (nn.conv2d) must be a multiple of 4 between 0 and 16",
        ),
        (
            {"segments": (Segment("split", (0,), "h", 13), Segment("cpu", (1, 2, 3)))},
            "cut 13 of kernel 0 (nn.conv2d) must be a multiple of 1 between 0 and 12",
        ),
        (
            {"segments": (Segment("split", (0, 1), "oc", 4), Segment("cpu", (2, 3)))},
            "can't be split: kernel 1 (nn.conv2d) needs all of kernel 0, which the chain would split",
        ),
        (
            {"segments": (Segment("cpu", (0, 1, 2)), Segment("split", (3,), "h", 4))},
            "kernel 3 (nn.softmax) can't be split: it mixes everything",
        ),
    ],
)
def test_plan_that_does_not_fit(changes, says):
    with pytest.raises(CoExecError) as caught:
        plan(**changes).check(graph())
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_save_and_load(tmp_path):
    path = str(tmp_path / "plan.json")
    plan().save(path)
    assert Plan.load(path) == plan()
    assert Path(path).read_text(encoding="utf-8") == plan().to_json()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~umask


def test_save_replaces_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    plan().save(str(path))
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CoExecError, match=r"can't write .*plan\.json: No space left on device"):
        plan(strategy="codl").save(str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["plan.json"]


def test_unwritable_and_unreadable_places(tmp_path):
    with pytest.raises(CoExecError, match=r"can't write .*nowhere.*: No such file or directory; choose another path"):
        plan().save(str(tmp_path / "nowhere" / "plan.json"))
    with pytest.raises(CoExecError, match=r"can't read plan .*none\.json: No such file or directory"):
        Plan.load(str(tmp_path / "none.json"))
    with pytest.raises(CoExecError, match=r"can't read plan .*: Is a directory"):
        Plan.load(str(tmp_path))
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00plan")
    with pytest.raises(CoExecError, match=r"can't read plan .*binary\.json"):
        Plan.load(str(binary))
    (tmp_path / "cut.json").write_text(plan().to_json()[:150], encoding="utf-8")
    with pytest.raises(CoExecError, match=r"cut\.json is not JSON"):
        Plan.load(str(tmp_path / "cut.json"))
