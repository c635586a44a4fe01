"""Windows of one definition share what is counted, whatever they are called: nothing is counted twice."""

from __future__ import annotations

import asyncio

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Event
from engine.identity import customer_key, event_hash
from engine.state.redis import RedisStore

RULES = {
    "rules.yaml": b"""
events: {deposit: {amount: number}}
windows:
  one: {count: deposit, over: 30 days, since_start: zero}
  two: {count: deposit, over: 30 days, since_start: zero}
  paid: {sum: deposit.amount, over: 30 days, since_start: zero}
  paid_too: {sum: deposit.amount, over: 30 days, since_start: zero}
purposes: {p: {consent: not_required}}
messages:
  told:
    purpose: p
    on: [deposit]
    channels: [sms]
    variants: {plain: {en: "{windows.one} {windows.two} {windows.paid} {windows.paid_too}"}}
"""
}


def test_twins_count_an_event_once(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle(RULES)), store)
        texts = []
        for i in range(3):
            [result] = await decider.decide([DecideRequest(Event(f"e{i}", "ana", "deposit", None, {"amount": 2.0}))])
            assert isinstance(result, list)
            texts.append(result[0].text)
        assert texts == ["1 1 2 2", "2 2 4 4", "3 3 6 6"]

    runner.run(scenario())


LAST = {
    "rules.yaml": b"""
events: {seen: {at: time, urgent: bool, took: duration, amount: number}}
windows:
  at: {last: seen.at}
  urgent: {last: seen.urgent}
  took: {last: seen.took}
  amount: {last: seen.amount}
purposes: {p: {consent: not_required}}
messages:
  told:
    purpose: p
    on: [seen]
    when: windows.urgent && windows.took > duration("1s")
    channels: [sms]
    variants: {plain: {en: "{windows.at:date} {windows.amount}"}}
"""
}


def test_the_last_of_every_type(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle(LAST)), store)

        async def said(event_id: str, **attributes: object) -> str:
            [result] = await decider.decide([DecideRequest(Event(event_id, "ana", "seen", None, attributes))])
            assert isinstance(result, list), result
            return result[0].text or result[0].reason.name

        assert await said("e0") == "DATA_MISSING"
        day = 1_790_000_000 * 10**9
        assert await said("e1", at=day, urgent=True, took=2 * 10**9, amount=1.5) == "September 21, 2026 1.5"
        assert await said("e2") == "September 21, 2026 1.5"
        far = 253_402_300_799 * 10**9  # more nanoseconds than 64 bits hold
        assert await said("e3", at=far, amount=2.5) == "December 31, 9999 2.5"
        assert await said("e4", urgent=False) == "NOT_IN_AUDIENCE"

    runner.run(scenario())


SEGMENTS = {
    "rules.yaml": b"""
events: {seen: {urban: bool, region: text, age: integer}}
purposes: {p: {consent: not_required}}
policies:
  b: {kind: thompson, reward: {replied: 1.0}, by: [event.urban, event.region, event.age >= 18]}
messages:
  told:
    purpose: p
    on: [seen]
    channels: [sms]
    policy: b
    variants: {plain: {en: "{event.age}"}, other: {en: "{event.age}"}}
"""
}


def test_conditions_are_values_too(store: RedisStore, runner: asyncio.Runner) -> None:
    """In the segments that learning is keyed by."""

    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle(SEGMENTS)), store)
        for i, (urban, age) in enumerate(((True, 17), (False, 18), (True, 40))):
            attributes: dict[str, object] = {"urban": urban, "region": "north", "age": age}
            [result] = await decider.decide([DecideRequest(Event(f"e{i}", "ana", "seen", None, attributes))])
            assert isinstance(result, list)
            assert result[0].text == f"{age}"
            entry = await store.find_decision(customer_key("ana"), event_hash(f"e{i}"), 0)
            assert entry is not None
            assert entry.segment == f"{urban}|north|{age >= 18}".lower()

    runner.run(scenario())
