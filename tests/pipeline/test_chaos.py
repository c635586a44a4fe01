"""Two workers on one store through lost replies, refused reads, collisions and callers that go away.

Checked from outside: one answer per event, one booking per answer, caps exact, log and record agree.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Event, Outcome, Reason
from engine.errors import StoreUnavailable, TactError
from engine.identity import CustomerKey, customer_key, event_hash
from engine.state.log import DecisionEntry
from engine.state.log import decode as decode_entry
from engine.state.model import Commit, CommitStatus, ReadBatch, ReadRequest
from engine.state.record import decode as decode_record
from engine.state.redis import RedisStore

RULES = {
    "r.yaml": b"""
events: {deposit: {}, ping: {}}
purposes:
  marketing: {consent: not_required}
  urgent: {consent: not_required, tier: 1}
messages:
  offer: {purpose: marketing, on: [deposit], channels: [push], variants: {a: {en: "A"}, b: {en: "B"}}}
  pong: {purpose: urgent, on: [ping], channels: [sms], variants: {a: {en: "P"}}}
caps: [{at_most: 5, per: [customer], in: 7 days, purposes: [marketing]}]
"""
}
CUSTOMERS, EVENTS, CLIENTS, CALLS = 3, 60, 8, 25


class Chaos:
    """A real store on a bad day."""

    def __init__(self, store: RedisStore, chance: random.Random) -> None:
        self.store = store
        self.chance = chance

    async def read(self, requests: Sequence[ReadRequest]) -> ReadBatch:
        if self.chance.random() < 0.02:
            raise StoreUnavailable("the read is lost")
        batch = await self.store.read(requests)
        await asyncio.sleep(self.chance.random() * 0.003)  # others get in between
        return batch

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        fate = self.chance.random()
        if fate < 0.05:
            raise StoreUnavailable("nothing was sent")
        if fate < 0.10:  # done, but the reply is lost
            await self.store.commit(commits, not_after_ms)
            return [CommitStatus("unknown")] * len(commits)
        if fate < 0.15:
            return [CommitStatus("moved")] * len(commits)
        if fate < 0.20:  # some in time, the rest too late
            done = await self.store.commit(commits[: len(commits) // 2], not_after_ms)
            return done + [CommitStatus("late")] * (len(commits) - len(done))
        return await self.store.commit(commits, not_after_ms)

    async def find_decision(self, customer: CustomerKey, event: int, slot: int) -> DecisionEntry | None:
        return await self.store.find_decision(customer, event, slot)


def request(chance: random.Random) -> DecideRequest:
    number = chance.randrange(EVENTS)
    event = Event(f"e{number}", f"c{chance.randrange(CUSTOMERS)}", "deposit" if number % 3 else "ping", None, {})
    return DecideRequest(event)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bad_day(seed: int, store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    chance = random.Random(seed)
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    sent: set[tuple[str, int]] = set()

    async def scenario() -> None:
        bundle = compile_bundle(RULES)
        stores = [RedisStore(store_url, key_prefix, commit_budget_ms=2000) for _ in range(2)]
        workers = [create_decider(Active(bundle), Chaos(store, chance)) for store in stores]

        async def client() -> None:
            for _ in range(CALLS):
                requests = [request(chance) for _ in range(chance.randrange(1, 12))]
                call = asyncio.ensure_future(chance.choice(workers).decide(requests))
                if chance.random() < 0.1:  # the caller goes away
                    await asyncio.sleep(chance.random() * 0.004)
                    call.cancel()
                    await asyncio.gather(call, return_exceptions=True)
                    continue
                for asked, result in zip(requests, await call, strict=True):
                    if isinstance(result, TactError) or result[0].reason is Reason.STATE_UNKNOWN:
                        continue
                    event = asked.event
                    answers[event.customer_id, event.event_id].add(repr(result))
                    if result[0].outcome is Outcome.SEND:
                        sent.add((event.customer_id, event_hash(event.event_id)))

        await asyncio.gather(*[client() for _ in range(CLIENTS)])
        for worker in workers:
            await worker.drain()
        for c in range(CUSTOMERS):
            await check(stores[0], f"c{c}")
        for store in stores:
            await store.close()

    async def check(store: RedisStore, customer: str) -> None:
        key = customer_key(customer)
        record = decode_record((await store.read([ReadRequest(key, ())])).entries[0].record)
        booked = [t.event for t in record.touches]
        rows = await store.admin.xrange(store.bucket_key(key.bucket, "log"))
        entries = [decode_entry(fields[b"d"]) for _, fields in rows]
        logged = [e for e in entries if isinstance(e, DecisionEntry) and e.customer == key.digest]
        assert len(booked) == len(set(booked))  # nothing booked twice
        assert {event for c, event in sent if c == customer} <= set(booked)  # every answered SEND is booked
        assert max(Counter(e.event for e in logged).values()) == 1  # each event decided once
        assert {e.event for e in logged if e.outcome == Outcome.SEND} == set(booked)  # log and record agree
        assert sum(e.message == "offer" for e in logged if e.outcome == Outcome.SEND) == 5

    runner.run(scenario())
    assert answers
    assert all(len(told) == 1 for told in answers.values())  # one event, one answer
