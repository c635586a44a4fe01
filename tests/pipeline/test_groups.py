"""Idempotency inside groups, erasure, outcomes, hours: what a client's own ledger would catch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, OutcomeKind, OutcomeResult, Outcomes, Reason
from engine.errors import InvalidInput, TactError, TooMany
from engine.identity import BUCKETS, customer_key, event_hash
from engine.learning.shares import drawn
from engine.state.log import DecisionEntry, ProfileEntry, decode
from engine.state.model import Commit, CommitStatus, ConsentEntry, Contact, ReadBatch, ReadRequest, TouchFlag
from engine.state.record import decode as decode_record
from engine.state.redis import RedisStore
from engine.step import group
from engine.step.operations import ANSWERS_KEPT, ProfileChange

DAY_MS = 86_400_000
RULES = b"""
events:
  deposit: {amount: {type: number, unit: EUR}, account: text}
  statement: {account: text}
  ask: {}
  ping: {}
features:
  first_name: {type: text, personal: true}
  balance: {type: number, unit: EUR}
  salary: {type: number, unit: EUR}
  timezone: text
purposes:
  marketing: {consent: required}
  service: {consent: not_required}
  urgent: {consent: not_required, tier: 1}
messages:
  offer:
    purpose: marketing
    on: [deposit]
    channels: [push]
    variants: {plain: {en: "Save more, {first_name}."}, bold: {en: "Save."}}
  months:
    purpose: service
    on: [ask]
    value: features.balance
    channels: [push]
    slots: {months: {is: features.balance / features.salary, as: integer}}
    variants: {plain: {en: "Your savings cover {months} months."}}
  statement_ready:
    purpose: service
    on: [statement]
    about: event.account
    channels: [push]
    variants: {plain: {en: "Your statement is ready."}}
  pong:
    purpose: urgent
    on: [ping]
    channels: [sms]
    variants: {plain: {en: "Pong."}}
caps:
  - {at_most: 2, per: [customer], in: 7 days, purposes: [marketing]}
  - {at_most: 1, per: [customer, about], in: 30 days, purposes: [service]}
