"""Ranks that were learnt, and reserves, by both ways: the same choice, answer and log, in kernels."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.bundle import compile_bundle
from engine.columns import rates
from engine.columns.shares import ShareTable
from engine.decision import Reason
from engine.learning.linear import REWARD_UNIT
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.state.log import DecisionEntry
from tests.columns import rounds
from tests.columns.rounds import DAY_MS, Town
from tests.columns.twin import Left

RULES = """
events: {ask: {count: integer}, look: {}, ping: {}}
features: {region: text, age: integer}
purposes: {first: {consent: not_required, tier: 1}, ads: {consent: not_required}}
policies:
  words:
    kind: thompson
    reward: {replied: 1}
    by: [features.region]
    values: {b: 1.4}
    prior: {rate: 5%, weight: 8}
    trial: {share: 30%}
    outside: c
    MODEL
  one: {kind: epsilon_greedy, reward: {replied: 1}, trial: {share: 40%, weights: {a: 1, b: 3}}}
layers:
  autumn: {salt: "2026", slices: {words: 70%}}
messages:
  offer:
    purpose: ads
    on: [ask]
    channels: [push, sms]
    policy: words
    rank: learned
    value: 3
    slots: {x: {is: features.age, as: integer}}
    variants: {a: {en: "A."}, b: {en: "{x}"}, c: {en: "C.", es: "C?"}}
  deal: {like: offer, value: event.count, reserve: 0.4}
  twin: {like: offer}
  plain: {purpose: ads, on: [ask], channels: [sms], value: 0.35, variants: {a: {en: "P."}}}
  other: {like: plain}
  least: {like: plain, value: 0.2}
  ahead:
    purpose: first
    on: [look]
    channels: [sms]
    policy: one
    rank: learned
    reserve: 0.5
    variants: {a: {en: "S."}}
  behind: {like: ahead, purpose: ads, value: 7, variants: {a: {en: "S."}, b: {en: "T."}}}
  silent: {purpose: ads, on: [ping], channels: [sms], value: features.age, reserve: 40, variants: {a: {en: "N."}}}
"""


def learnt(version: int) -> Posteriors:
    arms = {}
    for m, message in enumerate(("offer", "deal", "twin")):
        for s, segment in enumerate(("north", "south")):
            for v, variant in enumerate("abc"):
                trials = 20 * version * (m + s + v) % 97
                arms[ArmKey("words", message, segment, variant)] = ArmState(trials, trials * REWARD_UNIT * (v + s) // 6)
    for m, message in enumerate(("ahead", "behind")):
        arms[ArmKey("one", message, "", "a")] = ArmState(40, (10 * version + 5 * m) % 40 * REWARD_UNIT)
    return Posteriors(version, arms)


@pytest.mark.parametrize("model", ["model: beta", "model: gaussian"])
def test_what_was_learnt_ranks_in_kernels(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is decided goes through kernels; who wins, who is below the reserve, and why, as in Python."""
    entries: list[DecisionEntry] = []
    compare = rounds.compare

    def noted(columns: list[Left | None], step: list[Left | None]) -> int:
        entries.extend(one.entry for one in columns if one is not None and isinstance(one.entry, DecisionEntry))
        return compare(columns, step)

    monkeypatch.setattr(rounds, "compare", noted)
    bundle = compile_bundle({"a.yaml": RULES.replace("MODEL", model).encode()})
    town = Town(4, bundle, 120, ("north", "south"), usual={"region": ("north", "south"), "age": (20, 39, 40, 70)})
    for k in range(5):
        town.round(step_ms=DAY_MS, posteriors=learnt(k) if k else None)
    assert town.tally.taken >= 0.95 * town.tally.events
    said = Counter(e.message for e in entries if e.reason == Reason.SELECTED)
    assert {"offer", "deal", "twin", "plain", "ahead", "behind", "silent"} <= set(said), said
    below = {c.message for e in entries for c in e.candidates if c.stopped_by == Reason.BELOW_RESERVE}
    assert below == {"deal", "ahead", "silent"}
    assert town.tally.reasons[Reason.BELOW_RESERVE] > 10
    beaten = [c for e in entries for c in e.candidates if c.stopped_by == 0 and c.share == 0]
    assert len(beaten) > 100  # asked, as nobody knew its rank
    assert sum(len(e.ranks) for e in entries if e.reason == Reason.BELOW_RESERVE) > 5
    assert {rank.assignment for e in entries for rank in e.ranks} == {0, 1, 2}  # the policy, its slice, outside
    for e in entries:
        for rank in e.ranks:
            assert e.candidates[rank.candidate].rank == rank.value * rank.rate


def test_more_harm_than_good_was_done() -> None:
    """Bad rewards take means below zero; whoever ranks by them goes last, and is not in the way of others."""
    bundle = compile_bundle({"a.yaml": RULES.replace("MODEL", "model: beta").encode()})
    harm = Posteriors(1, {arm: ArmState(9, -9 * REWARD_UNIT) for arm in learnt(1).arms})
    town = Town(4, bundle, 60, ("north", "south"), usual={"region": ("north", "south"), "age": (20, 39, 40, 70)})
    for _ in range(2):
        town.round(step_ms=DAY_MS, posteriors=harm)
    assert town.tally.taken >= 0.95 * town.tally.events
    assert town.tally.reasons[Reason.SELECTED] > 10


def test_what_could_not_be_made_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = compile_bundle({"a.yaml": RULES.replace("MODEL", "model: beta").encode()})
    table = ShareTable(learnt(1), bundle.steps.messages)
    with monkeypatch.context() as broken:
        broken.setattr(rates, "learnt_worth", lambda *_: 1 / 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                table.row(0, 3, "north", False)
    assert table.row(0, 3, "north", False) == 0
    assert table.row(0, 3, "north", False) == 0
    assert table.rates.rates[0, 1] > 0


def test_more_rows_than_there_was_room_for() -> None:
    bundle = compile_bundle({"a.yaml": RULES.replace("MODEL", "floor: 5%").encode()})
    table = ShareTable(learnt(1), bundle.steps.messages)
    rows = [table.row(0, fit, f"segment {k}", True) for k in range(60) for fit in (1, 3, 5, 7)]
    assert rows == list(range(240))
    made = table.rates
    assert (made.rates[:240, 1] > 0).all()
    assert set(made.rates[:240, 0].tolist()) == {1.0, 1.4}  # where b is left
    spans = made.spans[:240]
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[1:, 0] == spans[:-1, 2]).all()
    assert b"segment 59" in bytes(made.texts[spans[-1, 0] : spans[-1, 1]])
