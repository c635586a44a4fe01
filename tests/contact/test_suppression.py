"""Suppression after outcomes: whom it leaves alone, and until when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import compile_bundle
from engine.compiler import ruleset
from engine.contact.caps import Proposal
from engine.contact.suppression import stopped_by_outcomes
from engine.decision import OutcomeKind, Reason
from engine.errors import RulesInvalid
from engine.identity import name_hash
from engine.state.model import Touch, TouchFlag

DAY = 86_400_000
BASE = """
events: {ping: {}}
purposes: {ads: {consent: not_required}, service: {consent: not_required, tier: 1}}
products: {loan: {}, card: {}}
messages:
  offer: {purpose: ads, product: loan, on: [ping], channels: [sms], variants: {plain: {en: "A loan?"}}}
  renamed: {like: offer, was: [old_offer]}
  other: {like: offer, product: card}
  bare: {purpose: ads, on: [ping], channels: [sms], variants: {plain: {en: "Hello."}}}
  needed: {like: offer, purpose: service}
"""
BY_PRODUCT = "suppress: [{after: %s, per: [product], for: 30 days}]"
IGNORED = "suppress: [{after: ignored, times: 3, in: 20 days, per: [message], for: 10 days}]"
MARKS = {kind: TouchFlag.outcome(kind) for kind in (OutcomeKind.CONVERTED, OutcomeKind.DECLINED, OutcomeKind.OPENED)}


def touch(at_ms: int, flags: int = 0, message: str = "offer", product: str = "loan", purpose: str = "ads") -> Touch:
    names = (name_hash(message), 0, name_hash("sms"), name_hash(purpose), 0, name_hash(product), 0, 0, 0, 0)
    return Touch(at_ms, at_ms & (2**64 - 1), 0, *names, at_ms + DAY, at_ms + 3 * DAY, flags)


def stopped(rules: str, message: str, touches: list[Touch], now_ms: int) -> tuple[Reason, int, int, int] | None:
    """(reason, count, limit, when it frees)."""
    step = compile_bundle({"a.yaml": (BASE + rules).encode()}).steps.by_name[message]
    new = Proposal(now_ms, step.keys, name_hash(step.message.purpose), step.topic, 0, step.product, step.stage, 0)
    found = stopped_by_outcomes(step.suppressions, touches, new, now_ms)
    return (found[0], found[1].count, found[1].limit, found[1].frees_at_ms) if found else None


@pytest.mark.parametrize(
    ("after", "kind", "reason"),
    [
        ("converted", OutcomeKind.CONVERTED, Reason.ALREADY_CONVERTED),
        ("declined", OutcomeKind.DECLINED, Reason.ALREADY_DECLINED),
    ],
)
def test_one_outcome_silences_its_product(after: str, kind: OutcomeKind, reason: Reason) -> None:
    rules, touches = BY_PRODUCT % after, [touch(5 * DAY, MARKS[kind])]
    assert stopped(rules, "offer", touches, 6 * DAY) == (reason, 1, 1, 35 * DAY)
    assert stopped(rules, "offer", touches, 35 * DAY - 1) == (reason, 1, 1, 35 * DAY)
    assert stopped(rules, "offer", touches, 35 * DAY) is None
    assert stopped(rules, "renamed", touches, 6 * DAY) is not None  # the same product
    assert stopped(rules, "other", touches, 6 * DAY) is None  # another product
    assert stopped(rules, "bare", touches, 6 * DAY) is None  # none
    assert stopped(rules, "needed", touches, 6 * DAY) is None  # tier 1
    assert stopped(rules, "offer", [touch(5 * DAY)], 6 * DAY) is None


def test_an_outcome_counts_whatever_the_gateway_said_of_delivery_but_not_in_the_holdout() -> None:
    rules, converted = BY_PRODUCT % "converted", MARKS[OutcomeKind.CONVERTED]
    assert stopped(rules, "offer", [touch(0, converted | TouchFlag.RELEASED)], DAY) is not None
    assert stopped(rules, "offer", [touch(0, converted | TouchFlag.WITHHELD)], DAY) is None


def test_purposes_say_whose_outcomes_count() -> None:
    rules = "suppress: [{after: declined, per: [product], for: 30 days, purposes: [ads, service]}]"
    declined = MARKS[OutcomeKind.DECLINED]
    assert stopped(rules, "offer", [touch(0, declined, purpose="service")], DAY) is not None
    assert stopped(BY_PRODUCT % "declined", "offer", [touch(0, declined, purpose="service")], DAY) is None


def test_ignored_three_times_in_a_row() -> None:
    three = [touch(d * DAY) for d in (1, 3, 5)]
    assert stopped(IGNORED, "offer", three, 8 * DAY - 1) is None  # the last is not due yet
    assert stopped(IGNORED, "offer", three, 8 * DAY) == (Reason.REPEATEDLY_IGNORED, 3, 3, 15 * DAY)
    assert stopped(IGNORED, "offer", three, 15 * DAY) is None
    assert stopped(IGNORED, "other", three, 8 * DAY) is None
    opened = MARKS[OutcomeKind.OPENED]
    for k in range(3):  # a reaction begins the row anew
        assert stopped(
            IGNORED, "offer", [t._replace(flags=opened) if t is three[k] else t for t in three], 8 * DAY
        ) is (None)
    assert stopped(IGNORED, "offer", [touch(0, opened), *three], 8 * DAY) is not None


def test_a_reaction_begins_the_row_anew() -> None:
    opened = MARKS[OutcomeKind.OPENED]
    row = [touch(DAY), touch(2 * DAY), touch(3 * DAY, opened), touch(4 * DAY), touch(5 * DAY)]
    assert stopped(IGNORED, "offer", row, 9 * DAY) is None  # four were ignored, but two since the reaction
    assert stopped(IGNORED, "offer", [*row, touch(6 * DAY)], 9 * DAY) is not None


def test_what_was_not_delivered_was_not_ignored_and_long_ago_is_forgotten() -> None:
    unseen = [touch(DAY, TouchFlag.RELEASED), touch(3 * DAY), touch(5 * DAY)]
    assert stopped(IGNORED, "offer", unseen, 8 * DAY) is None
    assert stopped(IGNORED, "offer", [touch(d * DAY) for d in (0, 15, 20)], 24 * DAY) is None  # 20 days apart
    assert stopped(IGNORED, "offer", [touch(d * DAY) for d in (1, 15, 20)], 24 * DAY) is not None
    delivered = TouchFlag.outcome(OutcomeKind.DELIVERED)
    assert stopped(IGNORED, "offer", [touch(d * DAY, delivered) for d in (1, 15, 20)], 24 * DAY) is not None


def test_former_names_count() -> None:
    three = [touch(d * DAY, message="old_offer") for d in (1, 3, 5)]
    assert stopped(IGNORED, "renamed", three, 8 * DAY) is not None
    assert stopped(IGNORED, "offer", three, 8 * DAY) is None


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from((0, 0, 0, *MARKS.values(), 1))), max_size=8),
    st.integers(0, 70),
)
def test_it_says_truly_when_it_frees(rows: list[tuple[int, int]], day: int) -> None:
    touches = [touch(at * DAY, flags) for at, flags in rows]
    for rules in (BY_PRODUCT % "declined", IGNORED):
        found = stopped(rules, "offer", touches, day * DAY)
        if found is not None:
            frees = found[3]
            assert frees > day * DAY
            before = [t for t in touches if t.report_by_ms <= day * DAY or t.flags]  # nothing new falls due meanwhile
            assert stopped(rules, "offer", before, frees) is None


def test_touches_are_kept_for_as_long_as_they_are_asked_for() -> None:
    rules = "suppress: [{after: ignored, in: 100 days, for: 200 days, per: [message]}]"
    assert compile_bundle({"a.yaml": (BASE + rules).encode()}).steps.touches_kept_ms == 300 * DAY


def test_what_a_rule_is_called() -> None:
    rules = ruleset.load({"a.yaml": (BASE + IGNORED).encode()})
    assert rules.suppressions[0].title == (
        "nothing per customer and message for 10 days after ignored 3 times in 20 days"
    )


@pytest.mark.parametrize(
    ("rules", "codes"),
    [
        ("suppress: [{after: bought, per: [product], for: 3 days}]", ["bad-value"]),
        ("suppress: [{after: converted, per: [channel], for: 3 days}]", ["bad-value"]),
        ("suppress: [{after: converted, per: [product]}]", ["missing-key"]),
        ("suppress: [{after: converted, times: 2, per: [product], for: 3 days}]", ["bad-value"]),
        ("suppress: [{after: ignored, times: 0, per: [product], for: 3 days}]", ["bad-value"]),
        ("suppress: [{after: ignored, per: [message], for: 320 days}]", ["bad-value"]),
        ("suppress: [{after: converted, per: [product], for: 500 days}]", ["bad-value"]),
        ("suppress: [{after: converted, per: [product], for: 3 days, purposes: [adds]}]", ["unknown-purpose"]),
        ("suppression: [{after: converted, per: [product], for: 3 days}]", ["unknown-key"]),
    ],
)
def test_mistakes(rules: str, codes: list[str]) -> None:
    with pytest.raises(RulesInvalid) as refused:
        ruleset.load({"a.yaml": (BASE + rules).encode()})
    assert [f.code for f in refused.value.findings] == codes
