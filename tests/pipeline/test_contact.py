"""Contact policy on a real store, with a clock that tests set: outcomes, deferral, the customer's own choice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, OutcomeKind, OutcomeResult, Outcomes, Reason
from engine.replay.manual_store import ManualStore
from engine.state.model import ConsentEntry, Contact
from engine.step.operations import ProfileChange

HOUR, DAY = 3_600_000, 86_400_000
NOON = 1_796_040_000_000  # 2026-11-30, a Monday, 12:00 UTC
RULES = """
events: {deposit: {}, ping: {}}
features: {timezone: {type: text, default: UTC}}
purposes:
  ads: {consent: required, quiet_hours: night, holdout: true}
  service: {consent: not_required, tier: 1}
quiet_hours: {night: {from: "20:00", to: "08:00", zone: customer, then: %(then)s}}
products: {loan: {}}
messages:
  offer:
    purpose: ads
    product: loan
    topic: loans
    on: [deposit]
    channels: [sms, push]
    variants: {plain: {en: "A loan?"}}
  pong: {purpose: service, on: [ping], channels: [sms], variants: {plain: {en: "Pong."}}}
%(more)s
"""
SUPPRESS = """
suppress:
  - {name: has it, after: converted, per: [product], for: 365 days}
  - {name: refused it, after: declined, per: [topic], for: 30 days}
  - {name: passed over it, after: ignored, times: 2, per: [message], for: 10 days}
