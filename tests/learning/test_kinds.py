"""What each kind of policy makes of what was seen, against sampling, brute force and hand-made cases."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.model import Learning, Policy, Position
from engine.decision import SHARE_UNIT
from engine.learning.best import best_of_betas, best_of_normals
from engine.learning.kinds import KINDS, Belief, Seen, belief, kl_bound
from engine.learning.linear import REWARD_UNIT
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, ArmState, Posteriors, kept

HERE = Position("x.yaml", 1, 1)
PLAIN = Learning()
GOOD, FAIR, NEW = Seen(100, 30, 30), Seen(100, 20, 20), Seen()


def policy(kind: str = "thompson", floor: float = 0.0, **learning: object) -> Policy:
    return Policy(
        "p", kind, {"replied": 1.0}, 100, floor, None, (), {}, False, False, "drop", HERE,
        Learning(**learning),  # type: ignore[arg-type]
    )  # fmt: skip


def weights(kind: str, *seen: Seen, values: tuple[float, ...] = (), **learning: object) -> list[float]:
    made = Learning(**learning)  # type: ignore[arg-type]
    return list(KINDS[kind](made, [belief(made, s, Seen()) for s in seen], values or (1.0,) * len(seen)))


def test_epsilon_greedy_takes_the_best_and_tries_the_others() -> None:
    assert weights("epsilon_greedy", FAIR, GOOD, epsilon=0.1) == pytest.approx([0.05, 0.95])
    assert weights("epsilon_greedy", GOOD, GOOD, FAIR, epsilon=0.3) == pytest.approx([0.45, 0.45, 0.1])
    assert weights("epsilon_greedy", FAIR, GOOD, epsilon=0.0, values=(2.0, 1.0)) == [1.0, 0.0]


def test_softmax_follows_its_temperature() -> None:
    cold, warm = (weights("softmax", FAIR, GOOD, temperature=t) for t in (0.01, 1.0))
    assert cold[0] / cold[1] < 1e-3
    means = [Belief(0.5, 2.0, s).mean for s in (FAIR, GOOD)]
    assert warm[0] / warm[1] == pytest.approx(math.exp(means[0] - means[1]))


@pytest.mark.parametrize("kind", ["ucb1", "kl_ucb"])
def test_bounds_try_what_is_new_and_then_what_is_unsure(kind: str) -> None:
    assert weights(kind, GOOD, NEW, FAIR, NEW) == [0.0, 1.0, 0.0, 1.0]
    assert weights(kind, GOOD, FAIR) == [1.0, 0.0]
    assert weights(kind, Seen(10_000, 3000, 3000), Seen(20, 5, 5)) == [0.0, 1.0]  # worse so far, and hardly known


@pytest.mark.parametrize("kind", KINDS)
@given(
    seen=st.lists(st.tuples(st.integers(0, 10_000), st.floats(-1.0, 1.0)), min_size=2, max_size=4),
    prior=st.tuples(st.floats(1e-6, 1 - 1e-6), st.floats(1e-3, 1000.0)),
)
def test_whatever_was_seen_there_are_shares(
    kind: str, seen: list[tuple[int, float]], prior: tuple[float, float]
) -> None:
    states = [Seen(n, n * reward, n * reward * reward) for n, reward in seen]
    found = weights(kind, *states, prior_rate=prior[0], prior_weight=prior[1])
    assert all(math.isfinite(w) and w >= 0.0 for w in found)
    assert sum(found) > 0.0


@given(st.floats(0.0, 1.0), st.floats(1e-6, 5.0))
def test_the_kl_bound_is_where_the_divergence_is_reached(mean: float, most: float) -> None:
    q = kl_bound(mean, most)
    assert mean <= q <= 1.0
    grid = np.linspace(mean, 1.0, 20_001)[1:-1]
    if len(grid) and 1e-9 < mean < 1.0 - 1e-9:
        kl = mean * np.log(mean / grid) + (1 - mean) * np.log((1 - mean) / (1 - grid))
        fits = grid[kl <= most]
        assert q == pytest.approx(fits[-1] if len(fits) else mean, abs=2e-4)


@given(st.integers(1, 400), st.floats(0.0, 1.0))
def test_kl_ucb_is_never_surer_than_ucb1(trials: int, rate: float) -> None:
    log_all = math.log(1000)
    assert kl_bound(rate, log_all / trials) <= rate + math.sqrt(log_all / (2 * trials)) + 1e-9  # Pinsker


def test_normal_arms_against_sampling() -> None:
    means, deviations = (0.1, 0.12, 0.3, 0.28), (0.05, 0.2, 0.02, 0.1)
    rng = np.random.default_rng(3)
    draws = rng.normal(means, deviations, size=(300_000, 4)).argmax(axis=1)
    sampled = np.bincount(draws, minlength=4) / 300_000
    assert np.abs(sampled - best_of_normals(means, deviations)).max() < 0.006


def test_two_normal_arms_against_the_closed_form() -> None:
    p = best_of_normals((0.3, 0.1), (0.1, 0.2))
    z = 0.2 / math.hypot(0.1, 0.2)
    assert p[0] == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), abs=1e-4)


def test_arms_of_different_worth_against_sampling() -> None:
    a, b, values = (3.0, 20.0, 5.0), (9.0, 180.0, 50.0), (1.0, 3.0, 2.0)
    rng = np.random.default_rng(4)
    draws = (rng.beta(a, b, size=(300_000, 3)) * values).argmax(axis=1)
    sampled = np.bincount(draws, minlength=3) / 300_000
    assert np.abs(sampled - best_of_betas(a, b, values)).max() < 0.006
    assert best_of_betas(a, b, (2.0, 2.0, 2.0)) == pytest.approx(best_of_betas(a, b), abs=1e-12)


@given(st.lists(st.tuples(st.floats(0.5, 2000), st.floats(0.5, 2000), st.floats(0.1, 10)), min_size=1, max_size=6))
def test_probabilities_of_the_best_are_probabilities(arms: list[tuple[float, float, float]]) -> None:
    a, b, values = zip(*arms, strict=True)
    for p in (best_of_betas(a, b, values), best_of_normals(a, tuple(math.sqrt(x) for x in b))):
        assert sum(p) == pytest.approx(1.0)
        assert all(-1e-12 <= x <= 1.0 + 1e-12 for x in p)


def test_a_gaussian_learns_how_far_rewards_spread() -> None:
    steady, wild = Seen(100, 50, 25.0), Seen(100, 50, 50.0)  # always a half; all or nothing
    rate = Belief(0.5, 2.0, steady).deviation, Belief(0.5, 2.0, wild).deviation
    assert rate[0] < rate[1] / 5
    assert rate[1] == pytest.approx(0.5 / math.sqrt(102), rel=0.01)


def test_a_prior_is_so_many_trials_thought_of() -> None:
    assert belief(Learning(prior_rate=0.1, prior_weight=20), Seen(20, 10, 10), NEW).mean == pytest.approx(0.3)
    assert belief(PLAIN, NEW, NEW).mean == 0.5


def test_a_small_segment_leans_on_the_others_and_a_large_one_does_not() -> None:
    learning = Learning(shrink=50)
    small, large = Seen(4, 4, 4), Seen(100_000, 90_000, 90_000)
    others = Seen(10_000, 1000, 1000)
    assert belief(learning, small, others).mean == pytest.approx((0.1 * 50 + 4) / 54, rel=1e-3)
    assert belief(learning, large, others).mean == pytest.approx(0.9, rel=1e-3)
    assert belief(learning, small, NEW).mean == belief(PLAIN, small, NEW).mean  # nobody to lean on


def arms(*rows: tuple[str, str, int, int, int]) -> Posteriors:
    return Posteriors(
        3,
        {ArmKey("p", "m", seg, v, hour): ArmState(n, r * REWARD_UNIT, r * REWARD_UNIT) for seg, v, hour, n, r in rows},
    )


def test_what_is_old_counts_less_and_then_not_at_all() -> None:
    halving = policy(half_life_s=10 * 3600)
    learnt = arms(("", "a", 1000, 100, 40), ("", "a", 990, 100, 20), ("", "a", 0, 1 << 30, 0), ("", "b", 980, 8, 8))
    assert learnt.seen(halving, ArmKey("p", "m", "", "a")) == pytest.approx((150, 50, 50))
    assert learnt.seen(halving, ArmKey("p", "m", "", "b")) == pytest.approx((2, 2, 2))  # by the policy's newest
    sliding = policy(window_s=20 * 3600)
    assert learnt.seen(sliding, ArmKey("p", "m", "", "a")) == (200, 60, 60)
    assert learnt.seen(sliding, ArmKey("p", "m", "", "b")) == (0, 0, 0)
    assert [arm.hour for arm in learnt.stale({"p": halving})] == [0]
    assert sorted(arm.hour for arm in learnt.stale({"p": sliding})) == [0, 980]
    assert learnt.stale({"p": policy()}) == learnt.stale({}) == []


@given(st.integers(1, 10**7), st.integers(0, 10**5), st.integers(0, 10**5))
def test_nothing_counts_more_when_it_is_older(span_s: int, younger: int, older: int) -> None:
    younger, older = sorted((younger, older))
    for forgetful in (policy(half_life_s=span_s), policy(window_s=span_s)):
        assert 1.0 >= kept(forgetful, younger) >= kept(forgetful, older) >= 0.0
        assert kept(forgetful, 0) == 1.0


@pytest.mark.parametrize("kind", list(KINDS))
def test_arms_that_join_or_leave_do_not_reset_the_others(kind: str) -> None:
    learnt = arms(("", "a", 0, 1000, 300), ("", "b", 0, 1000, 100))
    two = variant_shares(policy(kind, 0.01), "m", "", ["a", "b"], learnt).shares
    assert two[0] > 0.9 * SHARE_UNIT
    three = variant_shares(policy(kind, 0.01), "m", "", ["a", "b", "new"], learnt).shares
    assert three[2] >= 0.01 * SHARE_UNIT
    assert sum(three) == SHARE_UNIT
    assert variant_shares(policy(kind, 0.01), "m", "", ["b"], learnt).shares == (SHARE_UNIT,)
    assert variant_shares(policy(kind), "m", "", [], learnt).shares == ()


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_floor_holds_for_those_that_a_policy_would_never_take(kind: str) -> None:
    learnt = arms(("", "a", 0, 10**6, 300_000), ("", "b", 0, 10**6, 100_000))
    shares = variant_shares(policy(kind, 0.02, epsilon=0.0), "m", "", ["a", "b"], learnt).shares
    assert min(shares) >= 0.02 * SHARE_UNIT - 1


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_finds_the_better_variant(kind: str) -> None:
    """A simulated year of a good and a poor variant, learnt from once a day."""
    rng, truth, chosen = np.random.default_rng(11), (0.12, 0.2), []
    sums = np.zeros((2, 2))
    for _ in range(365):
        state = arms(*(("", v, 0, int(n), int(r)) for v, (n, r) in zip("ab", sums, strict=True)))
        shares = np.array(variant_shares(policy(kind, 0.02), "m", "", ["a", "b"], state).shares) / SHARE_UNIT
        sent = rng.multinomial(40, shares)
        sums[:, 0] += sent
        sums[:, 1] += rng.binomial(sent, truth)
        chosen.append(shares[1])
    assert np.mean(chosen[180:]) > (0.6 if kind == "softmax" else 0.8)  # a temperature of 0.05 keeps trying


def test_the_shares_of_one_version_do_not_depend_on_the_order_of_the_sums() -> None:
    rows = [("x", "a", h, h % 7, h % 3) for h in range(1, 60)] + [("y", "b", h, h % 5, h % 2) for h in range(1, 60)]
    one, two = arms(*rows), arms(*reversed(rows))
    forgetful = dataclasses.replace(policy(half_life_s=30 * 3600, shrink=9), by=())
    for segment in ("x", "y", "z"):
        shares = [variant_shares(forgetful, "m", segment, ["a", "b"], state) for state in (one, two)]
        assert shares[0] == shares[1]


def test_buckets_are_fine_enough_for_the_span_and_few() -> None:
    for span_s in (3600, 86_400, 14 * 86_400, 365 * 86_400):
        width_s = Learning(half_life_s=span_s).bucket_h * 3600
        assert width_s <= max(3600, span_s // 16)
        assert span_s / width_s <= 32
    left = [kept(policy(half_life_s=3600), h) for h in range(12)]
    assert all(a > b for a, b in pairwise(left[:11]))
    assert left[11] == 0.0


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_who_drives_customers_away_is_taken_least(kind: str, model: str) -> None:
    """A variant that loses more than it earns, one that does nothing, one that earns."""
    learning = Learning(model=model)
    n = 400.0
    loses, idles, earns = (belief(learning, Seen(n, n * r, n * abs(r)), Seen()) for r in (-0.2, 0.0, 0.1))
    weights = KINDS[kind](learning, [loses, idles, earns], [1.0] * 3)
    assert all(math.isfinite(w) and w >= 0.0 for w in weights)
    assert weights[2] == max(weights)
    assert weights[0] <= weights[1] + 1e-9
