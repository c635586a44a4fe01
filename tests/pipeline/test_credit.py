"""Outcomes that name no decision, on a real store with a clock that tests set: what they are credited to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, OutcomeKind, OutcomeResult, Outcomes, Reason
from engine.errors import InvalidInput, TactError
from engine.identity import customer_key
from engine.learning.learner import Learner
from engine.recovery.rebook import Rebooked, Rebooking, RuleBook
from engine.replay.manual_store import ManualStore
from engine.state.log import Entry, OutcomeEntry, decode
from engine.state.model import Profile, ReadRequest, Record
from engine.state.record import decode as decode_record

HOUR = 3_600_000
NOON = 1_796_040_000_000  # 2026-11-30, 12:00 UTC
RULES = """
events: {deposit: {}, visit: {}, call: {}, ping: {}}
purposes:
  ads: {consent: not_required, holdout: true}
  service: {consent: not_required, tier: 1}
products: {loan: {}, card: {}}
policies:
  words: {kind: thompson, reward: {converted: 1}, attribution: 2 days}
  pictures: {kind: thompson, reward: {converted: 1}, attribution: 2 days}
messages:
  offer:
    {purpose: ads, product: loan, on: [deposit], channels: [sms], policy: words, variants: {a: {en: A}, b: {en: B}}}
  banner:
    {purpose: ads, product: loan, on: [visit], channels: [push], policy: pictures, variants: {a: {en: A}, b: {en: B}}}
  hint: {purpose: ads, product: loan, on: [call], channels: [sms], variants: {a: {en: A}}}
  pong: {purpose: service, on: [ping], channels: [sms], variants: {a: {en: A}}}
