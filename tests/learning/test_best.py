"""The probability to be the best, by kernels against their twin on fine grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.kernels import best as kernel
from engine.learning.best import best_of_normals
from tests.learning import best_twin as twin

ALPHA, BETA = st.floats(0.05, 3000), st.floats(0.5, 3000)  # as priors of small rates make them
VALUE = st.just(1.0) | st.sampled_from((1.0, 0.8, 3.0, 10.0))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-3, 1.0)), min_size=1, max_size=12), st.floats(-1e3, 1e3))
@example([(0.0, 1.0)] * 12, 0.0)
@example([(0.0, 1e-6), (1e-6, 1e-6), (0.1, 1.0), (0.0, 1.0)], 0.0)
def test_normal_arms(arms: list[tuple[float, float]], moved: float) -> None:
    means, deviations = zip(*arms, strict=True)
    out = best_of_normals(tuple(mean + moved for mean in means), deviations)
    assert sum(out) == pytest.approx(1.0)
    assert np.abs(np.array(out) - twin.best_of_normals(means, deviations)).max() < 1e-3


@pytest.mark.parametrize(
    ("means", "deviations", "wanted"),
    [
        ((1e6, 1e6, 0.0), (1e-12, 1e-12, 1.0), (0.5, 0.5, 0.0)),
        ((0.0, 0.0, 0.0), (1e-18, 1e-9, 1.0), (0.25, 0.25, 0.5)),
        ((0.0, 1.0, -1.0), (1e308, 1e308, 1e308), (1.0, 0.0, 0.0)),
        ((0.0, 1.0), (1e-310, 1e-310), (0.0, 1.0)),
    ],
)  # fmt: skip
def test_normal_arms_of_any_size_end_and_have_a_best(
    means: tuple[float, ...], deviations: tuple[float, ...], wanted: tuple[float, ...]
) -> None:
    out = best_of_normals(means, deviations)
    assert np.isfinite(out).all()
    assert out == pytest.approx(wanted, abs=1e-4)


def test_priors_of_hardly_any_weight_give_shares_all_the_same() -> None:
    out = np.empty(3)
    kernel.best_of_betas(np.array([0.001, 0.002, 1.0]), np.full(3, 2.0), np.array([1.0, 3.0, 0.8]), out)
    assert out.sum() == pytest.approx(1.0)
    assert out[2] > 0.8


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(ALPHA, BETA, st.sampled_from((1.0, 0.8, 3.0, 10.0)) | st.just(1.0)), min_size=1, max_size=10))
@example([(1.0, 1.0, 1.0)] * 4)
@example([(3.0, 9.0, 1.0), (20.0, 180.0, 3.0), (5.0, 50.0, 2.0)])
@example([(2.0, 0.3125, 1.0), (12.0, 1.0, 1.0)])
@example([(1.0, 1.0, 1.0)] * 4 + [(1.0, 0.25, 0.8)])
@example([(0.1, 1.9, 1.0), (0.1, 1.9, 1.0), (0.2, 3.0, 1.0)])
@example([(2000.0, 1.0, 1.0), (1.0, 2000.0, 1.0)])
@example([(1.0, 2.0, 1.0)] * 4 + [(147.0, 19.0, 1.0), (149.0, 19.0, 1.0), (1084.0, 2431.0, 3.0)])
def test_arms_of_rates(arms: list[tuple[float, float, float]]) -> None:
    a, b, values = zip(*arms, strict=True)
    out = np.empty(len(arms))
    kernel.best_of_betas(np.array(a), np.array(b), np.array(values), out)
    assert out.sum() == pytest.approx(1.0)
    assert (out >= 0.0).all()
    assert np.abs(out - twin.best_of_betas(a, b, values)).max() < (1e-2 if min(*a, *b) >= 1.0 else 4e-2)
