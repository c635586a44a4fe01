"""One test of a rule set, run: the pure step on the state that the test gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.bundle import Bundle, Pauses
from engine.compiler.model import Expect, Holdout, Test
from engine.compiler.reference import Inputs, evaluate, reads
from engine.compiler.sections_trials import WHOLE
from engine.decision import DecideRequest, Decision, Event, Outcome
from engine.identity import customer_key
from engine.learning.posteriors import Posteriors
from engine.state.model import ConsentEntry, Contact, Profile, Record
from engine.step.explain import Explanation, explain_step
from engine.step.inputs import gather, stored, text_feature
from engine.step.take import Subject, World

NOW_MS = 1_768_478_400_000  # 2026-01-15T12:00:00Z, a Thursday, for tests that do not say when
_DAY_MS = 86_400_000
_CUSTOMER = "test"
_SALT = b"tact test"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a test. `failures` says, for each part of `expect` that does not hold, what came instead."""

    name: str
    passed: bool
    failures: list[str]
    decision: Decision
    explanation: Explanation


def run(bundle: Bundle, test: Test) -> TrialResult:
    """Decides the test's event on the state it gives, and compares.

    Nobody is held out, or with `holdout: true` everybody. The customer is in the slice of every trial, or with
    `in_trial: false` in none; dates count. Draws are seeded, so the same test gives the
    same variant. A customer without a `timezone` lives in the zone of the UTC offset written in `now`.
    """
    held = Holdout(1.0, "test", test.position) if test.holdout else None
    bundle = _enrolled(replace(bundle, ruleset=replace(bundle.ruleset, holdout=held)), test.in_trial)
    given = test.given
    now_ms = NOW_MS if given.now_ns is None else given.now_ns // 1_000_000
    consents = [ConsentEntry(purpose, True, now_ms - _DAY_MS, "test", "") for purpose in given.consent]
    profile = Profile(
        cells={name: stored(bundle.ruleset.features[name], value, now_ms) for name, value in given.features.items()},
        contact=Contact(consents) if consents else None,
    )
    known = text_feature(bundle.ruleset, profile, "timezone", now_ms)
    zone = None if known is not None else given.zone or "UTC"
    attributes = dict(test.attributes)
    occurred = attributes.pop("occurred_at", None)
    event = Event("test", _CUSTOMER, test.event_type, occurred if isinstance(occurred, int) else None, attributes)
    subject = Subject(customer_key(_CUSTOMER), profile, Record(since_ms=now_ms), now_ms)
    explanation = explain_step(
        World(bundle, Pauses(), Posteriors(), _SALT),
        subject,
        DecideRequest(event),
        "",
        (test.expect.send,) if test.expect.send is not None else (),
        given_windows=given.windows,
        given_zone=zone,
    )
    decision = explanation.decisions[0]
    failures = _decision_failures(test.expect, decision)
    if test.expect.eligible is not None:
        found = _eligible_products(bundle, test, event, subject, known if zone is None else zone)
        if set(found) != set(test.expect.eligible):
            failures.append(f"expected eligible: {_listed(test.expect.eligible)}; came: {_listed(found)}")
    return TrialResult(test.name, not failures, failures, decision, explanation)


def _enrolled(bundle: Bundle, in_trial: bool) -> Bundle:
    """The bundle with everybody, or nobody, in the slices of layers, and nobody in those beside a bandit."""
    messages = []
    for step in bundle.steps.messages:
        policy = step.policy
        if policy is not None and policy.enrols:
            enrolment = policy.enrolment
            if enrolment is not None and enrolment.part is not None:
                part = replace(enrolment.part, low=0, high=WHOLE if in_trial else 0)
                enrolment = replace(enrolment, part=part)
            step = replace(step, policy=replace(policy, enrolment=enrolment, fixed_slice=None))
        messages.append(step)
    by_name = {m.message.name: m for m in messages}
    return replace(bundle, steps=replace(bundle.steps, messages=tuple(messages), by_name=by_name))


def _decision_failures(expect: Expect, decision: Decision) -> list[str]:
    failures = []
    sent = decision.outcome is Outcome.SEND
    came = f"send: {decision.message}" if sent else f"no_message: {decision.reason.name} ({decision.reason_text})"
    if expect.send is not None and (not sent or decision.message != expect.send):
        failures.append(f"expected send: {expect.send}; came {came}")
    if expect.no_message is not None and (sent or decision.reason.name != expect.no_message):
        failures.append(f"expected no_message: {expect.no_message}; came {came}")
    for name in ("variant", "channel", "text"):
        wanted, found = getattr(expect, name), getattr(decision, name)
        if wanted is not None and wanted != found and (sent or not failures):
            failures.append(f'expected {name}: "{wanted}"; came ' + (f'{name}: "{found}"' if sent else came))
    return failures


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"


def _eligible_products(bundle: Bundle, test: Test, event: Event, subject: Subject, zone: str | None) -> list[str]:
    """The products all of whose conditions hold, in the order declared."""
    products = bundle.ruleset.products.values()
    paths = {path for p in products for c in p.eligible for path in reads(c.expression.node)}
    occurred_ns = subject.now_ms * 1_000_000 if event.occurred_at_ns is None else event.occurred_at_ns
    values = gather(
        tuple(sorted(paths)),
        bundle.ruleset,
        bundle.steps.windows,
        event,
        occurred_ns,
        subject.profile,
        subject.record,
        subject.now_ms,
        zone,
        test.given.windows,
    )
    inputs = Inputs(values, subject.now_ms * 1_000_000, zone)
    return [p.name for p in products if all(evaluate(c.expression.node, inputs) is True for c in p.eligible)]