"""
HELD = 'holdout: {share: 100%, salt: "s"}\n'
CONVERTED, REPLIED = OutcomeKind.CONVERTED, OutcomeKind.REPLIED


class World:
    """A decider, its clock, and one customer."""

    def __init__(self, store: ManualStore, runner: asyncio.Runner) -> None:
        self.store, self.runner = store, runner
        self.events = 0
        self.use()

    def use(self, more: str = "") -> World:
        """From now on it is this rule set."""
        self.active = Active(compile_bundle({"a.yaml": (RULES + more).encode()}))
        self.decider = create_decider(self.active, self.store)
        return self.at(0)

    def at(self, hours: float) -> World:
        """Sets the clock to so long after noon."""
        self.store.at_ms = NOON + int(hours * HOUR)
        return self

    def decide(self, type_: str = "deposit") -> Decision:
        self.events += 1
        request = DecideRequest(Event(f"e{self.events}", "ana", type_, None, {}))
        [found] = self.runner.run(self.decider.decide([request]))
        assert isinstance(found, list), found
        return found[0]

    def report(self, d: Decision, kind: OutcomeKind = OutcomeKind.DELIVERED) -> None:
        [found] = self.runner.run(self.decider.record_outcomes([Outcomes(d.decision_id, kind, None, 0.0, "", "")]))
        assert isinstance(found, OutcomeResult), found

    def sent(self, type_: str = "deposit") -> str:
        """The id of a message that arrived."""
        d = self.decide(type_)
        assert d.outcome is Outcome.SEND
        self.report(d)
        return d.decision_id

    def credit(
        self, hours: float, kind: OutcomeKind = CONVERTED, outcome_id: str = "o1", customer: str = "ana", **of: str
    ) -> OutcomeResult | TactError:
        about = of or ({"product": "loan"} if kind is CONVERTED else {"channel": "sms"})
        at_ms = NOON + int(hours * HOUR)
        report = Outcomes("", kind, at_ms, 900.0, outcome_id, "", customer_id=customer, **about)
        [found] = self.runner.run(self.decider.record_outcomes([report]))
        return found

    def credited(self, hours: float, kind: OutcomeKind = CONVERTED, **more: str) -> list[str]:
        """What a report that is taken for the first time is credited to."""
        found = self.credit(hours, kind, **more)
        assert isinstance(found, OutcomeResult), found
        assert not found.repeated
        return found.credited_decision_ids

    def log(self) -> list[Entry]:
        return self.runner.run(self._log())

    async def _log(self) -> list[Entry]:
        keys = [key async for key in self.store.admin.scan_iter(match=f"{self.store.prefix}*log")]
        return [decode(row[b"d"]) for key in keys for _, row in await self.store.admin.xrange(key)]

    def outcomes(self) -> list[OutcomeEntry]:
        """What the log has of outcomes with an id."""
        return [e for e in self.log() if isinstance(e, OutcomeEntry) and e.outcome]

    def record(self) -> Record:
        read = self.runner.run(self.store.read([ReadRequest(customer_key("ana"), ())]))
        return decode_record(read.entries[0].record)

    def learn(self, hours: float) -> int:
        """From how many trials is learnt until then."""

        async def run() -> int:
            learner = Learner(self.store, self.active)
            count = await learner.run_once(NOON + int(hours * HOUR))
            await learner.close()
            return count

        return self.runner.run(run())


@pytest.fixture
def world(store_url: str, key_prefix: str, runner: asyncio.Runner) -> Iterator[World]:
    store = ManualStore(store_url, key_prefix, commit_budget_ms=2000)
    yield World(store, runner)
    runner.run(store.close())


def test_a_conversion_is_credited_to_the_latest_delivered_of_each_policy(world: World) -> None:
    world.sent()
    picture = world.at(1).sent("visit")
    world.sent("call")
    latest, plain = world.at(2).sent(), world.sent("call")
    unreported = world.at(3).decide()
    world.report(world.decide(), OutcomeKind.NOT_DELIVERED)
    world.at(5).sent()  # after it happened
    assert unreported.outcome is Outcome.SEND
    assert world.at(6).credited(4) == [picture, latest, plain]
    entries = world.outcomes()
    assert [(e.message, e.policy) for e in entries] == [("banner", "pictures"), ("offer", "words"), ("hint", "")]
    assert {(e.kind, e.value, e.occurred_ms, e.at_ms) for e in entries} == {
        (CONVERTED, 900.0, NOON + 4 * HOUR, NOON + 6 * HOUR)
    }
    assert len({e.outcome for e in entries} - {0}) == 1
    assert world.credited(4, outcome_id="o2") == [picture, latest, plain]  # another loan


def test_a_report_again_names_what_it_was_credited_to(world: World) -> None:
    first = world.sent()
    assert world.at(1).credited(1) == [first]
    world.sent()
    for _ in range(40):  # the answer gets a key of its own
        world.decide("ping")
    before = world.outcomes()
    again = world.at(2).credit(1)
    assert again == OutcomeResult(True, [], credited_decision_ids=[first])
    assert world.outcomes() == before
    assert world.record().spilled


def test_one_id_may_be_of_two_products_and_of_two_kinds(world: World) -> None:
    first = world.sent()
    assert world.at(1).credited(1) == [first]
    assert world.credited(1, product="card") == []
    assert world.credited(1, OutcomeKind.DECLINED, product="loan") == [first]


def test_what_could_not_be_credited_can_be_later(world: World) -> None:
    d = world.decide()
    assert world.at(1).credited(1) == []
    assert world.outcomes() == []
    world.report(d)  # the gateway was late
    world.sent()
    assert world.at(2).credited(0.5) == [d.decision_id]


def test_a_stranger_leaves_nothing_behind(world: World) -> None:
    assert world.credited(0, customer="nobody") == []
    read = world.runner.run(world.store.read([ReadRequest(customer_key("nobody"), ())]))
    assert read.entries[0].record == b""


def test_a_reply_is_credited_to_the_latest_on_its_channel(world: World) -> None:
    offer, pong = world.sent(), world.sent("ping")
    world.sent("visit")  # a push
    hint = world.at(1).sent("call")
    assert world.at(2).credited(2, REPLIED) == [offer, hint]
    assert world.credited(0.5, REPLIED, outcome_id="o2") == [offer, pong]
    assert world.credited(2, REPLIED, channel="letter") == []


def test_what_arrived_by_another_report_was_delivered(world: World) -> None:
    d = world.decide()
    world.report(d, OutcomeKind.OPENED)
    assert world.credited(0) == [d.decision_id]


def test_the_latest_withheld_is_credited_beside_the_delivered_and_nothing_learns_from_it(world: World) -> None:
    offer = world.sent()
    world.use(HELD)
    early, late = world.at(1).decide("visit"), world.at(2).decide()
    assert (early.reason, late.reason) == (Reason.HOLDOUT, Reason.HOLDOUT)
    assert world.at(3).credited(3) == [offer, late.decision_id]
    assert world.credited(3, REPLIED) == [offer]  # to what was never said there are no replies
    assert world.learn(100) == 1  # of three draws


def test_a_time_ahead_is_refused(world: World) -> None:
    found = world.credit(1)
    assert isinstance(found, InvalidInput)
    assert [v.field for v in found.violations] == ["occurred_at"]


def test_several_reports_of_a_call_are_taken_in_order(world: World) -> None:
    first = world.sent()
    report = Outcomes("", CONVERTED, NOON, 1.0, "o1", "", customer_id="ana", product="loan")
    results = world.runner.run(world.decider.record_outcomes([report, report]))
    assert results == [OutcomeResult(repeated, [], credited_decision_ids=[first]) for repeated in (False, True)]


def test_what_was_credited_is_known_again_after_a_restore(world: World) -> None:
    ids = [world.sent(), world.sent("visit")]
    assert world.credited(0) == ids
    kept = world.record()
    entries = [(f"{n}-0", e) for n, e in enumerate(world.log(), 1)]
    [told] = [a for a in kept.answers if a.event in {e.outcome for e in world.outcomes()}]
    key = customer_key("ana")
    for record in (Record(), kept):  # of a backup from before, and from after
        rules = RuleBook({world.active.bundle.revision: world.active.bundle})
        book = Rebooking(key, Profile(), record, NOON, rules, Rebooked())
        book.book(entries)
        assert [a for a in book.record.answers if a.event == told.event] == [told]