"""


class World:
    """A decider, its clock, and one customer."""

    def __init__(self, store: ManualStore, runner: asyncio.Runner) -> None:
        self.store, self.runner = store, runner
        self.events = 0
        store.at_ms = NOON

    def use(self, more: str = "", then: str = "defer") -> World:
        """From now on it is this rule set."""
        self.bundle = compile_bundle({"a.yaml": (RULES % {"then": then, "more": more}).encode()})
        self.decider: Decider = create_decider(Active(self.bundle), self.store)
        return self

    def at(self, day: float, hours: float = 0.0) -> World:
        """Sets the clock to so long after noon of the first day."""
        self.store.at_ms = NOON + int(day * DAY + hours * HOUR)
        return self

    def contact(self, *consents: ConsentEntry, channels: tuple[str, ...] = (), topics: tuple[str, ...] = ()) -> World:
        said = consents or (ConsentEntry("ads", True, NOON - DAY, "", ""),)
        change = ProfileChange("ana", {}, [], Contact(list(said), list(topics), list(channels)))
        assert self.runner.run(self.decider.put_profiles([change])) == [None]
        return self

    def request(self, type_: str = "deposit", customer: str = "ana") -> DecideRequest:
        self.events += 1
        return DecideRequest(Event(f"e{self.events}", customer, type_, None, {}))

    def decide(self, type_: str = "deposit", customer: str = "ana") -> Decision:
        [found] = self.runner.run(self.decider.decide([self.request(type_, customer)]))
        assert isinstance(found, list), found
        return found[0]

    def report(self, d: Decision, kind: OutcomeKind) -> OutcomeResult:
        reports = [Outcomes(d.decision_id, kind, None, 0.0, "", "")]
        [found] = self.runner.run(self.decider.record_outcomes(reports))
        assert isinstance(found, OutcomeResult), found
        return found

    def confirm(self, d: Decision) -> Reason:
        return self.runner.run(self.decider.confirm_send(d.decision_id)).reason


@pytest.fixture
def world(store_url: str, key_prefix: str, runner: asyncio.Runner) -> Iterator[World]:
    store = ManualStore(store_url, key_prefix, commit_budget_ms=2000)
    yield World(store, runner)
    runner.run(store.close())


def test_who_took_it_or_refused_it_is_left_alone(world: World) -> None:
    world.use(SUPPRESS).contact()
    d = world.decide()
    assert d.outcome is Outcome.SEND
    world.at(0, 1)
    world.report(d, OutcomeKind.DECLINED)
    refused = world.decide()
    assert (refused.reason, refused.details.condition) == (Reason.ALREADY_DECLINED, "refused it")
    assert (refused.details.count, refused.details.limit) == (1, 1)
    assert refused.details.frees_at_ms == NOON + 30 * DAY
    assert refused.details.message == "offer"
    assert world.decide("ping").outcome is Outcome.SEND
    assert world.at(30, -0.01).decide().reason is Reason.ALREADY_DECLINED
    d = world.at(30).decide()
    assert d.outcome is Outcome.SEND
    world.report(d, OutcomeKind.CONVERTED)
    assert world.at(300).decide().reason is Reason.ALREADY_CONVERTED
    assert world.at(395).decide().outcome is Outcome.SEND


def test_who_ignores_it_again_and_again_is_left_alone(world: World) -> None:
    world.use(SUPPRESS).contact()
    sent = [world.at(day).decide() for day in (0, 1)]
    assert {d.outcome for d in sent} == {Outcome.SEND}
    due = (sent[1].report_by_ms - NOON) / DAY
    world.at(due - 0.001)
    explained = world.runner.run(world.decider.explain(world.request(), world.bundle, ""))
    assert explained.decisions[0].outcome is Outcome.SEND
    ignored = world.at(due).decide()
    assert (ignored.reason, ignored.details.count) == (Reason.REPEATEDLY_IGNORED, 2)
    assert ignored.details.frees_at_ms == NOON + 11 * DAY
    world.report(sent[1], OutcomeKind.OPENED)  # late, but it counts
    assert world.decide().outcome is Outcome.SEND


def test_explain_says_which_suppression_and_where_it_is_written(world: World) -> None:
    world.use(SUPPRESS).contact()
    world.report(world.decide(), OutcomeKind.CONVERTED)
    explained = world.runner.run(world.decider.explain(world.request(), world.bundle, ""))
    offer = next(c for c in explained.candidates if c.message == "offer")
    assert (offer.stopped_by, offer.details.frees_at_ms) == (Reason.ALREADY_CONVERTED, NOON + 365 * DAY)
    assert offer.position is not None
    line = (RULES % {"then": "defer", "more": SUPPRESS}).splitlines()[offer.position.line - 1]
    assert "has it" in line


def test_what_was_taken_up_meanwhile_is_not_sent_in_the_morning(world: World) -> None:
    world.use(SUPPRESS).contact()
    first = world.decide()
    late = world.at(0, 9).decide()
    assert late.confirm_before_sending
    assert late.send_after_ms == NOON + 20 * HOUR
    world.report(first, OutcomeKind.CONVERTED)
    assert world.at(0, 20).confirm(late) is Reason.ALREADY_CONVERTED
    # its own outcome does not forbid it
    other = world.use(SUPPRESS.replace("converted", "declined", 1)).at(2, 9).decide()
    world.report(other, OutcomeKind.DECLINED)
    assert world.at(2, 20).confirm(other) is Reason.SELECTED


def test_consent_for_one_channel_alone_is_kept(world: World) -> None:
    def say(granted: bool, at_ms: int, topic: str = "", channel: str = "") -> ConsentEntry:
        return ConsentEntry("ads", granted, at_ms, "", "", topic, channel)

    world.use().contact(say(True, NOON - DAY, channel="push"))
    assert world.decide().channel == "push"
    world.contact(say(True, NOON - DAY), say(False, NOON - HOUR, channel="sms"))
    assert world.decide().channel == "push"
    world.contact(say(True, NOON - DAY), say(False, NOON - HOUR, channel="sms"), channels=("push",))
    refused = world.decide()
    assert (refused.reason, refused.details.channel) == (Reason.CHANNEL_BLOCKED, "sms")
    assert refused.details.cause == "no consent for 'ads' on the channel"
    world.contact(say(True, NOON - DAY), say(False, NOON - HOUR, topic="loans"))
    refused = world.decide()
    assert (refused.reason, refused.details.topic) == (Reason.OPTED_OUT, "loans")
    assert world.decide("ping").outcome is Outcome.SEND


def test_a_channel_withdrawn_in_the_night_is_not_used_in_the_morning(world: World) -> None:
    granted = ConsentEntry("ads", True, NOON - DAY, "", "")
    world.use().contact(granted)
    late = world.at(0, 9).decide()
    assert (late.channel, late.confirm_before_sending) == ("sms", True)
    world.contact(granted, ConsentEntry("ads", False, NOON + HOUR, "", "", "", "push"))
    assert world.confirm(late) is Reason.SELECTED
    later = world.at(1, 9).decide()
    world.contact(granted, ConsentEntry("ads", False, NOON + HOUR, "", "", "", "sms"))
    assert world.at(1, 20).confirm(later) is Reason.OPTED_OUT


def test_a_volume_holds_who_was_here_by_a_clock_that_was_ahead(world: World) -> None:
    world.use("caps: [{volume: 1, in: calendar week}]\n").contact()
    assert world.decide().outcome is Outcome.SEND
    world.at(0.3).decide("ping")
    assert world.at(0).decide().reason is Reason.VOLUME_REACHED
    explained = world.runner.run(world.decider.explain(world.request(), world.bundle, ""))
    assert explained.decisions[0].reason is Reason.VOLUME_REACHED


def test_a_stop_closes_what_the_rules_say(world: World) -> None:
    more = """
  news: {purpose: news, on: [ping], channels: [sms], variants: {plain: {en: "News."}}}
