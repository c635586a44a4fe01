"""Money, dates and lists of texts all the way: stored, counted, read by conditions, said, logged, explained."""

from __future__ import annotations

import asyncio

import pytest

from engine.bundle import Active, compile_bundle
from engine.compiler.written import DATE_MAX, MONEY_MAX
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Event, Reason
from engine.identity import customer_key, event_hash
from engine.state.redis import RedisStore
from engine.step.inputs import feature_value
from engine.step.operations import ProfileChange
from engine.trial import run

RULES = b"""
events: {payment: {amount: {type: money, currency: EUR}, due: date, tags: texts}}
features:
  limit: {type: money, currency: EUR, above: 0}
  bonus: {type: money, currency: EUR, default: "0.05"}
  next_due: date
  interests: {type: texts, default: [travel]}
windows:
  spent: {sum: payment.amount, over: 7 days, since_start: zero}
  last_amount: {last: payment.amount}
  last_due: {last: payment.due}
facts: {total: windows.spent + features.bonus}
purposes: {p: {consent: not_required}}
messages:
  told:
    purpose: p
    on: [payment]
    when: windows.spent <= features.limit && event.due >= features.next_due && "rent" in event.tags
    channels: [sms]
    slots: {total: facts.total}
    variants:
      plain:
        en: "{event.amount} {windows.spent} {total} {windows.last_due} {event.tags} {interests}"
        es: "{windows.last_amount:money} {next_due:date} {event.tags:text}"
tests:
  - name: values are given as written
    given: {features: {limit: 100, next_due: 2026-01-01}, windows: {spent: 12.5, last_due: 2026-02-01}}
    event: {type: payment, amount: 0.005, due: 2026-01-01, tags: [rent, b]}
    expect: {text: "\xe2\x82\xac0.00 \xe2\x82\xac12.50 \xe2\x82\xac12.55 February 1, 2026 rent and b travel"}
  - name: a limit of nothing is none
    given: {features: {limit: 0, next_due: 2026-01-01}}
    event: {type: payment, amount: 1, due: 2026-01-01, tags: [rent]}
    expect: {no_message: DATA_MISSING}
  - name: an empty list cannot be listed
    given: {features: {limit: 5, next_due: 2026-01-01, interests: []}, windows: {last_due: 2026-02-01}}
    event: {type: payment, amount: 1, due: 2026-01-01, tags: [rent]}
    expect: {no_message: TEXT_UNAVAILABLE}
"""
EURO = 10**9


def payment(event_id: str, amount: int, due: int = 20_484, tags: tuple[str, ...] = ("rent",)) -> DecideRequest:
    return DecideRequest(Event(event_id, "ana", "payment", None, {"amount": amount, "due": due, "tags": tags}))


@pytest.mark.parametrize("test", compile_bundle({"rules.yaml": RULES}).ruleset.tests, ids=lambda t: t.name)
def test_rule_tests(test: object) -> None:
    bundle = compile_bundle({"rules.yaml": RULES})
    result = run(bundle, test)  # type: ignore[arg-type]
    assert result.passed, result.failures


def decider_of(store: RedisStore, rules: bytes = RULES) -> Decider:
    return create_decider(Active(compile_bundle({"rules.yaml": rules})), store)


async def put(decider: Decider, **features: object) -> None:
    assert await decider.put_profiles([ProfileChange("ana", features, [], None)]) == [None]


def test_stored_counted_said_and_told(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = decider_of(store)
        await put(decider, limit=1000 * EURO, next_due=20_454, interests=("food", "travel"))
        [first] = await decider.decide([payment("e1", 10 * EURO + EURO // 10)])
        [second] = await decider.decide([payment("e2", 20 * EURO + EURO // 5, tags=("rent", "home"))])
        assert isinstance(first, list)
        assert isinstance(second, list)
        assert first[0].text == "€10.10 €10.10 €10.15 January 31, 2026 rent food and travel"
        assert second[0].text == "€20.20 €30.30 €30.35 January 31, 2026 rent and home food and travel"
        entry = await store.find_decision(customer_key("ana"), event_hash("e2"), 0)
        assert entry is not None
        assert entry.values_read == {
            "windows.spent": "30.30 EUR",
            "features.limit": "1000.00 EUR",
            "event.due": "2026-01-31",
            "features.next_due": "2026-01-01",
            "event.tags": ["rent", "home"],
        }
        told = {
            "windows.spent": "30.30 EUR",
            "features.limit": "1000.00 EUR",
            "event.due": "2026-01-31",
            "features.next_due": "2026-01-01",
            "event.tags": '["rent", "home"]',
        }
        bundle = compile_bundle({"rules.yaml": RULES})
        past = await decider.explain(second[0].decision_id, bundle, "")
        assert [c.values_read for c in past.candidates] == [told]
        what_if = await decider.explain(payment("w", 0, tags=("rent", "home")), bundle, "")
        assert [c.values_read for c in what_if.candidates] == [told]

    runner.run(scenario())


def test_extremes_and_refusals(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = decider_of(store)
        await put(decider, limit=MONEY_MAX, next_due=DATE_MAX, interests=("x",) * 256)

        async def reason(request: DecideRequest) -> Reason:
            [result] = await decider.decide([request])
            assert isinstance(result, list), result
            return result[0].reason

        assert await reason(payment("e1", MONEY_MAX)) is Reason.NOT_IN_AUDIENCE  # not due yet
        assert await reason(payment("e2", -EURO, DATE_MAX, ("b",))) is Reason.NOT_IN_AUDIENCE
        assert await reason(payment("e3", -1, DATE_MAX)) is Reason.SELECTED
        profile = await decider.get_profile("ana")
        assert profile is not None
        assert {name: cell.value for name, cell in profile.cells.items()} == {
            "limit": MONEY_MAX,
            "next_due": DATE_MAX,
            "interests": ("x",) * 256,
        }

    runner.run(scenario())


def test_what_was_stored_in_another_currency_is_missing(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await put(decider_of(store), limit=1000 * EURO, next_due=20_454)
        [before] = await decider_of(store).decide([payment("e1", 10 * EURO)])
        dollars = RULES.replace(b"EUR", b"USD")
        profile = await decider_of(store).get_profile("ana")
        assert profile is not None
        assert profile.cells["limit"].unit == "EUR"
        features = compile_bundle({"rules.yaml": dollars}).ruleset.features
        assert feature_value(features["limit"], profile, 0) != 1000 * EURO
        assert feature_value(features["next_due"], profile, 0) == 20_454
        [after] = await decider_of(store, dollars).decide([payment("e2", 10 * EURO)])
        assert isinstance(before, list)
        assert isinstance(after, list)
        assert (before[0].reason, after[0].reason) == (Reason.SELECTED, Reason.DATA_MISSING)
        assert after[0].details.feature == "limit"

    runner.run(scenario())
