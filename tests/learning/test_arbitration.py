"""Between messages: what a learned rank is, and the shares that ranks give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.model import Arbitration, Policy
from engine.compiler.ruleset import load
from engine.decision import SHARE_UNIT
from engine.learning.arbitration import largest, message_shares, read, written
from engine.learning.linear import REWARD_UNIT, X_UNIT, moments_of
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.ranks import Worth, learnt_worth

ranks = st.floats(-100.0, 100.0)
uncertain = st.builds(
    lambda value, rate, weight: Worth(value, rate, math.sqrt(rate * (1 - rate) / (weight + 1))),
    st.floats(0.1, 50.0),
    st.floats(0.01, 0.99),
    st.floats(0.5, 1e5),
)
normal = st.builds(
    Worth, st.floats(-5.0, 50.0), st.floats(-0.5, 1.5), st.floats(1e-4, 0.5), st.just(True)
)  # fmt: skip
worths = st.one_of(
    st.lists(st.one_of(ranks.map(Worth), uncertain), min_size=1, max_size=8),
    st.lists(st.one_of(ranks.map(Worth), normal), min_size=1, max_size=8),
)
hows = st.one_of(
    st.just(Arbitration()),
    st.builds(Arbitration, st.just("softmax"), st.floats(0.0, 0.5), st.floats(1e-3, 1e3)),
    st.builds(Arbitration, st.just("thompson"), st.floats(0.0, 0.5)),
)


def keys(n: int) -> list[int]:
    return [(k + 1) * 0x9E3779B97F4A7C15 % (1 << 64) for k in range(n)]


@given(hows, worths)
def test_shares_sum_up_and_the_floor_holds(how: Arbitration, arms: list[Worth]) -> None:
    shares = message_shares(how, arms, keys(len(arms)))
    assert sum(shares) == SHARE_UNIT
    live = [s for s in shares if s]
    assert min(live) >= math.floor(min(how.floor, 1 / len(live)) * SHARE_UNIT) - 1
    if how.kind != "best":  # what may turn out to be the best is always tried
        assert all(s > 0 for s, w in zip(shares, arms, strict=True) if not w.known or how.kind == "softmax")
    if how.kind == "softmax":
        order = sorted(range(len(arms)), key=lambda k: arms[k].rank)
        assert all(shares[b] >= shares[a] - 1 for a, b in pairwise(order))


@given(hows, worths, st.integers(2, 5))
def test_ties_are_shared(how: Arbitration, arms: list[Worth], times: int) -> None:
    several = [arm for arm in arms for _ in range(times)]
    shares = message_shares(how, several, keys(len(several)))
    near = 1 if how.kind != "thompson" else SHARE_UNIT // 1000  # added up in another order
    for k in range(len(arms)):
        own = shares[k * times : (k + 1) * times]
        assert max(own) - min(own) <= near


@given(hows, worths, st.randoms())
def test_the_order_of_candidates_does_not_matter(how: Arbitration, arms: list[Worth], chance: object) -> None:
    places = list(range(len(arms)))
    chance.shuffle(places)  # type: ignore[attr-defined]
    names = keys(len(arms))
    shares = message_shares(how, arms, names)
    moved = message_shares(how, [arms[k] for k in places], [names[k] for k in places])
    near = 0 if how.kind == "best" else 1 if how.kind == "softmax" else SHARE_UNIT // 1000
    assert all(abs(moved[at] - shares[k]) <= near for at, k in enumerate(places))


@given(ranks, st.lists(ranks, min_size=1, max_size=5))
def test_the_best_takes_all(first: float, others: list[float]) -> None:
    arms = [Worth(r) for r in (first, *others)]
    shares = message_shares(Arbitration(), arms, keys(len(arms)))
    best = max(first, *others)
    assert [s > 0 for s in shares] == [w.rank == best for w in arms]
    assert shares == message_shares(Arbitration("thompson", 0.05), arms, keys(len(arms)))  # nothing is uncertain


def test_softmax_is_what_it_says() -> None:
    shares = message_shares(Arbitration("softmax", 0.0, 2.0), [Worth(4.0), Worth(2.0)], keys(2))
    assert shares[0] / shares[1] == pytest.approx(math.e, rel=1e-6)


def _counted(draws: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[float]:
    best = draws == draws.max(axis=1, keepdims=True)
    return [float(p) for p in (best / best.sum(axis=1, keepdims=True)).mean(axis=0)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", ["beta", "normal"])
def test_thompson_is_the_chance_to_be_the_best(seed: int, family: str) -> None:
    """Against two hundred thousand draws, beside known ranks that tie."""
    rng = np.random.default_rng(seed)
    arms: list[Worth] = []
    draws: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for _ in range(int(rng.integers(2, 6))):
        if family == "beta":
            a, b = 10 ** rng.uniform(-0.2, 2.5, 2)
            value = float(rng.uniform(0.5, 3.0))
            mean = float(a / (a + b))
            arms.append(Worth(value, mean, math.sqrt(mean * (1 - mean) / (a + b + 1))))
            draws.append(value * rng.beta(a, b, 200_000))
        else:
            value, mean, deviation = (
                float(rng.uniform(-1, 3)),
                float(rng.uniform(0, 0.5)),
                float(rng.uniform(0.01, 0.1)),
            )
            arms.append(Worth(value, mean, deviation, True))
            draws.append(value * rng.normal(mean, deviation, 200_000))
    middle = float(np.quantile(np.max(draws, axis=0), rng.uniform(0.1, 0.9)))
    for known in (middle, middle - 0.1, middle):
        arms.append(Worth(known))
        draws.append(np.full(200_000, known))
    found = largest(arms)
    assert found[-2] == 0.0  # below another one that is known
    assert found == pytest.approx(_counted(np.stack(draws, axis=1)), abs=6e-3)


def test_what_cannot_be_reached_is_not_thought_to_be() -> None:
    coin = Worth(2.0, 0.5, 0.1)
    assert largest([coin, Worth(2.0)]) == [1e-300, 1.0]  # at most 2
    assert largest([coin, Worth(-1.0), Worth(0.0)]) == [1.0, 0.0, 0.0]
    assert largest([Worth(0.0, 0.5, 0.1), Worth(0.0)]) == [0.5, 0.5]  # worth nothing, however often


def test_of_many_those_far_below_have_their_floor_alone() -> None:
    arms = [Worth(1.0, 0.5, 0.01)] * 2 + [Worth(1.0, 0.1, 0.01)] * 60
    assert largest(arms)[2:] == [1e-300] * 60
    assert largest(arms)[:2] == pytest.approx([0.5, 0.5], abs=1e-3)
    shares = message_shares(Arbitration("thompson", 0.01), arms, keys(62))
    assert min(shares) >= SHARE_UNIT // 100 - 1


@given(hows)
def test_the_log_can_say_it(how: Arbitration) -> None:
    assert read(written(how)) == how


@pytest.mark.parametrize(
    "text", ["softmax", "luck floor=0.1", "thompson temperature=1.0", "softmax temperature=nan", "best x"]
)
def test_what_is_no_arbitration(text: str) -> None:
    with pytest.raises(ValueError, match=r"no arbitration|could not convert"):
        read(text)


# What was learnt

POLICIES = """
events: {e: {age: number}}
purposes: {p: {consent: not_required}}
policies:
  words: {kind: thompson, reward: {replied: 1}, prior: {rate: 10%, weight: 4}, floor: 10%, REST}
  line: {kind: linear_thompson, reward: {replied: 1}, context: [event.age], explore: 0.3}
