"""The readout's statistics on simulated trials with a known truth: they cover, and they do not cry wolf."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.readout.corrections import benjamini_hochberg, heterogeneity, holm, interaction
from engine.readout.effects import Trials, compare, scores
from engine.readout.log import F64
from engine.readout.means import difference_of_means, rate_interval, ratio_of_means
from engine.readout.power import customers_needed, detectable_effect, power_of, rate_variance, standard_error
from engine.readout.ratio import sample_ratio
from engine.readout.sequences import half_width
from engine.readout.special import chi_square_sf, quantile, two_sided, z_of

Rng = np.random.Generator


def trial(rng: Rng, n: int, rates: tuple[float, float], p: F64 | float = 0.5, x: F64 | None = None) -> Trials:
    """A trial of yes and no outcomes with probability `p` of the treatment."""
    p = np.broadcast_to(np.asarray(p, float), n)
    treated = rng.random(n) < p
    y = (rng.random(n) < np.where(treated, *rates)).astype(float)
    return Trials(y, treated, ~treated, p, 1.0 - p, np.arange(n), x)


def first(t: Trials, n: int) -> Trials:
    return t.some(np.arange(len(t.y)) < n)


def bandit(rng: Rng, n: int, rates: tuple[float, float], batch: int = 100) -> Trials:
    """A greedy policy that keeps 5 % for the arm that looks worse, moved every `batch` trials."""
    p = np.full(n, 0.5)
    treated = np.zeros(n, np.bool_)
    y = np.zeros(n)
    for at in range(0, n, batch):
        part = slice(at, at + batch)
        if at:
            means = [y[:at][treated[:at] == a].mean() if (treated[:at] == a).any() else 0.0 for a in (True, False)]
            p[part] = 0.95 if means[0] > means[1] else 0.05
        treated[part] = rng.random(batch) < p[part]
        y[part] = rng.random(batch) < np.where(treated[part], *rates)
    return Trials(y, treated, ~treated, p, 1.0 - p, np.arange(n))


def test_intervals_cover_at_their_level() -> None:
    rng = np.random.default_rng(1)
    found = [compare(trial(rng, 600, (0.35, 0.3), 0.3)) for _ in range(600)]
    covered = [e.low <= 0.05 <= e.high for e in found if e.low is not None and e.high is not None]
    assert len(covered) == 600
    assert 0.925 < np.mean(covered) < 0.975
    width = [e.se_treated for e in found if e.se_treated is not None]
    assert np.mean(width) == pytest.approx(math.sqrt(0.35 * 0.65 / 180), rel=0.05)
    ratios = [e.ratio_low <= 0.35 / 0.3 <= e.ratio_high for e in found if e.ratio_low and e.ratio_high]
    assert 0.925 < np.mean(ratios) < 0.975


def test_an_a_a_trial_that_is_watched_daily_is_rarely_called_different() -> None:
    rng = np.random.default_rng(2)
    watched = once = 0
    for _ in range(200):
        t = trial(rng, 2000, (0.2, 0.2))
        daily = [compare(first(t, n)) for n in range(125, 2001, 125)]
        watched += any(e.seq_p < 0.05 for e in daily if e.seq_p is not None)
        once += any(e.p < 0.05 for e in daily if e.p is not None)
        for e in daily:
            if e.seq_p is not None and e.seq_low is not None and e.seq_high is not None:
                assert (e.seq_p < 0.05) == (e.seq_low > 0 or e.seq_high < 0)
    assert watched / 200 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)
    assert once / 200 > 0.15  # what daily looks do to a test for one look


def test_customers_who_come_again_are_no_new_evidence() -> None:
    rng = np.random.default_rng(3)
    by_customer = by_trial = 0
    for _ in range(300):
        who = np.repeat(np.arange(200), 10)
        treated = np.repeat(rng.random(200) < 0.5, 10)  # sticky
        lucky = np.repeat(rng.random(200), 10)
        y = (rng.random(2000) < lucky).astype(float)
        t = Trials(y, treated, ~treated, np.full(2000, 0.5), np.full(2000, 0.5), who)
        e, naive = compare(t), compare(Trials(y, treated, ~treated, t.p_treated, t.p_control, np.arange(2000)))
        by_customer += e.p is not None and e.p < 0.05
        by_trial += naive.p is not None and naive.p < 0.05
    assert by_customer / 300 < 0.09
    assert by_trial / 300 > 0.2


def test_a_bandits_log_is_judged_without_its_bias() -> None:
    """Means of a bandit's arms are too low; its logged probabilities mend that (Hadad et al. 2021, figure 1)."""
    rng = np.random.default_rng(4)
    covered, watched, naive, raw, ours = 0, 0, 0, [], []
    runs = 400
    for _ in range(runs):
        t = bandit(rng, 2000, (0.3, 0.3))
        e = compare(t)
        assert e.low is not None
        assert e.high is not None
        assert e.seq_low is not None
        assert e.seq_high is not None
        covered += e.low <= 0.0 <= e.high
        watched += e.seq_low <= 0.0 <= e.seq_high
        raw += [t.y[t.treated].mean(), t.y[t.control].mean()]
        ours += [e.mean_treated, e.mean_control]
        plain = difference_of_means(t.y[t.treated], t.y[t.control])
        naive += plain is not None and plain.low <= 0.0 <= plain.high
    assert 0.92 < covered / runs < 0.98
    assert watched / runs > 0.95
    assert naive / runs < covered / runs
    assert np.mean(raw) < 0.295
    assert abs(np.mean(ours) - 0.3) < 0.004  # type: ignore[arg-type]


