"""What the shipped rules decide: their own tests, and the samples in the order in which they are sent.

The pure step is run as it is: no store, no clock, the moment given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.bundle import Bundle, Pauses, compile_bundle
from engine.compiler.model import Expect
from engine.compiler.model import Test as RuleTest
from engine.compiler.ruleset import load, read_directory
from engine.contact.holdout import held_out
from engine.decision import DecideRequest, Decision, Event, Outcome, Reason
from engine.identity import customer_key, event_hash
from engine.learning.posteriors import Posteriors
from engine.state.model import Cell, ConsentEntry, Contact, Profile, Record
from engine.step.take import Step, Subject, World, take

RULES = Path(__file__).parents[2] / "rules"
SETS = {
    "shipped": RULES,
    "bank_campaign": RULES / "examples" / "bank_campaign",
    "wallet": RULES.parent / "bench" / "wallet",
}
TUESDAY_TEN_MS = 1_795_510_800_000  # 2026-11-24T10:00:00+01:00, within everybody's day in Madrid
KINDS = {"flag": "bool", "integer": "integer", "number": "number", "text": "text", "time": "time"}


def _bundles() -> dict[str, Bundle]:
    return {name: compile_bundle(read_directory(path)) for name, path in SETS.items()}


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return _bundles()


def _decide(bundle: Bundle, subject: Subject, event: Event, windows: dict[str, object] | None = None) -> Decision:
    """One event against the customer's state, which is changed in place."""
    step = Step(subject, DecideRequest(event), event_hash(event.event_id), subject.now_ms, given_windows=windows)
    take(World(bundle, Pauses(), Posteriors(), b"salt"), [step])
    return step.decisions[0]


def _tests() -> Iterator[tuple[str, RuleTest]]:
    for name, path in SETS.items():
        for test in load(read_directory(path)).tests:
            yield name, test


def _awake(bundle: Bundle) -> str:
    """A customer who is not in the holdout."""
    ids = (f"customer-{i}" for i in range(1000))
    return next(i for i in ids if not held_out(customer_key(i), bundle.ruleset.holdout))


@pytest.mark.parametrize(("name", "test"), [pytest.param(n, t, id=f"{n}: {t.name}") for n, t in _tests()])
def test_rule_tests_hold(bundles: dict[str, Bundle], name: str, test: RuleTest) -> None:
    bundle, given = bundles[name], test.given
    customer = _awake(bundle)
    types = {n: f.type.value for n, f in bundle.ruleset.features.items()}
    profile = Profile(
        cells={n: Cell(types[n], v, 0) for n, v in given.features.items()},
        contact=Contact([ConsentEntry(p, True, 1, "test", "") for p in given.consent]),
    )
    now_ms = given.now_ns // 1_000_000 if given.now_ns is not None else TUESDAY_TEN_MS
    event = Event("event", customer, test.event_type, None, dict(test.attributes))
    subject = Subject(customer_key(customer), profile, Record(since_ms=now_ms), now_ms)
    _compare(_decide(bundle, subject, event, dict(given.windows)), test.expect)


def _compare(decision: Decision, expect: Expect) -> None:
    if expect.send is not None:
        assert decision.outcome is Outcome.SEND, decision.reason_text
        assert decision.message == expect.send
    if expect.no_message is not None:
        assert decision.reason.name == expect.no_message, decision
    for name in ("variant", "channel", "text"):
        wanted = getattr(expect, name)
        assert wanted is None or getattr(decision, name) == wanted


def _value(value: dict[str, object]) -> object:
    ((kind, written),) = value.items()
    if kind == "integer":
        return int(str(written))
    if isinstance(written, dict):  # money
        return int(written["units"]) * 10**9 + int(written.get("nanos", 0))
    if kind == "time":
        return 1_738_411_200 * 10**9 if written == "2025-02-01T12:00:00Z" else pytest.fail(str(written))
    return written


def _profile(line: str) -> tuple[str, Profile]:
    written = json.loads(line)
    contact = written["contact"]
    consents = [ConsentEntry(c["purpose"], c["state"] == "GRANTED", 1, c["source"], "") for c in contact["consents"]]
    cells = {n: Cell(KINDS[next(iter(v))], _value(v), 0) for n, v in written["features"].items()}
    return written["customerId"], Profile(cells=cells, contact=Contact(consents, contact.get("blockedTopics", [])))