"""


@dataclass
class Shifted:
    """The real store, with a clock that can be set ahead."""

    store: RedisStore
    ahead_ms: int = 0

    async def read(self, requests: Sequence[ReadRequest]) -> ReadBatch:
        found = await self.store.read(requests)
        return found._replace(now_ms=found.now_ms + self.ahead_ms)

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        return await self.store.commit(commits, not_after_ms - self.ahead_ms)

    async def find_decision(self, *args: object) -> DecisionEntry | None:
        return await self.store.find_decision(*args)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle({"rules.yaml": RULES})


@pytest.fixture
def shifted(store: RedisStore) -> Shifted:
    return Shifted(store)


@pytest.fixture
def decider(shifted: Shifted, bundle: Bundle) -> Decider:
    return create_decider(Active(bundle), shifted)


def request(event_id: str, type_: str = "deposit", **attributes: object) -> DecideRequest:
    return DecideRequest(Event(event_id, "ana", type_, None, dict(attributes)))


def profile(granted: bool = True, at_ms: int = 0, **features: object) -> ProfileChange:
    features = {"first_name": "Ana", **features}
    return ProfileChange("ana", features, [], Contact([ConsentEntry("marketing", granted, at_ms, "", "")]))


def only(result: list[Decision] | TactError) -> Decision:
    assert isinstance(result, list), result
    [decision] = result
    return decision


async def sent(decider: Decider, event_id: str) -> Decision:
    d = only((await decider.decide([request(event_id)]))[0])
    assert d.outcome is Outcome.SEND, d
    return d


async def report(decider: Decider, d: Decision, kind: OutcomeKind, outcome_id: str = "") -> OutcomeResult:
    [result] = await decider.record_outcomes([Outcomes(d.decision_id, kind, None, 0.0, outcome_id, "")])
    assert isinstance(result, OutcomeResult), result
    return result


async def touches(store: RedisStore) -> list[tuple[int, int]]:
    read = await store.read([ReadRequest(customer_key("ana"), ())])
    return [(t.event, t.flags) for t in decode_record(read.entries[0].record).touches]


async def logged(store: RedisStore) -> list[object]:
    rows = await store.admin.xrange(store.bucket_key(customer_key("ana").bucket, "log"))
    return [decode(row[b"d"]) for _, row in rows]


def test_a_repeat_behind_many_new_events_in_one_group_has_its_first_answer(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        batch = [request("first"), *[request(f"p{i}", "ping") for i in range(32)], request("first")]
        answers = await decider.decide(batch)
        assert Counter(e for e, _ in await touches(store)).most_common(1)[0][1] == 1
        assert answers[-1] == answers[0]

    runner.run(scenario())


def test_a_retry_behind_one_new_event_in_one_group_has_its_first_answer(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        first = await decider.decide([request("first")])
        await decider.decide([request(f"p{i}", "ping") for i in range(31)])  # the record now holds 32 answers
        again = await decider.decide([request("new", "ping"), request("first")])
        assert Counter(e for e, _ in await touches(store)).most_common(1)[0][1] == 1
        assert again[1] == first[0]

    runner.run(scenario())


def test_what_is_booked_in_one_group_with_an_erasure_stays_booked(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        _, _, answers = await asyncio.gather(
            decider.erase("ana"), decider.put_profiles([profile()]), decider.decide([request("e1")])
        )
        assert only(answers[0]).outcome is Outcome.SEND
        key = store._customer_keys(customer_key("ana"))[1]
        assert await store.admin.pttl(key) == -1, "the record, with its touch, expires with the tombstone"

    runner.run(scenario())


def test_erasure_deletes_the_spilled_answers_too(decider: Decider, store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        await sent(decider, "first")
        await decider.decide([request(f"p{i}", "ping") for i in range(40)])
        await decider.erase("ana")
        assert only((await decider.decide([request("first")]))[0]).text == "", "an erased customer's name is told"

    runner.run(scenario())


def test_an_answer_outlives_every_event_that_may_still_be_taken(
    decider: Decider, shifted: Shifted, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        now_ms = (await shifted.read([])).now_ms
        early = request("e1")
        early.event.occurred_at_ns = (now_ms + 4 * 60_000) * 1_000_000  # the caller's clock is 4 minutes ahead
        first = await decider.decide([early])
        assert only(first[0]).outcome is Outcome.SEND
        shifted.ahead_ms = DAY_MS + 60_000
        await decider.decide([request("other", "ping")])
        again = only((await decider.decide([early]))[0])
        assert again == only(first[0]) or again.reason is Reason.EVENT_TOO_OLD
        assert len(await touches(shifted.store)) == 2

    runner.run(scenario())


def test_a_retry_keeps_its_answer_where_the_rest_of_its_group_is_refused(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        first = await decider.decide([request("e1")])
        store.max_log_length = 0
        assert await decider.decide([request("e1")]) == first
        again, new = await decider.decide([request("e1"), request("e2")])
        assert only(new).reason is Reason.LOG_FULL
        assert again == first[0]

    runner.run(scenario())


def test_what_was_answered_in_a_commit_that_is_refused_is_not_given_again(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        kept, store.max_log_length = store.max_log_length, 0
        told = await decider.decide([request("e1"), request("e1"), request("e1", amount=2.0)])
        assert [only(answer).reason for answer in told] == [Reason.LOG_FULL] * 3
        assert await touches(store) == []
        store.max_log_length = kept
        await store.admin.delete(*[store.bucket_key(bucket, "g") for bucket in range(BUCKETS)])  # as data lost
        told = await decider.decide([request("e2"), request("e2")])
        assert [only(answer).reason for answer in told] == [Reason.STATE_UNKNOWN] * 2
        assert await touches(store) == []

    runner.run(scenario())


def test_one_id_for_everybody_is_refused_before_it_slows_the_others(
    decider: Decider, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(group, "EVENTS_MAX", 8)
        early = [request(f"p{k}", "ping") for k in range(ANSWERS_KEPT + 8)]
        for one in early:
            assert isinstance((await decider.decide([one]))[0], list)
        [told] = await decider.decide([request("new", "ping")])
        assert isinstance(told, TooMany)
        assert "8 events of this customer" in str(told)
        assert isinstance((await decider.decide([early[0]]))[0], list)  # an answer of before is given again
        other = DecideRequest(Event("new", "bert", "ping", None, {}))
        assert isinstance((await decider.decide([other]))[0], list)

    runner.run(scenario())


def test_while_caps_cannot_be_trusted_nothing_is_said_to_be_sent(
    bundle: Bundle, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle), store)
        await decider.put_profiles([profile()])
        await store.admin.delete(*[store.bucket_key(bucket, "g") for bucket in range(BUCKETS)])  # as data lost
        for event in ("e1", "e2"):  # refused; then it is known why
            assert only((await decider.decide([request(event)]))[0]).reason is Reason.STATE_UNKNOWN
        assert store.closed
        dry = replace(request("e2"), dry_run=True)
        explained = await decider.explain(request("e3"), bundle, "en")
        for told in (await decider.decide([dry]), [explained.decisions], await decider.decide([dry, request("e4")])):
            assert [only(answer).reason for answer in told] == [Reason.STATE_UNKNOWN] * len(told)
            assert "tact acknowledge" in only(told[0]).details.cause
        assert explained.candidates  # as they would be
        await store.acknowledge_generation()
        assert only((await decider.decide([dry]))[0]).outcome is Outcome.SEND
        assert only((await decider.explain(request("e3"), bundle, "en")).decisions).outcome is Outcome.SEND

    runner.run(scenario())


def test_what_arrived_counts_whatever_else_is_said(decider: Decider, store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        clicked, lost = await sent(decider, "e1"), await sent(decider, "e2")
        await report(decider, clicked, OutcomeKind.CLICKED)
        await report(decider, clicked, OutcomeKind.NOT_DELIVERED)
        assert only((await decider.decide([request("e3")]))[0]).reason is Reason.CAP_REACHED
        await report(decider, lost, OutcomeKind.NOT_DELIVERED)
        await sent(decider, "e4")
        assert (await report(decider, lost, OutcomeKind.REPLIED)).exceeded  # it had arrived after all
        assert not any(flags & TouchFlag.RELEASED for _, flags in await touches(store))

    runner.run(scenario())


def test_an_outcome_of_another_age_is_refused(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        d = await sent(decider, "e1")
        [told] = await decider.record_outcomes([Outcomes(d.decision_id, OutcomeKind.REPLIED, 1_000, 0.0, "", "")])
        assert isinstance(told, InvalidInput)
        assert "a week before the message" in str(told)
        assert not (await report(decider, d, OutcomeKind.REPLIED)).repeated

    runner.run(scenario())


def test_a_stop_after_a_new_grant_is_one_more_stop(decider: Decider, shifted: Shifted, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        first = await sent(decider, "e1")
        assert not (await report(decider, first, OutcomeKind.OPTED_OUT)).repeated
        assert (await report(decider, first, OutcomeKind.OPTED_OUT)).repeated
        shifted.ahead_ms = 60_000
        await decider.put_profiles([profile(at_ms=(await shifted.read([])).now_ms)])
        await sent(decider, "e2")
        shifted.ahead_ms = 120_000
        assert not (await report(decider, first, OutcomeKind.OPTED_OUT)).repeated
        assert only((await decider.decide([request("e3")]))[0]).reason is Reason.OPTED_OUT

    runner.run(scenario())


def test_an_id_used_again_after_its_day_means_the_latest_decision(
    decider: Decider, shifted: Shifted, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        await sent(decider, "e1")
        shifted.ahead_ms = 2 * DAY_MS
        await decider.decide([request("other", "ping")])  # what was answered to the first is forgotten
        again = await sent(decider, "e1")
        assert (await decider.confirm_send(again.decision_id)).outcome is Outcome.SEND
        await report(decider, again, OutcomeKind.DELIVERED)
        found = [flags for event, flags in await touches(shifted.store) if event == event_hash("e1")]
        assert [bool(flags & TouchFlag.outcome(OutcomeKind.DELIVERED)) for flags in found] == [False, True]

    runner.run(scenario())


def test_a_channel_that_left_the_rules_is_still_asked_for_its_consent(
    shifted: Shifted, bundle: Bundle, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        active = Active(bundle)
        decider = create_decider(active, shifted)
        await decider.put_profiles([profile()])
        first = await sent(decider, "e1")
        offer = b"    on: [deposit]\n    channels: [push]"
        assert offer in RULES
        active.bundle = compile_bundle({"rules.yaml": RULES.replace(offer, offer.replace(b"push", b"sms"))})
        assert (await decider.confirm_send(first.decision_id)).outcome is Outcome.SEND
        no_push = ConsentEntry("marketing", False, 0, "", "", "", "push")
        await decider.put_profiles([ProfileChange("ana", {}, [], Contact([no_push]))])
        assert (await decider.confirm_send(first.decision_id)).reason is Reason.OPTED_OUT

    runner.run(scenario())


def test_a_refused_decision_carries_its_decision_id(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        store.max_log_length = 0
        assert only((await decider.decide([request("e1")]))[0]).decision_id

    runner.run(scenario())


@pytest.mark.parametrize("told", ["DELIVERED", "confirmed"])
def test_asking_again_does_not_free_the_cap_of_what_was_sent(
    told: str, decider: Decider, shifted: Shifted, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        sends = [await sent(decider, "e1"), await sent(decider, "e2")]
        for d in sends:
            if told == "DELIVERED":
                await report(decider, d, OutcomeKind.DELIVERED)
            else:
                assert (await decider.confirm_send(d.decision_id)).outcome is Outcome.SEND
        shifted.ahead_ms = 2 * DAY_MS
        for d in sends:
            await decider.confirm_send(d.decision_id)
        assert only((await decider.decide([request("e3")]))[0]).reason is Reason.CAP_REACHED

    runner.run(scenario())


def test_a_repeated_stop_names_what_it_cancelled(
    decider: Decider, shifted: Shifted, runner: asyncio.Runner, bundle: Bundle
) -> None:
    rules = RULES.replace(b"  marketing: {consent: required}", b"  marketing: {consent: required, quiet_hours: q}")
    rules += b'quiet_hours: {q: {from: "%s", to: "%s", zone: Etc/UTC, then: defer}}\n'

    async def scenario() -> None:
        now_ms = (await shifted.read([])).now_ms
        hour = now_ms // 3_600_000 % 24
        quiet = rules % (b"%02d:00" % ((hour - 2) % 24), b"%02d:00" % ((hour + 2) % 24))
        late = create_decider(Active(compile_bundle({"rules.yaml": quiet})), shifted)
        await late.put_profiles([profile()])
        a, b = await sent(late, "e1"), await sent(late, "e2")
        assert b.confirm_before_sending
        first = await report(late, a, OutcomeKind.OPTED_OUT)
        assert sorted(first.cancelled_decision_ids) == sorted([a.decision_id, b.decision_id])
        again = await report(late, a, OutcomeKind.OPTED_OUT)  # the first answer was lost on its way
        assert (again.repeated, again.cancelled_decision_ids) == (True, first.cancelled_decision_ids)

    runner.run(scenario())


def test_a_grant_dated_ahead_does_not_outlive_a_stop(
    decider: Decider, shifted: Shifted, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        now_ms = (await shifted.read([])).now_ms
        [refused] = await decider.put_profiles([profile(at_ms=now_ms + 365 * DAY_MS)])
        assert isinstance(refused, InvalidInput)
        await decider.put_profiles([profile(at_ms=now_ms + 60_000)])  # clocks differ a little
        d = await sent(decider, "e1")
        await report(decider, d, OutcomeKind.OPTED_OUT)
        assert only((await decider.decide([request("e2")]))[0]).reason is Reason.OPTED_OUT

    runner.run(scenario())


def test_a_slot_that_is_no_finite_number_makes_its_variant_unfit(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, salary=0.0)])
        d = only((await decider.decide([request("e1", "ask")]))[0])
        assert d.reason is Reason.TEXT_UNAVAILABLE
        assert d.details.slot in d.details.cause
        assert d.details.slot

    runner.run(scenario())


def test_a_score_of_minus_zero_is_the_same_in_the_repeat(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=-0.0, salary=10.0)])
        first = only((await decider.decide([request("e1", "ask")]))[0])
        again = only((await decider.decide([request("e1", "ask")]))[0])
        assert str(first.score) == str(again.score)

    runner.run(scenario())


def test_a_cap_whose_subject_is_unknown_is_a_message_not_sent(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        results = await decider.decide([request(f"e{i}", "statement") for i in range(3)])
        assert sum(only(r).outcome is Outcome.SEND for r in results) <= 1

    runner.run(scenario())


def test_the_log_draws_again_and_every_send_is_booked(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        batch = [request(f"e{i}") for i in range(20)] + [request(f"p{i}", "ping") for i in range(20)]
        answers = [only(r) for r in await decider.decide(batch)]
        booked = {e for e, _ in await touches(store)}
        by_id = {f"{d.decision_id}": d for d in answers}
        entries = [e for e in await logged(store) if isinstance(e, DecisionEntry)]
        assert len(entries) == len(answers)
        for entry in entries:
            d = by_id[f"{entry.customer.hex()}-{entry.event:016x}-{entry.slot}"]
            assert (entry.outcome, entry.reason, entry.message) == (d.outcome, d.reason, d.message or "offer")
            assert (entry.event in booked) == (d.outcome is Outcome.SEND)
            if d.outcome is Outcome.SEND:
                fits = [c for c in entry.candidates if not c.stopped_by]
                assert fits[drawn([c.share for c in fits], entry.u_message)].message == d.message
                assert entry.variants[drawn([v.share for v in entry.variants], entry.u_variant)].variant == d.variant

    runner.run(scenario())


def test_the_log_says_which_profile_version_was_written(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        read = await store.read([ReadRequest(customer_key("ana"), ())])
        [entry] = [e for e in await logged(store) if isinstance(e, ProfileEntry)]
        assert entry.profile_version == read.entries[0].profile[:8]

    runner.run(scenario())


def test_a_dry_run_in_a_group_neither_books_nor_sees_answers(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile()])
        dry = request("e0")
        dry.dry_run = True
        answers = [only(r) for r in await decider.decide([dry, request("e0"), dry, request("e1"), dry, request("e2")])]
        sends = [d.outcome is Outcome.SEND for d in answers]
        assert sends == [True, True, True, True, False, False]
        assert len(await touches(store)) == 2

    runner.run(scenario())


def test_a_withheld_or_released_touch_is_as_it_was_after_confirm(
    decider: Decider, store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        held = RULES.replace(b"  marketing: {consent: required}", b"  marketing: {consent: required, holdout: true}")
        held += b'holdout: {share: 100%, salt: "s"}\n'
        out = create_decider(Active(compile_bundle({"rules.yaml": held})), store)
        await out.put_profiles([profile()])
        d = only((await out.decide([request("e1")]))[0])
        assert d.reason is Reason.HOLDOUT
        assert (await out.confirm_send(d.decision_id)).reason is Reason.HOLDOUT
        [(_, flags)] = await touches(store)
        assert not flags & TouchFlag.RELEASED

    runner.run(scenario())


def test_a_slate_is_messages_sent_or_one_reason(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rules = RULES.replace(b"  marketing: {consent: required}", b"  marketing: {consent: required, holdout: true}")
        rules = rules.replace(b"on: [ping]", b"on: [ping, deposit]") + b'holdout: {share: 100%, salt: "s"}\n'
        out = create_decider(Active(compile_bundle({"rules.yaml": rules})), store)
        await out.put_profiles([profile()])
        slate = request("e1")
        slate.max_messages = 3
        [result] = await out.decide([slate])
        assert isinstance(result, list)
        assert [(d.outcome, d.message) for d in result] == [(Outcome.SEND, "pong")]

    runner.run(scenario())