def test_a_bandit_that_is_watched_daily_is_rarely_called_different() -> None:
    """The false-positive rate under daily looks, where probabilities move with what was seen."""
    rng = np.random.default_rng(14)
    watched = 0
    for _ in range(150):
        t = bandit(rng, 2000, (0.3, 0.3))
        daily = [compare(first(t, n)) for n in range(200, 2001, 200)]
        watched += any(e.seq_p < 0.05 for e in daily if e.seq_p is not None)
    assert watched / 150 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 150)


def test_what_was_known_before_makes_intervals_narrower_and_moves_no_effect() -> None:
    rng = np.random.default_rng(5)
    narrow, effects = [], []
    for _ in range(100):
        x = rng.normal(size=1000)
        t = trial(rng, 1000, (0.0, 0.0), x=x)
        y = 2.0 * x + rng.normal(size=1000) + 0.3 * t.treated
        with_x = compare(Trials(y, t.treated, t.control, t.p_treated, t.p_control, t.customer, x))
        without = compare(Trials(y, t.treated, t.control, t.p_treated, t.p_control, t.customer))
        assert with_x.se is not None
        assert without.se is not None
        assert with_x.saved is not None
        narrow.append(with_x.se / without.se)
        effects.append(with_x.effect)
        assert 0.7 < with_x.saved < 0.9  # 4 / 5 of the variance
    assert np.mean(narrow) == pytest.approx(math.sqrt(0.2), abs=0.03)
    assert np.mean(effects) == pytest.approx(0.3, abs=0.03)


def test_nothing_is_said_of_too_few() -> None:
    rng = np.random.default_rng(6)
    few = compare(trial(rng, 15, (0.5, 0.5)))
    rare = compare(trial(rng, 2000, (0.001, 0.001)))
    assert few.effect is few.low is few.seq_low is None
    assert rare.effect is None
    assert rare.n_treated + rare.n_control == 2000


def test_trials_that_could_not_draw_one_of_the_arms_compare_nothing() -> None:
    rng = np.random.default_rng(7)
    t = trial(rng, 1000, (0.5, 0.5))
    p = np.where(np.arange(1000) < 300, 0.0, t.p_treated)
    e = compare(Trials(t.y, t.treated & (p > 0), t.control, p, t.p_control, t.customer))
    assert e.incomparable == 300
    assert e.n_treated + e.n_control == 700


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 200), st.floats(0.1, 0.9))
def test_scores_average_to_the_arms_mean_where_everything_was_drawn(seed: int, n: int, p: float) -> None:
    y = np.random.default_rng(seed).random(n)
    assert np.allclose(scores(y, np.ones(n, np.bool_), np.ones(n)), y)
    none = scores(y, np.zeros(n, np.bool_), np.full(n, p))
    assert np.allclose(none, 0.0)


# Sample ratio


def test_a_bandits_counts_agree_with_its_probabilities() -> None:
    rng = np.random.default_rng(8)
    p_values, ever = [], 0
    for _ in range(300):
        p = rng.dirichlet((1, 2, 3), 800)
        arm = (rng.random(800)[:, None] > p.cumsum(axis=1)).sum(axis=1)
        p_values.append(sample_ratio(arm, p).p)
        ever += any(sample_ratio(arm[:n], p[:n]).suspect for n in range(100, 801, 100))
    assert 0.025 < np.mean(np.array(p_values) < 0.05) < 0.075
    assert ever / 300 < 0.02


def test_lost_trials_are_noticed() -> None:
    rng = np.random.default_rng(9)
    arm = rng.integers(0, 2, 5000)
    kept = (arm == 0) | (rng.random(5000) < 0.85)  # 15 % of one arm get lost
    found = sample_ratio(arm[kept], np.full((int(kept.sum()), 2), 0.5))
    assert found.suspect
    assert found.p < 1e-3
    assert sample_ratio(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])).expected == [2.0, 0.0]


