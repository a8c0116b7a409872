"""Numbers as characters."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cost_models.kernels import many, seconds_of
from tvm_coexec.cost_models import AnalyticModel
from tvm_coexec.cost_models.features.terms import all_terms
from tvm_coexec.cost_models.features.workload import KINDS
from tvm_coexec.cost_models.models.analytic import ClassModel
from tvm_coexec.cost_models.models.packed import (
    ALPHABET,
    BASE,
    index_width,
    pack_digits,
    pack_index,
    pack_number,
    round_packed,
    unpack_digits,
    unpack_index,
    unpack_number,
)


def test_json_takes_one_byte_for_each_character():
    assert len(set(ALPHABET)) == BASE and len(json.dumps(ALPHABET)) == BASE + 2


def test_digits():
    assert unpack_digits(pack_digits(range(BASE))) == list(range(BASE))
    with pytest.raises(ValueError, match="unknown character"):
        unpack_digits("a b")


def test_numbers_of_seconds_are_rounded_once():
    values = np.concatenate([10.0 ** np.linspace(-17, 1.9, 400), [0.0, 1e-30, np.nan]])
    rounded = np.array(round_packed(values))
    np.testing.assert_allclose(rounded[:400], values[:400], rtol=3e-3)
    assert (rounded[400:] == 0).all()
    assert round_packed(rounded) == rounded.tolist()
    assert [unpack_number(pack_number(v)) for v in rounded] == rounded.tolist()


@pytest.mark.parametrize("count", [1, BASE, BASE + 1, 500])
def test_indices(count):
    texts = [pack_index(i, count) for i in range(count)]
    assert {len(t) for t in texts} == {index_width(count)} and [unpack_index(t) for t in texts] == list(range(count))


def test_a_model_may_have_more_terms_than_there_are_characters():
    model = AnalyticModel().fit(many(), seconds_of(many()))
    model.classes_ = {f"{kind}/x": ClassModel(kind, dict.fromkeys(all_terms(kind), 1e-12), None, 9) for kind in KINDS}
    for c in model.classes_.values():
        c.terms = dict(zip(c.terms, model.round_coefficients(np.array(list(c.terms.values()))), strict=True))
    assert len({name for c in model.classes_.values() for name in c.terms}) > BASE
    again = AnalyticModel.from_state(json.loads(json.dumps(model.state())))
    assert {k: c.terms for k, c in again.classes_.items()} == {k: c.terms for k, c in model.classes_.items()}
