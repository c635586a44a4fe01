"""Caps that look further back than messages were kept, and what was called something else before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.compiler import ruleset
from engine.contact.caps import HISTORY_SHORT
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, Reason
from engine.errors import RulesInvalid, TactError
from engine.replay.manual_store import ManualStore
from engine.state.model import ConsentEntry, Contact
from engine.step.operations import ProfileChange

DAY = 86_400_000
RULES = """
events: {deposit: {}}
purposes: {ads: {consent: not_required}}
messages:
  offer: {purpose: ads, topic: %(topic)s, on: [deposit], channels: [sms], variants: {plain: {en: "A loan?"}}}
caps: [{name: a few, at_most: 2, per: %(per)s, in: %(span)s}]
%(more)s
"""


def rules(span: str = "7 days", topic: str = "loans", per: str = "[customer]", more: str = "") -> Bundle:
    return compile_bundle({"a.yaml": (RULES % {"span": span, "topic": topic, "per": per, "more": more}).encode()})


class Town:
    """Deciders of one store, and its clock: `days` from the server's own."""

    def __init__(self, store: ManualStore, runner: asyncio.Runner) -> None:
        self.store, self.runner = store, runner
        seconds, _ = runner.run(store.admin.time())
        self.now_ms, self.events = seconds * 1000, 0

    def at(self, days: float) -> Town:
        self.store.at_ms = self.now_ms + int(days * DAY)
        return self

    def decider(self, bundle: Bundle) -> Decider:
        return create_decider(Active(bundle), self.store)

    def decide(self, decider: Decider, customer: str = "ana") -> Decision:
        self.events += 1
        event = Event(f"e{self.events}", customer, "deposit", None, {})
        [found] = self.runner.run(decider.decide([DecideRequest(event)]))
        assert isinstance(found, list), found
        return found[0]


@pytest.fixture
def town(store_url: str, key_prefix: str, runner: asyncio.Runner) -> Iterator[Town]:
    store = ManualStore(store_url, key_prefix, commit_budget_ms=2000)
    yield Town(store, runner)
    runner.run(store.close())


def test_a_cap_that_looks_further_back_than_was_kept_counts_as_reached(town: Town) -> None:
    short, long = rules(), rules("180 days")
    old = town.decider(short)
    assert town.at(-200).decide(old).outcome is Outcome.SEND
    new = town.decider(long)
    held = town.at(0).decide(new)
    assert (held.reason, held.details.cap, held.details.cause) == (Reason.CAP_REACHED, "a few", HISTORY_SHORT)
    frees_ms = held.details.frees_at_ms
    assert 90 * DAY <= frees_ms - town.now_ms <= 90 * DAY + 120_000
    assert town.decide(new, "new").outcome is Outcome.SEND  # nothing of theirs was forgotten
    # rolled back, and on again: nothing more is lost
    back = town.decider(short)
    assert town.at(10).decide(back).outcome is Outcome.SEND
    again = town.decider(long)
    assert town.decide(again).details.frees_at_ms == frees_ms
    town.now_ms = frees_ms
    assert town.at(-0.0001).decide(again).reason is Reason.CAP_REACHED
    assert town.at(0).decide(again).outcome is Outcome.SEND  # one of 80 days ago is remembered
    assert town.decide(again).details.cause == ""
    assert town.decide(again).reason is Reason.CAP_REACHED


def test_rules_that_are_swapped_while_their_history_is_asked_for(town: Town) -> None:
    short, long = rules(), rules("180 days")
    assert town.at(-200).decide(town.decider(short)).outcome is Outcome.SEND
    decider = town.at(0).decider(short)

    async def scenario() -> list[Decision] | TactError:
        task = asyncio.create_task(decider.decide([DecideRequest(Event("e", "ana", "deposit", None, {}))]))
        for _ in range(3):  # until it has asked, and has no reply
            await asyncio.sleep(0)
        assert decider._batches
        decider.active.bundle = long
        [found] = await task
        return found

    found = town.runner.run(scenario())
    assert isinstance(found, list), found
    assert (found[0].reason, found[0].details.cause) == (Reason.CAP_REACHED, HISTORY_SHORT)


def test_a_cap_that_was_there_from_the_beginning_is_exact_from_the_beginning(town: Town) -> None:
    one = town.decider(rules("180 days"))
    sent = [town.at(day).decide(one).outcome for day in (0, 70, 170)]
    assert sent == [Outcome.SEND, Outcome.SEND, Outcome.NO_MESSAGE]
    assert town.at(180).decide(one).outcome is Outcome.SEND


def test_every_worker_keeps_what_the_longest_of_all_rules_asks_for(town: Town) -> None:
    """A worker of rules that look back a week writes between two of rules that look back half a year."""
    long, short = town.decider(rules("180 days")), town.decider(rules())
    town.at(0).decide(long)
    town.at(10).decide(long)
    assert town.at(120).decide(short).outcome is Outcome.SEND
    held = town.decide(long)
    assert (held.reason, held.details.count, held.details.cause) == (Reason.CAP_REACHED, 3, "")


PER_TOPIC = "[customer, topic]"


def test_a_renamed_topic_keeps_its_caps_and_its_blocks(town: Town) -> None:
    old, lost = town.decider(rules(per=PER_TOPIC)), town.decider(rules(topic="credits", per=PER_TOPIC))
    new = town.decider(rules(topic="credits", per=PER_TOPIC, more="topics: {credits: {was: [loans]}}"))
    town.at(0)
    assert [town.decide(old).outcome for _ in range(2)] == [Outcome.SEND] * 2
    assert town.decide(new).reason is Reason.CAP_REACHED
    assert town.decide(lost).outcome is Outcome.SEND  # without `was` it is another topic
    blocked = Contact([ConsentEntry("ads", True, 1, "", "")], ["loans"])
    town.runner.run(new.put_profiles([ProfileChange("bob", {}, [], blocked)]))
    refused = town.decide(new, "bob")
    assert (refused.reason, refused.details.topic) == (Reason.TOPIC_BLOCKED, "credits")
    assert town.decide(lost, "bob").outcome is Outcome.SEND


def test_a_topic_that_no_message_has_is_found() -> None:
    with pytest.raises(RulesInvalid) as refused:
        ruleset.load({"a.yaml": (RULES % {
            "span": "7 days", "topic": "credits", "per": PER_TOPIC, "more": "topics: {credit: {was: [loans]}}",
        }).encode()})  # fmt: skip
    [finding] = refused.value.findings
    assert (finding.code, finding.hint) == ("unknown-name", "did you mean 'credits'?")
