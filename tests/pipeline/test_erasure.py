"""An erasure against what is under way: nothing that was read before it can be written after it."""

from __future__ import annotations

import asyncio

from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Event, Reason
from engine.identity import customer_key, event_hash
from engine.state.log import ErasedEntry, decode
from engine.state.model import Commit, ConsentEntry, Contact, ReadRequest
from engine.state.profile import new_version
from engine.state.record import decode as decode_record
from engine.state.redis import RedisStore
from engine.step.operations import ANSWERS_KEPT, TOMBSTONE_MS, ProfileChange

RULES = {
    "rules.yaml": b"""
events: {ping: {}}
features: {balance: number}
purposes: {marketing: {consent: required}}
channels: {push: {}}
messages:
  pong: {purpose: marketing, on: [ping], channels: [push], variants: {plain: {en: "Pong."}}}
caps:
  - {at_most: 100, per: [customer], in: 7 days}
"""
}
ANA = customer_key("ana")


def bundle() -> Bundle:
    return compile_bundle(RULES)


def request(event: str) -> DecideRequest:
    return DecideRequest(Event(event, "ana", "ping", None, {}))


def put(granted: bool, changed_at_ms: int = 0) -> ProfileChange:
    return ProfileChange(
        "ana", {"balance": 1.0}, [], Contact([ConsentEntry("marketing", granted, changed_at_ms, "", "")])
    )


def test_a_stale_commit_fails_on_the_tombstone(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle()), store)
        await decider.put_profiles([put(True)])
        await decider.decide([request(f"e{n}") for n in range(ANSWERS_KEPT + 5)])  # some answers have keys of their own
        pattern = store.bucket_key(ANA.bucket, "a:*")
        assert len([k async for k in store.admin.scan_iter(pattern, count=5000)]) == 5
        stale = (await store.read([ReadRequest(ANA, ())])).entries[0]
        assert await decider.erase("ana")
        late = Commit(ANA, stale.record[:8], stale.profile[:8], new_version() + stale.record[8:], entries=[b"x"])
        read = await store.read([ReadRequest(ANA, ())])
        assert [s.status for s in await store.commit([late], read.now_ms + 2000)] == ["moved"]
        assert read.entries[0].profile == b""
        record = decode_record(read.entries[0].record)
        assert (record.touches, record.answers, record.windows, record.opt_outs) == ([], [], {}, {})
        [key] = [k async for k in store.admin.scan_iter(store.bucket_key(ANA.bucket, "r:*"), count=5000)]
        assert 0 < await store.admin.pttl(key) <= TOMBSTONE_MS
        await store.admin.pexpire(key, 1)
        while await store.admin.exists(key):
            pass
        # even when it is gone: the commit had read a record, and there is none
        assert [s.status for s in await store.commit([late], read.now_ms + 2000)] == ["moved"]
        assert [k async for k in store.admin.scan_iter(pattern, count=5000)] == []
        *_, (_, last) = await store.admin.xrange(store.bucket_key(ANA.bucket, "log"))
        assert isinstance(decode(last[b"d"]), ErasedEntry)

    runner.run(scenario())


def test_the_opt_out_stays_under_a_hash_for_ever(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle()), store)
        await decider.put_profiles([put(False)])
        assert await decider.erase("ana")
        [key] = [k async for k in store.admin.scan_iter(store.bucket_key(ANA.bucket, "r:*"), count=5000)]
        assert await store.admin.pttl(key) == -1
        assert b"marketing" not in await store.admin.get(key)
        await decider.put_profiles([put(True)])  # loaded again, by a file that knows nothing of it
        [result] = await decider.decide([request("again")])
        assert isinstance(result, list)
        assert result[0].reason is Reason.OPTED_OUT
        now_ms = (await store.read([])).now_ms
        await decider.put_profiles([put(True, now_ms + 1000)])  # the customer says yes, later
        [result] = await decider.decide([request("later")])
        assert isinstance(result, list)
        assert result[0].reason is Reason.SELECTED
        assert event_hash("again") in {
            a.event for a in decode_record((await store.read([ReadRequest(ANA, ())])).entries[0].record).answers
        }

    runner.run(scenario())


NARROW = {
    "rules.yaml": b"""
events: {ping: {}, pang: {}}
features: {balance: number}
purposes: {marketing: {consent: required}}
channels: {push: {}, sms: {}}
messages:
  card: {purpose: marketing, topic: cards, on: [ping], channels: [push], variants: {plain: {en: "A card."}}}
  loan: {purpose: marketing, topic: loans, on: [pang], channels: [sms, push], variants: {plain: {en: "A loan."}}}
"""
}


def test_a_withdrawal_of_one_topic_or_channel_stays_what_it_was(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle(NARROW)), store)
        granted = ConsentEntry("marketing", True, 0, "app", "v1")
        narrow = [
            ConsentEntry("marketing", False, 0, "call", "v1", "cards"),
            ConsentEntry("marketing", False, 0, "call", "v1", "", "sms"),
        ]
        await decider.put_profiles([ProfileChange("ana", {"balance": 1.0}, [], Contact([granted, *narrow], ["loans"]))])
        assert await decider.erase("ana")
        assert not await decider.erase("ana")
        left = await decider.get_profile("ana")
        assert left is not None
        assert (left.cells, left.contact.blocked_topics if left.contact else None) == ({}, [])
        assert [(c.scope, c.source) for c in left.contact.consents if not c.granted] == [  # type: ignore[union-attr]
            (("marketing", "cards", ""), ""),
            (("marketing", "", "sms"), ""),
        ]
        later = (await store.read([])).now_ms + 1000
        yes = ConsentEntry("marketing", True, later, "app", "v2")
        await decider.put_profiles([ProfileChange("ana", {}, [], Contact([yes]))])  # a customer again
        found = await decider.decide([DecideRequest(Event(e, "ana", e, None, {})) for e in ("ping", "pang")])
        [card], [loan] = found  # type: ignore[misc]
        assert (card.reason, loan.reason) == (Reason.OPTED_OUT, Reason.SELECTED)
        assert loan.channel == "push"

    runner.run(scenario())
