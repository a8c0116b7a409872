"""The last of the folder: no rule without a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm

from tvm_coexec.relay_passes.rules import RULES, Rule

# What TVM writes itself, later than where rules are tried on their own.
WITHIN_OTHERS = {"fast_erf", "fast_exp", "fast_tanh"}


def test_every_rule_was_tried(splits, request):
    files = {Path(str(item.fspath)).name for item in request.session.items}
    whole = {p.name for p in Path(__file__).parent.glob("test_*.py")}
    if not whole <= files:
        pytest.skip("needs the whole folder")
    divides = {name for name, rule in RULES.items() if type(rule).splits is not Rule.splits}
    assert sorted(divides - splits.tried) == []


def test_every_rule_is_for_an_operator_of_tvm():
    assert set(RULES) <= set(tvm.ir.Op.list_op_names())