messages:
  m: {purpose: p, on: [e], channels: [sms], policy: words, rank: learned, variants: {x: {en: One}, y: {en: Two}}}
  n: {purpose: p, on: [e], channels: [sms], policy: line, variants: {x: {en: One}, y: {en: Two}}}
"""


def policies(rest: str = "pool: false") -> dict[str, Policy]:
    return dict(load({"a.yaml": POLICIES.replace("REST", rest).encode()}).policies)


def worth(policy: Policy, state: Posteriors, variants: Sequence[str], context: tuple[int, ...] = ()) -> Worth:
    shares = variant_shares(policy, "m", "", variants, state, context)
    return learnt_worth(policy, "m", 3.0, "", variants, shares.shares, state, context)


def arm(policy: str, variant: str, trials: int, successes: int, segment: str = "") -> dict[ArmKey, ArmState]:
    sums = ArmState(trials, successes * REWARD_UNIT, successes * REWARD_UNIT)
    return {ArmKey(policy, "m", segment, variant): sums}


def test_a_learned_rank_is_the_value_times_the_mean_of_what_would_be_drawn() -> None:
    policy = policies()["words"]
    new = worth(policy, Posteriors(), ["x", "y"])
    assert (new.value, new.rank) == (3.0, pytest.approx(0.3))
    state = Posteriors(1, arm("words", "x", 96, 50) | arm("words", "y", 996, 9))
    seen = worth(policy, state, ["x", "y"])
    shares = variant_shares(policy, "m", "", ["x", "y"], state).shares
    means = [(0.4 + 50) / 100, (0.4 + 9) / 1000]
    assert shares[1] < 0.11 * SHARE_UNIT
    assert seen.rate == pytest.approx(sum(s / SHARE_UNIT * m for s, m in zip(shares, means, strict=True)))
    assert seen.rate > 0.4 > (50 + 9) / (96 + 996)  # what was tried in the past is no part of it
    alone = worth(policy, state, ["y"])  # x cannot be said
    assert alone.rate == pytest.approx(means[1])
    assert alone.deviation == pytest.approx(math.sqrt(means[1] * (1 - means[1]) / 1001))
    assert not alone.normal
    assert worth(policy, Posteriors(1, arm("words", "x", 96, 50, "other")), ["x"]).rate == pytest.approx(0.1)


def test_values_of_variants_are_part_of_it() -> None:
    policy = policies("values: {y: 2.0}")["words"]
    state = Posteriors(1, arm("words", "y", 1_000_000, 300_000))
    x, y = (s / SHARE_UNIT for s in variant_shares(policy, "m", "", ["x", "y"], state).shares)
    found = worth(policy, state, ["x", "y"])
    assert found.value == 6.0  # of the best that can come of it
    assert found.rank == pytest.approx(3.0 * (y * 0.3 * 2 + x * 0.1), rel=1e-4)


def test_of_linear_policies_it_is_the_mean_at_the_context() -> None:
    policy = policies()["line"]
    rows = {age: moments_of((X_UNIT, age * X_UNIT), REWARD_UNIT if age else 0) for age in (0, 1)}
    sums = tuple(500 * (a + b) for a, b in zip(rows[0], rows[1], strict=True))
    state = Posteriors(1, {ArmKey("line", "m", "", "x"): ArmState(1000, 0, 0, {policy.context_key: sums})})
    young, old = (worth(policy, state, ["x"], (X_UNIT, age * X_UNIT)) for age in (0, 1))
    assert young.rate == pytest.approx(0.0, abs=0.01)
    assert old.rate == pytest.approx(1.0, abs=0.01)
    assert young.normal
    assert old.normal
    assert 0.0 < old.deviation < 0.05


def test_a_sum_of_variants_is_as_uncertain_as_its_parts() -> None:
    policy = policies()["words"]
    state = Posteriors(1, arm("words", "x", 40, 12) | arm("words", "y", 50, 14))
    both = worth(policy, state, ["x", "y"])
    shares = [s / SHARE_UNIT for s in variant_shares(policy, "m", "", ["x", "y"], state).shares]
    rng = np.random.default_rng(1)
    draws = shares[0] * rng.beta(12.4, 31.6, 400_000) + shares[1] * rng.beta(14.4, 39.6, 400_000)
    assert both.rate == pytest.approx(float(draws.mean()), abs=2e-4)
    assert both.deviation == pytest.approx(float(draws.std()), abs=2e-4)
