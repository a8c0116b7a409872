"""Names are read back as they were written."""

from __future__ import annotations

import pytest

from tvm_coexec.core import naming
from tvm_coexec.core.naming import Binding, binding_name, function_name, parse_binding


@pytest.mark.parametrize("number", ["", "_7"])
@pytest.mark.parametrize("part", ["cpu", "gpu", "join"])
@pytest.mark.parametrize(
    ("role", "of_source"),
    [
        (naming.SLICE, False),
        (naming.UPLOAD, False),
        (naming.DOWNLOAD, True),
        (naming.JOIN, True),
        (naming.FIELD, True),
    ],
)
def test_what_is_bound_for_a_function(number, part, role, of_source):
    name = binding_name(function_name(12, part), role) + number
    assert parse_binding(name) == Binding(12, role, of_source)
    assert parse_binding(binding_name(naming.RESULT, role) + number) == Binding(None, role, of_source)


def test_functions_themselves():
    assert parse_binding(function_name(3, "gpu")) == Binding(3, naming.WORK, False)
    assert parse_binding(function_name(3, "join")) == Binding(3, naming.JOIN, False)
    assert parse_binding(function_name(3, "join") + "_1") == Binding(3, naming.JOIN, False)


@pytest.mark.parametrize("name", ["x", "coexec", "coexec_gpu", "a_joined", "in_0", ""])
def test_other_names_are_work(name):
    assert parse_binding(name) == Binding(None, naming.WORK, False)