SENT, NOTHING = Outcome.SEND, Outcome.NO_MESSAGE
SAMPLES = [
    ("ana-green", "page_view", SENT, "green_fund_intro", "push"),
    ("ana-green", "deposit", NOTHING, Reason.CAP_REACHED, "one a day for each topic"),
    ("bruno-growth", "deposit", SENT, "growth_fund_intro", "sms"),
    ("carla-not-yet", "page_view", NOTHING, Reason.NOT_ELIGIBLE, "cushion"),
    ("diego-no-consent", "deposit", NOTHING, Reason.NO_CONSENT, "marketing"),
    ("elena-stop", "deposit", NOTHING, Reason.OPTED_OUT, "marketing"),
    ("felix-no-salary", "deposit", NOTHING, Reason.DATA_MISSING, "monthly_salary"),
    ("greta-no-topic", "deposit", NOTHING, Reason.TOPIC_BLOCKED, "investing"),
    ("hugo-dormant", "daily_check", SENT, "reactivate", "sms"),
    ("hugo-dormant", "deposit", NOTHING, Reason.GAP_NOT_ELAPSED, "marketing four hours apart"),
    ("ines-dormant", "daily_check", SENT, "reactivate", "push"),
    ("jorge-no-name", "daily_check", NOTHING, Reason.NOT_IN_TRIAL, "first_name"),
    ("karla-complaint", "daily_check", NOTHING, Reason.LEFT_ALONE, ""),
    ("luis-active", "payment", NOTHING, Reason.NO_RULE_FOR_EVENT, ""),
    ("luis-active", "daily_check", NOTHING, Reason.NOT_IN_AUDIENCE, ""),
    ("marta-on-time", "instalment_due", NOTHING, Reason.LEFT_ALONE, ""),
    ("nico-forgetful", "instalment_due", SENT, "instalment_reminder", "sms"),
    ("nico-forgetful", "instalment_due", NOTHING, Reason.CAP_REACHED, "one reminder per loan and day"),
    ("nico-forgetful", "instalment_due", SENT, "instalment_today", "sms"),
    ("olga-nascent", "instalment_due", SENT, "instalment_reminder", "officer_task"),
    ("pablo-new", "instalment_due", SENT, "instalment_reminder", "push"),
    ("rosa-no-phone", "instalment_due", NOTHING, Reason.NO_CHANNEL, ""),
    ("rosa-no-phone", "instalment_missed", SENT, "instalment_missed_note", "officer_task"),
    ("irene-silent", "deposit", NOTHING, Reason.HOLDOUT, ""),
    ("nobody-knows-me", "deposit", NOTHING, Reason.DATA_MISSING, "savings_balance"),
]


def test_samples_show_what_they_are_for(bundles: dict[str, Bundle]) -> None:
    lines = (RULES / "samples" / "profiles.jsonl").read_text(encoding="utf-8").splitlines()
    subjects = {
        customer: Subject(customer_key(customer), profile, Record(since_ms=TUESDAY_TEN_MS), TUESDAY_TEN_MS)
        for customer, profile in map(_profile, lines)
    }
    told = []
    for line in (RULES / "samples" / "events.jsonl").read_text(encoding="utf-8").splitlines():
        written = json.loads(line)["event"]
        customer = written["customerId"]
        attributes = {n: _value(v) for n, v in written.get("attributes", {}).items()}
        event = Event(written["eventId"], customer, written["type"], None, attributes)
        stranger = Subject(customer_key(customer), Profile(), Record(since_ms=TUESDAY_TEN_MS), TUESDAY_TEN_MS)
        subject = subjects.setdefault(customer, stranger)
        subject.now_ms += 60_000
        told.append((written["type"], _decide(bundles["shipped"], subject, event)))
    assert len(told) == len(SAMPLES)
    for (event_type, decision), (customer, type_name, outcome, first, second) in zip(told, SAMPLES, strict=True):
        assert (decision.customer_id, event_type) == (customer, type_name)
        assert decision.outcome is outcome, (customer, decision)
        if outcome is SENT:
            assert (decision.message, decision.channel) == (first, second)
        else:
            assert decision.reason is first, (customer, decision)
            assert second in repr(decision.details), (customer, decision.details)
    said = {(d.customer_id, d.locale) for _, d in told if d.outcome is SENT}
    assert ("ines-dormant", "es") in said
    assert ("hugo-dormant", "en") in said