# Corrections


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12))
def test_corrections_keep_the_order_and_only_raise(p: list[float | None]) -> None:
    for correct in (holm, benjamini_hochberg):
        adjusted = correct(p)
        pairs = [(a, b) for a, b in zip(p, adjusted, strict=True) if a is not None and b is not None]
        assert len(pairs) == sum(v is not None for v in p)
        assert all(a <= b <= 1 for a, b in pairs)
        pairs.sort()
        assert all(x[1] <= y[1] for x, y in itertools.pairwise(pairs))
    strong, weak = holm(p), benjamini_hochberg(p)
    assert all(s is None or w is None or w <= s + 1e-12 for s, w in zip(strong, weak, strict=True))


def test_corrections_by_hand() -> None:
    p = [0.01, 0.04, 0.03, None, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, None, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, None, 0.02])


def test_interactions_of_equal_effects_are_rare() -> None:
    rng = np.random.default_rng(10)
    effects = rng.normal(0.1, [0.02, 0.05, 0.03], (4000, 3))
    pair = [interaction(e[0], 0.02, e[1], 0.05) < 0.05 for e in effects]
    q = [(heterogeneity(e, (0.02, 0.05, 0.03)) or 1.0) < 0.05 for e in effects]
    assert np.mean(pair) == pytest.approx(0.05, abs=0.012)
    assert np.mean(q) == pytest.approx(0.05, abs=0.012)
    assert interaction(0.3, 0.05, 0.0, 0.05) < 1e-4
    assert heterogeneity([1.0], [1.0]) is None


# Groups, power, distributions


def test_groups_cover_at_their_level() -> None:
    rng = np.random.default_rng(11)
    runs = 800
    rate = difference = ratio = 0
    for _ in range(runs):
        a, b = rng.poisson(1.2, 150).astype(float), rng.poisson(1.0, 100).astype(float)
        low, high = rate_interval(float((rng.random(60) < 0.05).sum()), 60)
        rate += low <= 0.05 <= high
        d, r = difference_of_means(a, b), ratio_of_means(a, b)
        assert d is not None
        assert r is not None
        difference += d.low <= 0.2 <= d.high
        ratio += r.low <= 1.2 <= r.high
    assert rate / runs > 0.92
    assert 0.93 < difference / runs < 0.97
    assert 0.93 < ratio / runs < 0.97
    assert rate_interval(0, 0) == (0.0, 1.0)
    assert difference_of_means(np.ones(5), np.ones(5)) is None
    assert ratio_of_means(np.zeros(5), np.ones(5)) is None


def test_the_planned_number_of_customers_finds_the_effect() -> None:
    n = customers_needed(0.06, 0.5, rate_variance(0.26), rate_variance(0.2), 0.05, 0.8)
    rng = np.random.default_rng(12)
    found = [compare(trial(rng, n, (0.26, 0.2))).p for _ in range(300)]
    assert np.mean([p is not None and p < 0.05 for p in found]) == pytest.approx(0.8, abs=0.07)
    watched = customers_needed(0.06, 0.5, rate_variance(0.26), rate_variance(0.2), 0.05, 0.8, watched=True)
    assert n < watched < 3 * n
    found = [compare(trial(rng, watched, (0.26, 0.2)), tuned_for=watched).seq_p for _ in range(200)]
    assert np.mean([p is not None and p < 0.05 for p in found]) == pytest.approx(0.8, abs=0.08)


def test_planning_by_the_books() -> None:
    """Fleiss, Levin & Paik 2003: 10 % against 15 %, power 0.8, equal arms: 683 each without a continuity correction."""
    n = customers_needed(0.05, 0.5, rate_variance(0.15), rate_variance(0.1), 0.05, 0.8)
    assert n / 2 == pytest.approx(683, abs=5)
    effect = detectable_effect(1366, 0.5, rate_variance(0.1), 0.05, 0.8)
    assert power_of(effect, standard_error(1366, 0.5, 0.09, 0.09), 0.05) == pytest.approx(0.8, abs=1e-3)


def test_distributions() -> None:
    assert z_of(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert quantile(0.8) == pytest.approx(0.841621, abs=1e-6)
    assert two_sided(1.959964) == pytest.approx(0.05, abs=1e-6)
    known = [
        (3.841459, 1, 0.05),
        (5.991465, 2, 0.05),
        (18.307038, 10, 0.05),
        (0.710723, 4, 0.95),
        (124.342113, 100, 0.05),
    ]
    for x, df, p in known:
        assert chi_square_sf(x, df) == pytest.approx(p, abs=1e-6)
    assert chi_square_sf(0.0, 3) == 1.0
    assert chi_square_sf(2000.0, 3) == 0.0 or chi_square_sf(2000.0, 3) < 1e-300


def test_a_confidence_sequence_is_wider_than_an_interval_and_narrowest_where_it_was_tuned() -> None:
    at = [half_width(1.0, n, 0.05, 1000) for n in (50, 1000, 50_000)]
    assert at[1] < min(at[0], at[2])
    assert at[1] > z_of(0.95)
