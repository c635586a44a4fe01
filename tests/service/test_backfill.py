"""DecisionService.Backfill over the wire, beside decisions for the same customer."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.redis import RedisStore

DAY, HOUR = 86_400_000, 3_600_000
RULES = b"""
events: {paid: {amount: number}, ask: {}}
windows:
  payments: {count: paid, over: 12 months}
  total: {sum: paid.amount, over: 12 months}
  mean: {mean: paid.amount, over: 12 months}
messages:
  told:
    purpose: service
    on: [ask]
    channels: [push]
    slots: {n: {is: windows.payments, as: integer}, sum: {is: windows.total, as: number}}
    variants: {plain: {en: "{n} payments, {sum}"}}
purposes: {service: {consent: not_required, if_state_unknown: silent}}
channels: {push: {}}
"""


def paid(event_id: str, at_ms: int, amount: float = 1.0) -> pb.Event:
    event = pb.Event(event_id=event_id, customer_id="c", type="paid", attributes={"amount": pb.Value(number=amount)})
    event.occurred_at.FromMilliseconds(at_ms)
    return event


def history(events: list[pb.Event], since_ms: int, until_ms: int) -> pb.History:
    made = pb.History(customer_id="c", events=events)
    made.since.FromMilliseconds(since_ms)
    made.until.FromMilliseconds(until_ms)
    return made


def test_backfill_and_decisions_at_once_count_each_event_once(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path, {"rules.yaml": RULES}) as s:
            chance = random.Random(5)
            now_ms = (await store.read([])).now_ms
            young = [paid(f"y{k}", now_ms - 1 - k * HOUR // 3, 2.0) for k in range(40)]
            old = [paid(f"o{k}", now_ms - (k + 2) * 11 * DAY, 0.5) for k in range(29)]
            made = history([*young[::2], *old], now_ms - 400 * DAY, now_ms)
            request = pb.BackfillRequest(histories=[made])
            sends = [s.decisions.Decide(pb.DecideRequest(event=event)) for event in young[10:]]
            calls = [*sends, *(s.decisions.Backfill(request) for _ in range(4))]
            chance.shuffle(calls)
            done = await asyncio.gather(*calls)
            counted = [r.results[0].counted for r in done if isinstance(r, pb.BackfillResponse)]
            assert max(counted) >= len(old)
            sent = {event.event_id for event in young[10:]} | {event.event_id for event in young[::2]}
            ask = pb.DecideRequest(event=pb.Event(event_id="ask", customer_id="c", type="ask"))
            text = (await s.decisions.Decide(ask)).decisions[0].text
            assert text == f"{len(sent) + len(old)} payments, {2.0 * len(sent) + 0.5 * len(old)}"
            again = (await s.decisions.Backfill(request)).results[0]
            assert (again.counted, again.known, again.late, again.apart) == (0, len(made.events), 0, 0)

    runner.run(scenario())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"customer_id": ""}, "customer_id: is missing"),
        ({"since": None}, "since: is missing: expected a time"),
        ({"until": 5}, "since: lies after `until`"),
        ({"events": "other"}, "events[0].customer_id: is another customer's"),
        ({"events": "when"}, "events[0].occurred_at: is missing: expected when it happened"),
    ],
)
def test_a_history_that_cannot_be_read(
    runner: asyncio.Runner,
    store: RedisStore,
    tmp_path: Path,
    kit: SimpleNamespace,
    change: dict[str, object],
    told: str,
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path, {"rules.yaml": RULES}) as s:
            now_ms = (await store.read([])).now_ms
            good = history([paid("a", now_ms - DAY)], now_ms - 2 * DAY, now_ms)
            good.customer_id = "fine"
            good.events[0].customer_id = ""
            bad = history([paid("a", now_ms - DAY)], now_ms - 2 * DAY, now_ms)
            if "customer_id" in change:
                bad.customer_id = ""
            if "since" in change:
                bad.ClearField("since")
            if "until" in change:
                bad.until.FromMilliseconds(5)
            if change.get("events") == "other":
                bad.events[0].customer_id = "d"
            if change.get("events") == "when":
                bad.events[0].ClearField("occurred_at")
            results = (await s.decisions.Backfill(pb.BackfillRequest(histories=[bad, good]))).results
            assert results[0].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            assert told in results[0].error.message
            assert (results[1].customer_id, results[1].counted) == ("fine", 1)

    runner.run(scenario())


def test_a_call_has_a_limit(runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path, {"rules.yaml": RULES}) as s:
            many = history([paid(f"a{k}", 9_000_000 + k) for k in range(2001)], 0, 10_000_000)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await s.decisions.Backfill(pb.BackfillRequest(histories=[many]))
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    runner.run(scenario())
