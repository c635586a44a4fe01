"""The pipeline on a real store: idempotency, caps under concurrency, isolation, trouble."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import Decider, DeciderSettings, create_decider
from engine.decision import (
    DecideRequest,
    Decision,
    Event,
    Outcome,
    OutcomeKind,
    Outcomes,
    Reason,
)
from engine.errors import InvalidInput, NotFound, StoreUnavailable, TactError, Unavailable
from engine.state.model import ConsentEntry, Contact
from engine.state.redis import RedisStore
from engine.step.backfill import Backfill
from engine.step.operations import ProfileChange

RULES = {
    "rules.yaml": b"""
events:
  deposit: {amount: {type: number, unit: EUR}}
  ping: {}
  silent: {}
features:
  first_name: {type: text, personal: true}
  balance: {type: number, unit: EUR}
  language: {type: text, default: en}
windows:
  deposits: {count: deposit, over: 30 days, since_start: zero}
purposes:
  marketing: {consent: required, if_state_unknown: silent}
  service: {consent: not_required, tier: 1, if_state_unknown: send}
messages:
  offer:
    purpose: marketing
    on: [deposit]
    when: features.balance >= 100
    value: 2.0
    channels: [push]
    variants:
      plain: {en: "Save more.", es: "Ahorra mas."}
      named: {en: "{first_name}, save more."}
  thanks:
    purpose: marketing
    on: [deposit]
    when: windows.deposits >= 3
    unless: features.balance > 1000
    channels: [sms]
    variants: {plain: {en: "Thank you."}}
  pong:
    purpose: service
    on: [ping]
    channels: [sms]
    variants: {plain: {en: "Pong."}}
caps:
  - {at_most: 5, per: [customer], in: 7 days, purposes: [marketing]}
