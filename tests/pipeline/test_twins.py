"""Windows of one definition share what is counted, whatever they are called: nothing is counted twice."""

from __future__ import annotations

import asyncio

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Event
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
