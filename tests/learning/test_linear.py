"""Linear bandits against numpy's own least squares, sampling, and a population with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.model import Learning, Policy, Position
from engine.compiler.sections_learning import LINEAR
from engine.decision import SHARE_UNIT
from engine.kernels import best as kernel
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT, X_UNIT, context_of, model, moments_of, moments_size
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.sums import arms_of, fields_of

HERE = Position("x.yaml", 1, 1)
X = st.lists(st.floats(-20, 20), min_size=0, max_size=5)


def policy(kind: str = "linear_thompson", size: int = 2, floor: float = 0.0, **learning: object) -> Policy:
    return Policy(
        "p", kind, {"replied": 1.0}, 100, floor, None, (), {}, False, False, "drop", HERE,
        Learning(**learning),  # type: ignore[arg-type]
        (None,) * size, 77,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_context_is_rounded_and_held() -> None:
    assert context_of([0.5, True, 3, -99.0, math.nan, math.inf, None]) == (
        X_UNIT, X_UNIT // 2, X_UNIT, 3 * X_UNIT, -16 * X_UNIT, 0, 0, 0,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 30))
def test_the_model_is_ridge_regression(data: st.DataObject, d: int, trials: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    contexts = [context_of(rng.normal(size=d - 1).tolist()) for _ in range(trials)]
    rewards = rng.integers(0, 2, trials)
    sums = np.zeros(moments_size(d))
    for context, reward in zip(contexts, rewards, strict=True):
        sums += moments_of(context, int(reward) * REWARD_UNIT)
    made = model(Learning(prior_rate=0.3, prior_weight=2.0), d, [sums])
    x = np.array(contexts) / X_UNIT
    prior = np.zeros(d)
    prior[0] = 0.3
    # ridge regression as least squares with a row more for each coefficient
    rows = np.concatenate([x, math.sqrt(2.0) * np.eye(d)])
    wanted = np.linalg.lstsq(rows, np.concatenate([rewards, math.sqrt(2.0) * prior]), rcond=None)[0]
    assert np.allclose(made.centre[0], wanted, atol=0.02)
    assert np.allclose(made.spread[0], np.linalg.inv(rows.T @ rows), atol=0.02)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_scores_are_their_formula(k: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, centre, values = rng.normal(size=d), rng.normal(size=(k, d)), rng.uniform(0.5, 2, k)
    half = rng.normal(size=(k, d, d))
    spread = half @ half.transpose(0, 2, 1) + np.eye(d)
    means, deviations = np.empty(k), np.empty(k)
    kernel.linear_scores(x, centre, spread, 0.3, values, means, deviations)
    assert np.allclose(means, centre @ x * values)
    assert np.allclose(deviations, 0.3 * np.sqrt(np.einsum("i,kij,j->k", x, spread, x)) * values)


@given(st.lists(st.tuples(X, st.floats(0, 1)), min_size=1, max_size=8), st.randoms())
def test_sums_do_not_depend_on_their_order_and_have_names(
    trials: list[tuple[list[float], float]], random: object
) -> None:
    width = len(trials[0][0])
    trials = [(x[:width] + [0.0] * (width - len(x)), reward) for x, reward in trials]
    arm = ArmKey("p", "m|[", "n,[", "a", 480_000)
    found = []
    for _ in range(2):
        increments = Increments()
        for x, reward in trials:
            increments.add(arm, round(reward * REWARD_UNIT), 77, context_of(x))
        found.append(increments.arms[arm])
        random.shuffle(trials)  # type: ignore[attr-defined]
    assert found[0] == found[1]
    back = arms_of(dict(fields_of(arm, found[0])))[arm]
    assert back[:3] == found[0][:3]
    assert back.moments[77] == found[0].moments[77][: len(back.moments[77])]
    assert not any(found[0].moments[77][len(back.moments[77]) :])


def test_another_meaning_of_the_context_begins_anew() -> None:
    arm, other = ArmKey("p", "m", "", "a"), ArmKey("p", "m", "", "b")
    seen = tuple(moments_of(context_of([1.0, 0.0]), REWARD_UNIT))
    for key, moved in ((77, True), (78, False)):
        learnt = Posteriors(1, {arm: ArmState(1, REWARD_UNIT, REWARD_UNIT, {key: seen}), other: ArmState(0, 0)})
        shares = variant_shares(policy(), "m", "", ["a", "b"], learnt, context_of([1.0, 0.0])).shares
        assert (shares[0] > shares[1]) is moved


@pytest.mark.parametrize("kind", LINEAR)
def test_small_contexts_and_no_exploring_leave_true_shares(kind: str) -> None:
    increments = Increments()
    for k in range(5000):
        increments.add(ArmKey("p", "m", "", "ab"[k % 2]), REWARD_UNIT * (k % 3 == 0), 77, context_of([0.03]))
    learnt = Posteriors(1, increments.arms)
    assert (np.linalg.eigvalsh(learnt.model(policy(kind, 1), "m", "", ("a", "b")).spread) > 0.0).all()
    shares = variant_shares(policy(kind, 1, 0.02, explore=0.0), "m", "", ["a", "b"], learnt, context_of([0.03])).shares
    assert sum(shares) == SHARE_UNIT
    assert min(shares) >= 0.02 * SHARE_UNIT - 1


@pytest.mark.parametrize("kind", LINEAR)
def test_who_likes_what_is_found_out(kind: str) -> None:
    """Two groups that like opposite variants: nothing to learn without a context."""
    rng = np.random.default_rng(5)
    names, likes = ["a", "b"], {0: (0.3, 0.1), 1: (0.1, 0.3)}
    learns, increments = policy(kind, size=1, floor=0.02, explore=0.3), Increments()
    hits = []
    for day in range(120):
        learnt = Posteriors(day, dict(increments.arms))
        for _ in range(20):
            group = int(rng.integers(2))
            context = context_of([float(group)])
            shares = variant_shares(learns, "m", "", names, learnt, context).shares
            assert sum(shares) == SHARE_UNIT
            taken = int(rng.random() * SHARE_UNIT >= shares[0])
            hits.append(taken == group)
            reward = REWARD_UNIT * int(rng.random() < likes[group][taken])
            increments.add(ArmKey("p", "m", "", names[taken]), reward, 77, context)
    assert np.mean(hits[-800:]) > 0.85