""",
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle(RULES)


@pytest.fixture
def decider(store: RedisStore, bundle: Bundle) -> Decider:
    return create_decider(Active(bundle), store)


@pytest.fixture
def other(store_url: str, key_prefix: str, bundle: Bundle, runner: asyncio.Runner) -> Iterator[Decider]:
    """A second worker on the same state."""
    store = RedisStore(store_url, key_prefix)
    yield create_decider(Active(bundle), store)
    runner.run(store.close())


def request(event_id: str, customer: str = "ana", type_: str = "deposit", **attributes: object) -> DecideRequest:
    return DecideRequest(Event(event_id, customer, type_, None, dict(attributes)))


def profile(customer: str = "ana", granted: bool = True, **features: object) -> ProfileChange:
    return ProfileChange(customer, features, [], Contact([ConsentEntry("marketing", granted, 0, "", "")]))


def only(result: list[Decision] | TactError) -> Decision:
    assert isinstance(result, list), result
    [decision] = result
    return decision


def test_a_send_carries_everything(decider: Decider, runner: asyncio.Runner, bundle: Bundle) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana", language="es-MX")])
        d = only((await decider.decide([request("e1", amount=10.0)]))[0])
        assert (d.outcome, d.reason, d.message, d.channel) == (Outcome.SEND, Reason.SELECTED, "offer", "push")
        said = {"plain": ("es", "Ahorra mas."), "named": ("en", "Ana, save more.")}  # the default where no Spanish is
        assert (d.locale, d.text) == said[d.variant]
        assert d.send_after_ms < d.send_before_ms < d.report_by_ms
        assert (d.message_share, d.variant_share, d.propensity) == (1 << 30, 1 << 29, 0.5)
        assert (d.event_id, d.customer_id, d.revision) == ("e1", "ana", bundle.revision)

    runner.run(scenario())


def test_the_same_event_gives_the_same_answer_and_books_once(
    decider: Decider, other: Decider, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana")])
        first = await decider.decide([request("e1", amount=10.0)] * 20)
        again = await other.decide([request("e1", amount=10.0)] * 20)
        assert all(a == first[0] for a in first + again)
        kinds = Counter(only(r).reason for r in await decider.decide([request(f"f{i}") for i in range(10)]))
        assert kinds == {Reason.SELECTED: 4, Reason.CAP_REACHED: 6}

    runner.run(scenario())


def test_answers_beyond_thirty_two_are_still_the_same(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0)])
        first = [await decider.decide([request(f"e{i}")]) for i in range(80)]
        again = [await decider.decide([request(f"e{i}")]) for i in range(80)]
        assert first == again

    runner.run(scenario())


def test_an_event_id_with_other_content_is_refused(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.decide([request("e1", amount=10.0)])
        [error] = await decider.decide([request("e1", amount=11.0)])
        assert isinstance(error, InvalidInput)
        assert error.reason == "EVENT_ID_REUSED"
        assert [v.field for v in error.violations] == ["event.event_id"]

    runner.run(scenario())


def test_a_cap_is_exact_under_concurrency(decider: Decider, other: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(f"c{c}", balance=500.0, first_name="Bo") for c in range(4)])
        tasks = []
        for i in range(60):
            for c in range(4):
                worker = (decider, other)[(i + c) % 2]
                tasks.append(worker.decide([request(f"e{i}", f"c{c}", amount=1.0)]))
        results = [only(r[0]) for r in await asyncio.gather(*tasks)]
        sends = Counter(d.customer_id for d in results if d.outcome is Outcome.SEND)
        assert sends == {f"c{c}": 5 for c in range(4)}
        assert {d.reason for d in results} == {Reason.SELECTED, Reason.CAP_REACHED}

    runner.run(scenario())


def test_windows_count_each_event_once(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=50.0)])
        reasons = [only((await decider.decide([request(f"e{i // 2}")]))[0]).message for i in range(6)]
        assert reasons == ["", "", "", "", "thanks", "thanks"]

    runner.run(scenario())


@pytest.mark.parametrize(
    ("features", "granted", "type_", "reason", "details"),
    [
        ({}, True, "deposit", Reason.DATA_MISSING, {"feature": "balance", "message": "offer"}),
        ({"balance": 1.0}, True, "deposit", Reason.NOT_IN_AUDIENCE, {"message": "offer"}),
        ({"balance": 500.0}, False, "deposit", Reason.OPTED_OUT, {"purpose": "marketing"}),
        ({"balance": 500.0}, True, "silent", Reason.NO_RULE_FOR_EVENT, {}),
    ],
)
def test_reasons_name_what_decided(
    decider: Decider,
    runner: asyncio.Runner,
    features: dict[str, object],
    granted: bool,
    type_: str,
    reason: Reason,
    details: dict[str, object],
) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(granted=granted, **features)])
        d = only((await decider.decide([request("e1", type_=type_)]))[0])
        assert (d.outcome, d.reason) == (Outcome.NO_MESSAGE, reason)
        for name, value in details.items():
            assert getattr(d.details, name) == value

    runner.run(scenario())


def test_a_dry_run_leaves_nothing(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana")])
        for i in range(10):
            dry = request(f"e{i}")
            dry.dry_run = True
            assert only((await decider.decide([dry]))[0]).outcome is Outcome.SEND
        assert only((await decider.decide([request("e0")]))[0]).outcome is Outcome.SEND

    runner.run(scenario())


def test_outcomes_move_the_touch(decider: Decider, runner: asyncio.Runner) -> None:
    async def report(d: Decision, kind: OutcomeKind, outcome_id: str = "") -> object:
        [result] = await decider.record_outcomes([Outcomes(d.decision_id, kind, None, 0.0, outcome_id, "")])
        return result

    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana")])
        sends = [only(r) for r in await decider.decide([request(f"e{i}") for i in range(5)])]
        assert only((await decider.decide([request("e5")]))[0]).reason is Reason.CAP_REACHED
        released = await report(sends[0], OutcomeKind.NOT_DELIVERED)
        assert not released.repeated  # type: ignore[attr-defined]
        again = await report(sends[0], OutcomeKind.NOT_DELIVERED)
        assert again.repeated  # type: ignore[attr-defined]
        assert only((await decider.decide([request("e6")]))[0]).outcome is Outcome.SEND
        late = await report(sends[0], OutcomeKind.DELIVERED)  # it was sent after all: booked again, beyond the cap
        assert late.exceeded == "at most 5 per customer in 7 days (marketing)"  # type: ignore[attr-defined]
        assert not (await report(sends[1], OutcomeKind.REPLIED, "r1")).repeated  # type: ignore[attr-defined]
        assert (await report(sends[1], OutcomeKind.REPLIED, "r1")).repeated  # type: ignore[attr-defined]
        await report(sends[1], OutcomeKind.OPTED_OUT)
        assert only((await decider.decide([request("e7")]))[0]).reason is Reason.OPTED_OUT
        # a bulk upsert with the old grant does not bring it back, a later one does
        old = Contact([ConsentEntry("marketing", True, 1, "", "")])
        await decider.put_profiles([ProfileChange("ana", {}, [], old)])
        assert only((await decider.decide([request("e8")]))[0]).reason is Reason.OPTED_OUT
        await decider.put_profiles([profile()])  # without a time: what stands, nothing new
        assert only((await decider.decide([request("e9")]))[0]).reason is Reason.OPTED_OUT
        later = Contact([ConsentEntry("marketing", True, time.time_ns() // 1_000_000 + 60_000, "", "")])
        await decider.put_profiles([ProfileChange("ana", {}, [], later)])
        assert only((await decider.decide([request("e10")]))[0]).reason is Reason.CAP_REACHED
        [unknown] = await decider.record_outcomes([Outcomes("no-id", OutcomeKind.OPENED, None, 0.0, "", "")])
        assert isinstance(unknown, InvalidInput)
        stranger = sends[0].decision_id[:-1] + "7"
        [missing] = await decider.record_outcomes([Outcomes(stranger, OutcomeKind.OPENED, None, 0.0, "", "")])
        assert isinstance(missing, NotFound)
        assert (await decider.confirm_send(sends[2].decision_id)).outcome is Outcome.SEND
        await report(sends[3], OutcomeKind.NOT_DELIVERED)
        assert (await decider.confirm_send(sends[3].decision_id)).reason is Reason.SEND_BY_PASSED

    runner.run(scenario())


def test_erasure_forgets_all_but_the_stop(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana"), profile("bo", granted=False)])
        await decider.decide([request("e1")])
        assert await decider.erase("ana")
        assert await decider.erase("bo")
        assert not await decider.erase("nobody")
        assert await decider.get_profile("ana") is None
        assert only((await decider.decide([request("e1")]))[0]).reason is Reason.DATA_MISSING
        later = Contact([ConsentEntry("marketing", True, 1, "", "")])
        await decider.put_profiles([ProfileChange("bo", {"balance": 500.0, "first_name": "Bo"}, [], later)])
        assert only((await decider.decide([request("e1", "bo")]))[0]).reason is Reason.OPTED_OUT

    runner.run(scenario())


def test_one_bad_event_costs_itself_only(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        future = request("late")
        future.event.occurred_at_ns = 253_402_300_799 * 10**9  # the last second of the year 9999
        old = request("old")
        old.event.occurred_at_ns = 10**18
        results = await decider.decide([request("e1"), future, old, request("e2", type_="nonsense"), request("e3")])
        assert isinstance(results[1], InvalidInput)
        assert only(results[2]).reason is Reason.EVENT_TOO_OLD
        assert isinstance(results[3], InvalidInput)
        assert only(results[0]).reason is only(results[4]).reason is Reason.DATA_MISSING

    runner.run(scenario())


def test_a_history_of_events_that_the_rules_no_longer_have(decider: Decider, runner: asyncio.Runner) -> None:
    """The rule set was swapped after the request was read."""

    async def scenario() -> None:
        gone = Event("e1", "ana", "gone", 10**18, {})
        [error] = await decider.backfill([("ana", Backfill([gone], 10**12 - 1, 10**12 + 1))])
        assert isinstance(error, InvalidInput)
        assert "of type 'gone', which the rule set has not" in str(error)

    runner.run(scenario())


def test_slates_take_each_message_once(decider: Decider, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana")])
        await decider.decide([request("e0"), request("e1")])
        slate = request("e2")
        slate.max_messages = 3
        [result] = await decider.decide([slate])
        assert isinstance(result, list)
        assert [(d.message, d.slot) for d in result] == [("offer", 0), ("thanks", 1)]
        assert [await decider.decide([slate])] == [[result]]

    runner.run(scenario())


def test_a_store_that_is_away(bundle: Bundle, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        journal: list[tuple[DecideRequest, list[Decision]]] = []
        store = RedisStore("redis://127.0.0.1:1/0", timeout_ms=200)
        decider = create_decider(
            Active(bundle), store, DeciderSettings(commit_budget_ms=300), journal=lambda r, d: journal.append((r, d))
        )
        silent, said = await decider.decide([request("e1"), request("e2", type_="ping")])
        assert only(silent).reason is Reason.STATE_UNKNOWN
        assert (only(said).outcome, only(said).provisional) == (Outcome.SEND, True)
        assert [r.event.event_id for r, _ in journal] == ["e1", "e2"]
        [error] = await decider.put_profiles([profile()])
        assert isinstance(error, StoreUnavailable)
        with pytest.raises(Unavailable):
            await decider.erase("ana")
        await decider.drain()
        [refused] = await decider.decide([request("e3")])
        assert isinstance(refused, Unavailable)
        await store.close()

    runner.run(scenario())


def test_a_store_that_is_full(decider: Decider, store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=500.0, first_name="Ana")])
        answered = await decider.decide([request("e1")])
        await store.admin.config_set("maxmemory", 1)
        try:
            refused = only((await decider.decide([request("e2")]))[0])
            [error] = await decider.put_profiles([profile("bo")])
            assert await decider.decide([request("e1")]) == answered  # reads go on
        finally:
            await store.admin.config_set("maxmemory", 0)
        assert (refused.reason, refused.details.cause) == (Reason.STATE_UNKNOWN, "the store refuses to be written")
        assert isinstance(error, Unavailable)
        assert only((await decider.decide([request("e2")]))[0]).outcome is Outcome.SEND

    runner.run(scenario())


def test_explain_tells_every_message_its_way(decider: Decider, runner: asyncio.Runner, bundle: Bundle) -> None:
    async def scenario() -> None:
        await decider.put_profiles([profile(balance=5000.0, first_name="Ana")])
        d = only((await decider.decide([request("e1")]))[0])
        what_if = await decider.explain(request("w"), bundle, "")
        assert [(c.message, c.stopped_by) for c in what_if.candidates] == [
            ("offer", Reason.SELECTED),
            ("thanks", Reason.NOT_IN_AUDIENCE),
            ("pong", Reason.NO_RULE_FOR_EVENT),
        ]
        thanks = what_if.candidates[1]
        assert thanks.expression == "windows.deposits >= 3"
        assert thanks.values_read == {"windows.deposits": "2", "features.balance": "5000"}
        assert str(thanks.position) == "rules.yaml:28:11"
        past = await decider.explain(d.decision_id, bundle, "")
        assert [x.text for x in past.decisions] == [d.text]
        assert [(c.message, c.stopped_by) for c in past.candidates] == [("offer", Reason.SELECTED)]

    runner.run(scenario())
