"""Trees on the residuals of terms: what they find, and how they are stored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cost_models.kernels import conv, many
from tvm_coexec.cost_models.features.questions import QUESTIONS
from tvm_coexec.cost_models.features.terms import Parts
from tvm_coexec.cost_models.features.workload import KINDS, group_by_class, stack
from tvm_coexec.cost_models.models.packed import BASE
from tvm_coexec.cost_models.models.residual_trees import LIMIT, ResidualTrees, fit_residual_trees

# Sizes that tell a threshold from a remainder.
KERNELS = many() + [conv(ic, oc, size) for ic in (8, 24) for oc in (16, 40) for size in (8, 9, 12, 15, 22, 24, 30, 60)]


def residuals_of(kernels, of) -> list:
    """Groups of classes with their residuals."""
    return [(w, np.array([of(kernels[i]) for i in where])) for w, where in group_by_class(kernels)[0]]


def jump(w) -> float:
    """A library with another kernel beyond 30 channels, and a cost of small maps in one class only."""
    return 0.3 * (w.oc > 30) - 0.2 + (0.25 * (w.ow < 20) if w.kind == "conv" else 0.0)


@pytest.fixture(scope="module")
def trees() -> ResidualTrees:
    found = fit_residual_trees(residuals_of(KERNELS, jump))
    assert found is not None
    return found


def test_jumps_are_found_and_hold_for_other_shapes(trees):
    for w, target in residuals_of(KERNELS, jump):
        np.testing.assert_allclose(np.log(trees.factor(w)), target, atol=0.04)
    others = [conv(ic, oc, size) for ic in (10, 30) for oc in (20, 48) for size in (8, 15, 24, 30)]
    errors = [abs(np.log(trees.factor(w)) - jump(w)) for w in others]
    assert np.median(errors) < 0.05 and max(errors) < 0.3


def test_one_kernel_and_many_are_the_same(trees):
    for w, _ in residuals_of(KERNELS, jump):
        one_by_one = [trees.factor(k) for k in KERNELS if k.key == w.key]
        np.testing.assert_allclose(one_by_one, trees.factor(w), rtol=1e-14)


def test_every_question_is_the_same_for_numbers_and_arrays():
    for kind in KINDS:
        ws = [conv(24, 40, 13, 3, kind=kind), conv(7, 5, 28, 1, kind=kind), conv(1, 1, 1, 1, kind=kind)]
        together = Parts(stack(ws))
        for name, ask in QUESTIONS.items():
            found = np.broadcast_to(np.asarray(ask(together), float), (3,))
            assert found.tolist() == [float(ask(Parts(w))) for w in ws], name


def test_an_empty_share_has_finite_answers():
    empty = conv(8, 0, 0, 3)
    assert all(np.isfinite(float(ask(Parts(empty)))) for ask in QUESTIONS.values())


@pytest.mark.slow
def test_noise_needs_no_trees():
    found = []
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal(len(KERNELS))
        groups = [(w, 0.1 * noise[where]) for w, where in group_by_class(KERNELS)[0]]
        trees = fit_residual_trees(groups)
        found.append(0.0 if trees is None else np.mean([np.abs(np.log(trees.factor(w))).mean() for w, _ in groups]))
    assert np.median(found) == 0.0 and max(found) < 0.04
    assert fit_residual_trees(residuals_of(KERNELS[:10], jump)) is None  # too few samples to tell
    assert fit_residual_trees(residuals_of([conv()] * 40, jump)) is None  # nothing to ask


def test_bounded_even_if_residuals_are_not():
    found = fit_residual_trees(residuals_of(KERNELS, lambda w: 30.0 * jump(w)))
    assert found is not None
    for k in (conv(1, 1, 1, 1), conv(10**5, 10**5, 10**4, 9), *KERNELS):
        assert abs(np.log(found.factor(k))) <= LIMIT + 1e-9


def test_file_is_exact_and_small(trees):
    text = json.dumps(trees.to_json(), separators=(",", ":"))
    again = ResidualTrees.from_json(json.loads(text))
    assert again.to_json() == trees.to_json() and len(trees.questions) <= BASE
    assert len(text) < 20 * len(trees.nodes) + 12 * len(trees.questions) + 100
    for w, _ in residuals_of(KERNELS, jump):
        assert (again.factor(w) == trees.factor(w)).all()


def test_the_first_trees_keep_the_questions_that_they_ask(trees):
    few = trees.first(3)
    assert few is not None and len(few.nodes) == 3 and len(few.questions) <= 12
    assert trees.first(len(trees.nodes)).to_json() == trees.to_json() and trees.first(0) is None
    np.testing.assert_array_equal(few.leaves, trees.leaves[:3])
    asked = [[trees.questions[q] for q in tree] for tree in trees.nodes[:3]]
    assert [[few.questions[q] for q in tree] for tree in few.nodes] == asked


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": ""},
        {"nodes": "!" * 19},
        {"nodes": "é" * 20},
        {"nodes": "~" * 20},  # a question that there is not
        {"unit": 0.0},
        {"unit": "much"},
        {"questions": {"colour": [1]}},
        {"questions": {"oc": ["many"]}},
    ],
)
def test_damaged(change):
    good = {"questions": {"oc": [30]}, "unit": 0.001, "nodes": "!" * 20}
    assert ResidualTrees.from_json(good).factor(conv()) > 0
    with pytest.raises((ValueError, TypeError)):
        ResidualTrees.from_json({**good, **change})
