"""Regressions of the latency models."""

from __future__ import annotations

import numpy as np

from tvm_coexec.cost_models.models.regression import fit_non_negative


def test_a_law_is_found_and_terms_that_are_zero_have_no_coefficient():
    rng = np.random.default_rng(0)
    terms = rng.random((50, 4))
    terms[:, 2] = 0.0
    seconds = terms @ np.array([1.0, 0.0, 5.0, 3.0]) + 1e-9
    np.testing.assert_allclose(fit_non_negative(terms, seconds), [1.0, 0.0, 0.0, 3.0], atol=1e-3)


def test_no_term_has_a_value():
    for columns in (0, 3):
        assert fit_non_negative(np.zeros((5, columns)), np.ones(5)).tolist() == [0.0] * columns
