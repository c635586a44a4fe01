"""Linear bandits against numpy's own least squares, sampling, and a population with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.compiler.model import Learning, Policy, Position
from engine.compiler.sections_learning import LINEAR
from engine.decision import SHARE_UNIT
from engine.identity import name_hash
from engine.kernels import linear as kernel
from engine.learning.fold import Increments
from engine.learning.linear import F64, REWARD_UNIT, X_UNIT, Model, context_of, moments_of
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.shares import floored, quantised
from engine.learning.sums import arms_of, fields_of
from tests.learning import best_twin

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


def unpacked(made: Model) -> tuple[F64, F64]:
    """Coefficients (k, d) and inverse precisions (k, d, d) of a model."""
    packed = made.packed
    k, d = int(packed[kernel.ARMS]), int(packed[kernel.COEFFICIENTS])
    factor, centre = np.zeros((k, d, d)), np.zeros((k, d))
    at = kernel.HEAD + 2 * k
    for j in range(d):
        block = packed[at : at + k * (d - j + 1)].reshape(d - j + 1, k)
        factor[:, j:, j], centre[:, j] = block[:-1].T, block[-1]
        at += block.size
    assert at == len(packed)
    return centre, factor.transpose(0, 2, 1) @ factor


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(0, 30), st.sampled_from([1.0, 2.5]))
def test_the_model_is_ridge_regression(seed: int, d: int, trials: int, value: float) -> None:
    rng = np.random.default_rng(seed)
    contexts = [context_of(rng.normal(size=d - 1).tolist()) for _ in range(trials)]
    rewards = rng.integers(0, 2, trials)
    increments = Increments()
    for context, reward in zip(contexts, rewards, strict=True):
        increments.add(ArmKey("p", "m", "", "a"), int(reward) * REWARD_UNIT, 77, context)
    asked = policy(size=d - 1, prior_rate=0.3, prior_weight=2.0, values={"a": value})
    centre, spread = unpacked(Posteriors(1, increments.arms).model(asked, "m", "", ("a", "b")))
    x = np.array(contexts, np.float64).reshape(-1, d) / X_UNIT
    prior = np.zeros(d)
    prior[0] = 0.3
    # ridge regression as least squares with a row more for each coefficient
    rows = np.concatenate([x, math.sqrt(2.0) * np.eye(d)])
    wanted = np.linalg.lstsq(rows, np.concatenate([rewards, math.sqrt(2.0) * prior]), rcond=None)[0]
    assert np.allclose(centre[0], wanted * value, atol=1e-9)
    assert np.allclose(spread[0], np.linalg.inv(rows.T @ rows), atol=1e-9)
    assert np.allclose(centre[1], prior)
    assert np.allclose(spread[1], np.eye(d) / 2.0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 4), st.integers(2, 5), st.sampled_from([0, 3, 40]), st.sampled_from([0.01, 2])
)
def test_the_hybrid_is_one_regression_over_all_variants(seed: int, d: int, k: int, trials: int, weight: float) -> None:
    """Coefficients in common and of one's own, as least squares with all of them at once."""
    rng = np.random.default_rng(seed)
    names = [f"v{n}" for n in range(k)]
    increments, rows, rewards = Increments(), [], []
    for _ in range(trials):
        arm, context, reward = int(rng.integers(k)), context_of(rng.normal(size=d - 1).tolist()), int(rng.integers(2))
        increments.add(ArmKey("p", "m", "", names[arm]), reward * REWARD_UNIT, 77, context)
        row = np.zeros((1 + k, d))
        row[0] = row[1 + arm] = np.array(context) / X_UNIT
        rows.append(row.ravel())
        rewards.append(reward)
    asked = policy(size=d - 1, prior_rate=0.3, prior_weight=weight, hybrid=True)
    shown = (names[1], names[0], "new")
    centre, spread = unpacked(Posteriors(1, increments.arms).model(asked, "m", "", shown))
    size = (1 + k) * d
    x, prior = np.array(rows).reshape(-1, size), np.zeros(size)
    prior[0] = 0.3
    together = np.linalg.inv(x.T @ x + weight * np.eye(size))
    found = together @ (x.T @ np.array(rewards) + weight * prior)
    for place, name in enumerate(shown):
        both = np.zeros((d, size))
        both[:, :d] = np.eye(d)
        if name in names:
            both[:, (1 + names.index(name)) * d :][:, :d] = np.eye(d)
        own = 0.0 if name in names else np.eye(d) / weight  # what nobody has seen deviates as the prior says
        assert np.allclose(centre[place], both @ found, atol=1e-5)
        assert np.allclose(spread[place], both @ together @ both.T + own, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", LINEAR)
def test_what_all_variants_have_in_common_is_learnt_by_all(kind: str) -> None:
    """A new variant is believed to be liked by whom the others are: less is tried to find out."""
    rng, increments = np.random.default_rng(2), Increments()
    for n in range(600):
        context = context_of([float(n % 2)])
        reward = int(rng.random() < (0.4 if n % 2 else 0.05))
        increments.add(ArmKey("p", "m", "", "abc"[n % 3]), reward * REWARD_UNIT, 77, context)
    learnt = Posteriors(1, increments.arms)
    for hybrid in (False, True):
        asked = policy(kind, 1, hybrid=hybrid, prior_rate=0.5, prior_weight=2.0)
        centre, spread = unpacked(learnt.model(asked, "m", "", ("a", "new")))
        known = [float(row @ [1.0, 1.0] - row @ [1.0, 0.0]) for row in centre]
        assert known[0] == pytest.approx(0.35, abs=0.08)
        assert (known[1] > 0.2) is hybrid
        assert spread[1][1, 1] > spread[0][1, 1]


@st.composite
def models(draw: st.DrawFn) -> tuple[Policy, tuple[str, ...], Posteriors, tuple[int, ...]]:
    """A policy, its variants, what they have seen, and a context."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    k, d = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    names = tuple(f"v{n}" for n in range(k))
    increments = Increments()
    for _ in range(draw(st.sampled_from([0, 5, 200]))):
        context = context_of(rng.normal(size=d - 1).tolist())
        increments.add(ArmKey("p", "m", "", names[rng.integers(k)]), int(rng.integers(REWARD_UNIT)), 77, context)
    values = {name: float(rng.choice([0.5, 1.0, 3.0])) for name in names if rng.random() < 0.5}
    kind, floor = draw(st.sampled_from(LINEAR)), draw(st.sampled_from([0.0, 0.02, 0.3]))
    told = {"explore": draw(st.sampled_from([0.0, 0.3, 2.0])), "hybrid": draw(st.booleans())}
    asked = policy(kind, d - 1, floor, values=values, **told)
    return asked, names, Posteriors(1, increments.arms), context_of((3 * rng.normal(size=d - 1)).tolist())


@settings(max_examples=200, deadline=None)
@given(models())
def test_shares_are_those_of_their_formulas(
    asked: tuple[Policy, tuple[str, ...], Posteriors, tuple[int, ...]],
) -> None:
    learns, names, learnt, context = asked
    made = learnt.model(learns, "m", "", names)
    centre, spread = unpacked(made)
    x = np.array(context) / X_UNIT
    values = np.array([learns.learning.values.get(name, 1.0) for name in names])
    means = centre @ x
    deviations = max(learns.learning.explore, 1e-6) * np.sqrt(np.einsum("i,kij,j->k", x, spread, x)) * values
    if learns.kind == "linucb":
        bounds = means + deviations
        weights = np.isclose(bounds, bounds.max(), rtol=1e-9, atol=1e-12).astype(float)
        assume(weights.sum() == 1.0 or not any(arm.variant for arm in learnt.arms))
    else:
        weights = np.array(best_twin.best_of_normals(tuple(means), tuple(deviations)))
    hashes = [name_hash(name) for name in names]
    wanted = np.array(quantised(floored(np.maximum(weights, 1e-300).tolist(), learns.floor), hashes))
    shares = np.array(made.shares(context))
    assert shares.sum() == SHARE_UNIT
    assert (shares >= min(learns.floor, 1.0 / len(names)) * SHARE_UNIT - 1).all()
    assert (shares > 0).all()
    assert np.abs(shares - wanted).max() <= (1 if learns.kind == "linucb" else 1e-3 * SHARE_UNIT)


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
    assert (np.linalg.eigvalsh(unpacked(learnt.model(policy(kind, 1), "m", "", ("a", "b")))[1]) > 0.0).all()
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
