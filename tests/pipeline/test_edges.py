"""Thompson shares as logged, a touch log full of the past, ConfirmSend and blocked channels, no state at all."""

from __future__ import annotations

import asyncio
import os

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import DeciderSettings, create_decider
from engine.decision import SHARE_UNIT, DecideRequest, Decision, Event, Outcome, Reason
from engine.errors import InvalidInput, TactError
from engine.identity import customer_key
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.shares import drawn
from engine.learning.snapshot import Learnt
from engine.state.log import DecisionEntry, decode
from engine.state.model import Commit, Contact, ReadRequest
from engine.state.record import decode as decode_record
from engine.state.record import encode as encode_record
from engine.state.redis import RedisStore
from engine.step.operations import ProfileChange

DAY_MS = 86_400_000
RULES = b"""
events: {deposit: {}, ping: {}}
policies:
  bandit: {kind: thompson, reward: {replied: 1.0}, attribution: 24 hours, floor: 0.05}
purposes:
  marketing: {consent: not_required}
  urgent: {consent: not_required, tier: 1, if_state_unknown: send}
messages:
  offer:
    purpose: marketing
    on: [deposit]
    channels: [push]
    policy: bandit
    variants: {a: {en: "A"}, b: {en: "B"}, c: {en: "C"}}
  pong: {purpose: urgent, on: [ping], channels: [sms], variants: {a: {en: "P"}}}
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle({"rules.yaml": RULES})


def request(event_id: str, type_: str = "deposit", occurred_ns: int | None = None, dry: bool = False) -> DecideRequest:
    return DecideRequest(Event(event_id, "ana", type_, occurred_ns, {}), 1, dry)


def only(result: list[Decision] | TactError) -> Decision:
    assert isinstance(result, list), result
    [decision] = result
    return decision


def test_thompson_shares_are_floored_logged_and_draw_again(
    store: RedisStore, bundle: Bundle, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        arms = {
            ArmKey("bandit", "offer", "", "c"): ArmState(5000, 0),
            ArmKey("bandit", "offer", "", "a"): ArmState(9, 1),
        }
        decider = create_decider(Active(bundle), store, learnt=Learnt(Posteriors(7, arms)))
        answers = [only(r) for r in await decider.decide([request(f"e{i}") for i in range(40)])]
        key = customer_key("ana")
        rows = await store.admin.xrange(store.bucket_key(key.bucket, "log"))
        entries = [e for e in (decode(row[b"d"]) for _, row in rows) if isinstance(e, DecisionEntry)]
        read = await store.read([ReadRequest(key, ())])
        versions = {t.policy_version for t in decode_record(read.entries[0].record).touches}
        assert versions == {7} == {d.policy_version for d in answers} == {e.policy_version for e in entries}
        for d, e in zip(answers, entries, strict=True):
            shares = [v.share for v in e.variants]
            assert sum(shares) == SHARE_UNIT
            assert min(shares) >= 0.05 * SHARE_UNIT - 1
            assert e.variants[drawn(shares, e.u_variant)].variant == d.variant
            assert dict(e.variants)[d.variant] == d.variant_share

    runner.run(scenario())


def test_touches_past_their_life_do_not_fill_the_touch_log(
    store: RedisStore, bundle: Bundle, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle), store)
        await decider.decide([request("e0")])
        key = customer_key("ana")
        read = await store.read([ReadRequest(key, ())])
        record = decode_record(read.entries[0].record)
        [touch], then = record.touches, read.now_ms - 91 * DAY_MS
        past = touch._replace(at_ms=then, send_before_ms=then + 1, report_by_ms=then + 2)
        record.touches = [past._replace(event=i) for i in range(512)]
        known, record.version = record.version, os.urandom(8)
        [status] = await store.commit([Commit(key, known, b"", encode_record(record))], read.now_ms + 2000)
        assert status.done
        assert only((await decider.decide([request("e1")]))[0]).outcome is Outcome.SEND

    runner.run(scenario())


def test_confirm_minds_a_channel_blocked_since(store: RedisStore, bundle: Bundle, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle), store)
        d = only((await decider.decide([request("e0")]))[0])
        await decider.put_profiles([ProfileChange("ana", {}, [], Contact([], [], ["push"]))])
        assert (await decider.confirm_send(d.decision_id)).reason is Reason.CHANNEL_BLOCKED

    runner.run(scenario())


def test_without_state_old_and_future_events_are_refused_all_the_same(bundle: Bundle, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore("redis://127.0.0.1:1/0", timeout_ms=200)
        decider = create_decider(Active(bundle), store, DeciderSettings(commit_budget_ms=300))
        old, ahead = await decider.decide([request("e0", "ping", 1), request("e1", "ping", 4 * 10**18)])
        await store.close()
        assert only(old).reason is Reason.EVENT_TOO_OLD
        assert isinstance(ahead, InvalidInput)

    runner.run(scenario())


def test_a_dry_run_without_state_is_not_journalled(bundle: Bundle, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        journal: list[DecideRequest] = []
        store = RedisStore("redis://127.0.0.1:1/0", timeout_ms=200)
        decider = create_decider(
            Active(bundle), store, DeciderSettings(commit_budget_ms=300), journal=lambda r, _: journal.append(r)
        )
        await decider.decide([request("e0", "ping", dry=True)])
        await store.close()
        assert journal == []

    runner.run(scenario())
