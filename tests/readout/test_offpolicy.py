"""Off-policy evaluation against known truth: simulated bandits, and labels of real data."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.csv as pc
import pytest

from engine.decision import SHARE_UNIT, OutcomeKind
from engine.errors import RulesInvalid, TactError
from engine.readout.judged import encoded, from_trials, policies_of
from engine.readout.log import F64
from engine.readout.offpolicy import Judgement, Logged, judge
from engine.readout.target import Target, read_target
from engine.readout.trials import read_trials
from engine.state.log import Entry
from tests.readout.written import DAY_MS, START_MS, archive, decision, outcome

ROOT = Path(__file__).resolve().parents[2]
BANK = Path(os.environ.get("TACT_BANK_CSV") or ROOT.parent / "shared" / "data" / "bank-full.csv.gz")
METHODS = ("IPS", "SNIPS", "DM", "DR", "switch-DR")


def world(rng: np.random.Generator, n: int, sharp: float = 2.0) -> tuple[Logged, F64, float]:
    """(a log of three actions, a target, its true value): rewards depend on two numbers and the action."""
    x = rng.normal(size=(n, 2))
    mean = np.stack([0.3 + 0.1 * x[:, 0], 0.4 - 0.1 * x[:, 0], 0.2 + 0.1 * x[:, 1]], axis=1)
    scores = np.exp(sharp * np.stack([x[:, 1], -x[:, 1], 0 * x[:, 0]], axis=1))
    logged = 0.05 + 0.85 * scores / scores.sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] > logged.cumsum(axis=1)).sum(axis=1)
    rows = np.arange(n)
    reward = mean[rows, action] + rng.normal(size=n) * 0.3
    target = np.where(mean == mean.max(axis=1, keepdims=True), 0.9, 0.05)
    log = Logged(["a", "b", "c"], action, reward, logged[rows, action], rows, x, np.ones((n, 3)), logged)
    return log, target, float((target * mean).sum(axis=1).mean())


def by_method(judgement: Judgement) -> dict[str, tuple[float, float, float]]:
    return {e.method: (e.value, e.low, e.high) for e in judgement.estimates}


def test_estimates_are_right_and_their_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    runs, covered = 200, dict.fromkeys(METHODS, 0)
    errors: dict[str, list[float]] = {m: [] for m in METHODS}
    gains = 0
    for _ in range(runs):
        log, target, truth = world(rng, 1000)
        judgement = judge(log, target)
        assert judgement.overlap.weight_p > 1e-6
        for method, (value, low, high) in by_method(judgement).items():
            covered[method] += low <= truth <= high
            errors[method].append(value - truth)
        dr = next(e for e in judgement.estimates if e.method == "DR")
        gains += dr.gain_low > 0
    for method in ("IPS", "SNIPS", "DR", "switch-DR"):
        assert 0.90 < covered[method] / runs < 0.99, method
        assert abs(np.mean(errors[method])) < 4 * np.std(errors[method]) / np.sqrt(runs), method
    assert np.std(errors["DR"]) < 0.8 * np.std(errors["IPS"])  # what the model is for
    assert gains / runs > 0.8  # the target is better than what ran, and that is seen


def test_a_wrong_model_does_not_spoil_doubly_robust() -> None:
    """The log followed a trait that the model is not shown; DM is off, DR is not."""
    rng = np.random.default_rng(2)
    errors: dict[str, list[float]] = {m: [] for m in METHODS}
    for _ in range(60):
        n = 2000
        trait = rng.integers(0, 2, n)
        p = np.where(trait == 1, 0.9, 0.1)
        action = (rng.random(n) < p).astype(np.int64)
        logged = np.stack([1 - p, p], axis=1)
        reward = (rng.random(n) < 0.2 + 0.4 * trait).astype(float)  # no action changes anything
        rows = np.arange(n)
        log = Logged(["a", "b"], action, reward, logged[rows, action], rows, np.zeros((n, 0)), np.ones((n, 2)), logged)
        for method, (value, _, _) in by_method(judge(log, np.tile([0.0, 1.0], (n, 1)))).items():
            errors[method].append(value - float((0.2 + 0.4 * trait).mean()))
    assert np.mean(errors["DM"]) > 0.1
    assert abs(np.mean(errors["DR"])) < 0.02
    assert abs(np.mean(errors["SNIPS"])) < 0.02


def test_switching_tames_rare_weights() -> None:
    rng = np.random.default_rng(3)
    errors: dict[str, list[float]] = {"DR": [], "switch-DR": []}
    for _ in range(100):
        n = 500
        p = np.where(rng.random(n) < 0.97, 0.5, 0.004)
        action = (rng.random(n) < p).astype(np.int64)
        logged = np.stack([1 - p, p], axis=1)
        reward = 1.0 + 0.5 * action + rng.normal(size=n)
        rows = np.arange(n)
        log = Logged(["a", "b"], action, reward, logged[rows, action], rows, np.zeros((n, 0)), np.ones((n, 2)), logged)
        judgement = judge(log, np.tile([0.0, 1.0], (n, 1)))
        for method in errors:
            errors[method].append(by_method(judgement)[method][0] - 1.5)
    assert np.square(errors["switch-DR"]).mean() < 0.7 * np.square(errors["DR"]).mean()


def test_the_policy_that_ran_earns_what_it_earned() -> None:
    log, _, _ = world(np.random.default_rng(4), 3000)
    assert log.logged is not None
    judgement = judge(log, log.logged)
    values = by_method(judgement)
    assert values["IPS"][0] == pytest.approx(judgement.earned)
    assert values["SNIPS"][0] == pytest.approx(judgement.earned)
    assert judgement.overlap.effective == pytest.approx(3000)
    assert judgement.overlap.warnings == []


def test_wrong_propensities_and_missing_support_are_told() -> None:
    log, target, _ = world(np.random.default_rng(5), 3000)
    wrong = Logged(log.actions, log.action, log.reward, np.full(3000, 0.5), log.customer, log.context, log.possible)
    [warning, *_] = judge(wrong, target).overlap.warnings
    assert "the probabilities are not those of this log" in warning
    assert log.logged is not None
    never = log.logged.copy()
    never[log.action != 1, 1] = 0.0
    without = Logged(
        log.actions, log.action, log.reward, log.propensity, log.customer, log.context, log.possible, never
    )
    unsupported = judge(without, target).overlap
    assert unsupported.unsupported is not None
    assert unsupported.unsupported > 0.2
    assert any("was impossible in the log" in w for w in unsupported.warnings)


@pytest.mark.skipif(not BANK.exists(), reason="the UCI bank marketing data is not on this machine")
def test_labels_of_real_data_as_a_bandit() -> None:
    """Supervised to bandit, as Dudik et al. 2011, section 4: guess the label, be rewarded where right; all is known."""
    table = pc.read_csv(BANK, parse_options=pc.ParseOptions(delimiter=";")).slice(0, 10_000)
    label = np.array(table["y"].to_pylist()) == "yes"
    context = encoded([table[c].to_pylist() for c in ("age", "job", "balance", "housing", "contact", "poutcome")])
    won = np.array(table["poutcome"].to_pylist()) == "success"
    n = len(label)
    guess_yes = np.where(won, 0.9, 0.1)
    target = np.stack([1 - guess_yes, guess_yes], axis=1)
    truth = float(np.where(label, guess_yes, 1 - guess_yes).mean())
    p = np.where(np.array(table["housing"].to_pylist()) == "yes", 0.3, 0.6)
    logged = np.stack([1 - p, p], axis=1)
    rng, rows = np.random.default_rng(6), np.arange(n)
    covered = dict.fromkeys(METHODS, 0)
    for _ in range(12):
        action = (rng.random(n) < p).astype(np.int64)
        reward = ((action == 1) == label).astype(float)
        log = Logged(["no", "yes"], action, reward, logged[rows, action], rows, context, np.ones((n, 2)), logged)
        for method, (value, low, high) in by_method(judge(log, target)).items():
            covered[method] += low <= truth <= high
            assert abs(value - truth) < 0.03, method
    assert min(covered[m] for m in ("IPS", "SNIPS", "DR", "switch-DR")) >= 9


# Tact's own log


def simulated(n: int = 4000, slates: bool = False) -> list[Entry]:
    """Three variants; b is good in the south, a elsewhere; shares by a bandit that likes c."""
    rng = random.Random(7)
    entries: list[Entry] = []
    for i in range(n):
        shares = {"a": SHARE_UNIT // 5, "b": SHARE_UNIT // 5, "c": SHARE_UNIT - 2 * (SHARE_UNIT // 5)}
        if i % 10 == 0:  # c could not be said
            shares = {"a": SHARE_UNIT // 2, "b": SHARE_UNIT // 2}
        variant = rng.choices(list(shares), list(shares.values()))[0]
        region = "ns"[i % 2]
        one = decision(
            f"c{i // 2}", i + 1, START_MS + i * DAY_MS // 100, shares, variant, segment=region,
            values_read={"features.age": i % 80},
        )  # fmt: skip
        entries.append(one)
        if rng.random() < (0.5 if (variant == "b") == (region == "s") and variant != "c" else 0.1):
            entries.append(outcome(one, OutcomeKind.CONVERTED))
    if slates:
        entries.append(decision("c0", 1, START_MS, {"a": SHARE_UNIT}, "a", slot=1))
    entries.append(decision("end", 1, START_MS + 90 * DAY_MS, {"a": SHARE_UNIT}, "a", policy="other"))
    return entries


def target_of(tmp_path: Path, text: str, policies: Sequence[str] = ("words",), variants: str = "abc") -> Target:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return read_target(path, policies, list(variants))


def test_a_policy_by_region_is_judged_on_tacts_log(tmp_path: Path) -> None:
    log = read_trials(archive(tmp_path / "log", simulated()), True)
    assert policies_of(log) == {"words": ["a", "b", "c"], "other": ["a"]}
    target = target_of(
        tmp_path,
        "policies:\n  words:\n    kind: fixed\n    floor: 0\n    weights: {a: 1}\n    reward: {converted: 2}\n"
        "    cases:\n      - {where: {segment: [s]}, weights: {b: 1}}\n",
    )
    ready = from_trials(log, "words", target.reward, 7, ())
    shares = target.probabilities(ready.log.actions, ready.log.possible, ready.column, 0.02)
    assert sorted(map(tuple, np.unique(shares, axis=0).tolist())) == [(0, 1, 0), (1, 0, 0)]
    judgement = judge(ready.log, shares)
    assert judgement.overlap.warnings == []
    for method, (value, low, high) in by_method(judgement).items():
        assert low <= 1.0 <= high or method == "DM", method  # 2 x 0.5
        assert value == pytest.approx(1.0, abs=0.12), method
    assert judgement.overlap.customers == 2000


def test_cases_floors_and_what_is_left(tmp_path: Path) -> None:
    log = read_trials(archive(tmp_path / "log", simulated(400)), True)
    ready = from_trials(log, "words", {"converted": 1}, 7, ("features.age",))
    text = (
        "policies:\n  words:\n    kind: fixed\n    weights: {c: 1, a: 0, b: 0}\n"
        "    cases:\n      - {where: {features.age: {at_least: 40, below: 50}, segment: n}, weights: {a: 1, c: 3}}\n"
    )
    shares = target_of(tmp_path, text).probabilities(ready.log.actions, ready.log.possible, ready.column, 0.02)
    ages = np.array([int(str(v)) for v in ready.column("features.age")])
    north = np.array(ready.column("segment")) == "n"
    said = ready.log.possible[:, 2] > 0
    case = (ages >= 40) & (ages < 50) & north
    assert np.allclose(shares[case & said], [0.02 + 0.96 / 4, 0, 0.02 + 0.96 * 3 / 4])
    assert np.allclose(shares[case & ~said], [1, 0, 0])
    assert np.allclose(shares[~case & said], [0, 0, 1])
    assert np.allclose(shares[~case & ~said], 0)
    overlap = judge(ready.log, shares).overlap
    assert overlap.unsupported == pytest.approx(float((~case & ~said).mean()))


def test_slates_are_refused(tmp_path: Path) -> None:
    log = read_trials(archive(tmp_path / "log", simulated(200, slates=True)), True)
    with pytest.raises(TactError, match=r"^2 of the decisions are parts of slates"):
        from_trials(log, "words", {"converted": 1}, 7, ())


@pytest.mark.parametrize(
    ("days", "reward", "context", "message", "problem"),
    [
        (99, {"converted": 1.0}, (), "", "no decision of the policy 'words' is older than 99 days"),
        (7, {"converted": 1.0}, (), "offre", "no decision of the policy 'words' of the message 'offre' is older"),
        (7, {"replied": 1.0}, (), "", "the log has no outcome 'replied'; it has: converted"),
        (7, {"converted": 1.0}, ("features.aeg",), "", "no decision read 'features.aeg'"),
    ],
)
def test_what_cannot_be_judged_is_told(
    tmp_path: Path, days: float, reward: dict[str, float], context: tuple[str, ...], message: str, problem: str
) -> None:
    log = read_trials(archive(tmp_path / "log", simulated(200)), True)
    with pytest.raises(TactError, match=problem):
        from_trials(log, "words", reward, days, context, message)


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("caps: [{at_most: 1, per: [customer], in: 1 day}]\n", "not-evaluable", "'caps' cannot be judged from a log"),
        ("arbitration: {kind: thompson}\n", "not-evaluable", "'arbitration' cannot be judged from a log"),
        ("messages: {}\n", "not-evaluable", "'messages' cannot be judged from a log"),
        ("purposes: {}\n", "not-evaluable", "'purposes' cannot be judged from a log"),
        ("products: {}\n", "not-evaluable", "'products' cannot be judged from a log"),
        ("policies: {words: {kind: thompson, weights: {a: 1}}}\n", "not-evaluable", "a policy of kind 'thompson'"),
        ("policies: {words: {kind: fixed, weights: {a: 1}, sticky: customer}}\n", "not-evaluable", "'sticky' cannot"),
        ("policies: {word: {kind: fixed, weights: {a: 1}}}\n", "unknown-policy", "the log has no policy 'word'"),
        ("policies: {words: {kind: fixed, weights: {d: 1}}}\n", "unknown-variant", "the log has no variant 'd'"),
        ("policies: {words: {kind: fixed, weights: {a: -1}}}\n", "bad-value", "'a' is out of range"),
        ("policies: {words: {kind: fixed, weights: {a: 0}}}\n", "bad-value", "all weights are zero"),
        ("policies: {words: {kind: fixed}}\n", "missing-key", "the policy 'words' needs 'weights'"),
        ("policies: {}\n", "bad-value", "one policy is judged at a time"),
    ],
)
def test_a_policy_file_that_asks_for_too_much(tmp_path: Path, text: str, code: str, told: str) -> None:
    with pytest.raises(RulesInvalid) as refused:
        target_of(tmp_path, text)
    [finding] = refused.value.findings
    assert finding.code == code
    assert finding.message.startswith(told)