"""
    rules = RULES.replace("  service: {", "  news: {consent: not_required, quiet_hours: night}\n  service: {")
    rules = rules.replace("  ads: {", "  ads: {stops: [news], ") % {"then": "defer", "more": more}
    rules = rules.replace("  pong: {purpose: service, on: [ping]", "  pong: {purpose: service, on: [deposit], value: 0")
    world.bundle = compile_bundle({"a.yaml": rules.replace("tier: 1", "tier: 3").encode()})
    world.decider = create_decider(Active(world.bundle), world.store)
    world.contact()
    offer = world.decide()
    news = world.at(0, 9).decide("ping")
    assert (offer.message, news.message, news.confirm_before_sending) == ("offer", "news", True)
    stop = world.report(offer, OutcomeKind.OPTED_OUT)
    assert stop.cancelled_decision_ids == [news.decision_id]
    assert world.report(offer, OutcomeKind.OPTED_OUT).cancelled_decision_ids == [news.decision_id]
    assert world.at(1).decide("ping").reason is Reason.OPTED_OUT
    assert world.decide().message == "pong"
    assert world.confirm(news) is Reason.OPTED_OUT


HELD = 'holdout: {share: 100%, salt: "s"}\n'
CAP = "caps: [{name: two a week, at_most: 2, per: [customer], in: 7 days, purposes: [ads]}]\n"


def test_the_holdout_has_a_log_of_its_own(world: World) -> None:
    """What is withheld counts for who is held out, as if it had been said, and for nobody else."""
    world.use(CAP + HELD).contact()
    assert [world.decide().reason for _ in range(3)] == [Reason.HOLDOUT, Reason.HOLDOUT, Reason.CAP_REACHED]
    world.use(CAP)  # the customer is held out no more: nothing was said
    assert [world.decide().reason for _ in range(3)] == [Reason.SELECTED, Reason.SELECTED, Reason.CAP_REACHED]
    world.use(CAP + HELD).at(7)
    assert world.decide().reason is Reason.HOLDOUT


def test_what_is_withheld_was_not_ignored(world: World) -> None:
    world.use(SUPPRESS + HELD).contact()
    assert [world.at(day).decide().reason for day in (0, 1, 5, 6)] == [Reason.HOLDOUT] * 4


def test_an_unreported_decision_counts_against_caps_after_it_was_due(world: World) -> None:
    world.use(CAP).contact()
    first = world.decide()
    world.decide()
    assert first.report_by_ms < NOON + 5 * DAY
    held = world.at(5).decide()
    assert (held.reason, held.details.cap, held.details.count) == (Reason.CAP_REACHED, "two a week", 2)
    world.report(first, OutcomeKind.NOT_DELIVERED)
    assert world.decide().outcome is Outcome.SEND
    again = world.report(first, OutcomeKind.DELIVERED)
    assert again.exceeded == "two a week"


def test_a_deferred_touch_holds_in_every_window_that_contains_it(world: World) -> None:
    gap = "gaps: [{name: a day apart, at_least: 24 hours, per: [customer], purposes: [ads]}]\n"
    world.use(gap).contact()
    late = world.at(0, 9).decide()  # booked at 8:00 of the next day
    assert late.send_after_ms == NOON + 20 * HOUR
    held = world.at(0, 19.9).decide()  # before it is sent, and it would be sent together with it
    assert (held.reason, held.details.frees_at_ms) == (Reason.GAP_NOT_ELAPSED, NOON + 44 * HOUR)
    assert world.at(1, 7.99).decide().reason is Reason.GAP_NOT_ELAPSED  # shortly before the night
    assert world.at(1, 8).decide().send_after_ms == NOON + 44 * HOUR  # which it waits for
