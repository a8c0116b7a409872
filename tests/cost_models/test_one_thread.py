"""Fits leave BLAS one thread, and give the caller's threads back."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.cost_models.kernels import many, seconds_of
from tests.cost_models.test_profile import samples
from tvm_coexec.cost_models import MODELS, fit_profile, refine_profile
from tvm_coexec.cost_models.models import regression


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def seen(monkeypatch):
    """The threads of BLAS in each factorisation, of a caller who has two."""
    found: list[set[int]] = []
    cholesky, lstsq = np.linalg.cholesky, np.linalg.lstsq

    def watch(function):
        def run(*args, **kwargs):
            found.append(threads())
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(regression.np.linalg, "cholesky", watch(cholesky))
    monkeypatch.setattr(regression.np.linalg, "lstsq", watch(lstsq))
    with threadpool_limits(2, "blas"):
        if threads() != {2}:
            pytest.skip("this BLAS has one thread at most")
        yield found
        assert threads() == {2}, "the caller's threads are back"
    assert found and set.union(*found) == {1}


def test_of_a_profile(seen):
    refine_profile(fit_profile(samples(5)), samples(5))


@pytest.mark.parametrize("name", ["analytic", "linear_flops"])
def test_of_a_model(name, seen):
    kernels = many()
    MODELS[name]().fit(kernels, seconds_of(kernels))
