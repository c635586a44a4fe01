"""Shares: floored, quantised to 2^30, drawn as they say."""

from __future__ import annotations

import math
import random

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from engine.decision import SHARE_UNIT
from engine.identity import customer_key, event_hash
from engine.kernels.shares import share_out
from engine.learning.best import best_of_betas
from engine.learning.shares import drawn, floored, quantised, uniform

WEIGHTS = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=12)


@given(WEIGHTS, st.floats(0, 0.5))
def test_floored_weights_are_probabilities(weights: list[float], floor: float) -> None:
    p = floored(weights, floor)
    live = [w > 0 for w in weights]
    assert [x > 0 for x in p] == live
    if any(live):
        assert math.isclose(math.fsum(p), 1.0, rel_tol=1e-9)
        bound = min(floor, 1 / sum(live))
        assert all(x >= bound * (1 - 1e-12) for x, alive in zip(p, live, strict=True) if alive)


@given(WEIGHTS)
def test_quantised_shares_sum_to_the_unit(weights: list[float]) -> None:
    shares = quantised(weights, range(len(weights)))
    if sum(weights) > 0:
        assert sum(shares) == SHARE_UNIT
        assert [s > 0 for s in shares] == [w > 0 for w in weights]
        total = math.fsum(weights)
        # a tiny weight is lifted to 1; apart from that nothing moves by more than a unit each
        assert all(abs(s - w / total * SHARE_UNIT) <= 1 + len(weights) for s, w in zip(shares, weights, strict=True))
    else:
        assert shares == [0] * len(weights)


@given(st.lists(st.floats(1e-300, 1e6), min_size=1, max_size=32), st.sampled_from([0.0, 0.01, 0.5]), st.randoms())
@example([1.0] * 7, 0.0, random.Random(1))
@example([1.0, 1e-300, 1e-300], 0.0, random.Random(1))
def test_the_kernel_gives_the_same_shares(weights: list[float], floor: float, chance: random.Random) -> None:
    k = len(weights)
    hashes = chance.sample(range(k), k)
    shares = np.empty(k, np.int64)
    share_out(np.array(weights), k, floor, np.array(hashes, np.float64), shares)
    assert shares.sum() == SHARE_UNIT
    wanted = quantised(floored(weights, floor), hashes)
    assert np.abs(shares - wanted).max() <= (1 if len(set(weights)) > 1 else 0)


def test_ties_are_broken_by_the_arms_hash_not_by_place() -> None:
    assert quantised([1, 1, 1], [1, 2, 3])[2] == quantised([1, 1, 1], [3, 1, 2])[0]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.data())
def test_drawn_is_the_inverse_of_the_cumulative_shares(weights: list[int], data: st.DataObject) -> None:
    shares = quantised(weights, range(len(weights)))
    u = data.draw(st.integers(0, SHARE_UNIT - 1))
    i = drawn(shares, u)
    assert sum(shares[:i]) <= u < sum(shares[: i + 1])


def test_uniforms_depend_on_who_and_what_alone() -> None:
    ana = customer_key("ana")
    one = uniform(b"salt", ana, event_hash("e1"), 0, 0)
    assert one == uniform(b"salt", ana, event_hash("e1"), 0, 0)
    others = {
        uniform(b"pepper", ana, event_hash("e1"), 0, 0),
        uniform(b"salt", customer_key("bo"), event_hash("e1"), 0, 0),
        uniform(b"salt", ana, event_hash("e2"), 0, 0),
        uniform(b"salt", ana, event_hash("e1"), 1, 0),
        uniform(b"salt", ana, event_hash("e1"), 0, 1),
    }
    assert one not in others
    assert len(others) == 5


def test_uniforms_are_uniform() -> None:
    key = customer_key("ana")
    u = np.array([uniform(b"s", key, e, 0, 0) for e in range(4000)]) / SHARE_UNIT
    counts = np.histogram(u, bins=20, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 45  # chi-square, 19 degrees of freedom: 0.999 quantile is 43.8


def exact_p_second_beats_first(a1: int, b1: int, a2: int, b2: int) -> float:
    """P(X2 > X1) for integer parameters (Evan Miller's closed form)."""

    def lbeta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    return math.fsum(
        math.exp(lbeta(a1 + i, b2 + b1) - math.log(b2 + i) - lbeta(1 + i, b2) - lbeta(a1, b1)) for i in range(a2)
    )


@given(*(st.integers(1, 400) for _ in range(4)))
def test_two_arms_against_the_closed_form(a1: int, b1: int, a2: int, b2: int) -> None:
    p = best_of_betas((float(a1), float(a2)), (float(b1), float(b2)))
    assert math.isclose(p[1], exact_p_second_beats_first(a1, b1, a2, b2), abs_tol=1e-3)
    assert math.isclose(sum(p), 1.0, rel_tol=1e-9)


def test_five_arms_against_sampling() -> None:
    a, b = (1.0, 3.0, 5.0, 20.0, 1.5), (9.0, 20.0, 50.0, 180.0, 3.0)
    rng = np.random.default_rng(7)
    draws = rng.beta(np.array(a), np.array(b), size=(200_000, 5)).argmax(axis=1)
    sampled = np.bincount(draws, minlength=5) / 200_000
    assert np.abs(sampled - best_of_betas(a, b)).max() < 0.006


def test_alike_arms_get_alike_shares() -> None:
    assert np.allclose(best_of_betas((1.0,) * 4, (1.0,) * 4), 0.25, atol=1e-9)
