"""Layers, dates and fixed slices on a real store: what is decided, logged, kept and learnt."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import SHARE_UNIT, DecideRequest, Decision, Event, Outcome, OutcomeKind, Outcomes, Reason
from engine.errors import TactError
from engine.identity import customer_key
from engine.learning.enrolment import Assignment, inside
from engine.learning.learner import Learner
from engine.learning.linear import REWARD_UNIT
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.snapshot import Learnt
from engine.state.log import DecisionEntry, Entry, OutcomeEntry, decode
from engine.state.redis import RedisStore

RULES = """
events: {ping: {size: number}}
features: {region: text}
facts: {area: "features.region == 'north' ? 'rural' : 'urban'"}
purposes: {p: {consent: not_required}}
POLICY
messages:
  m: {purpose: p, on: [ping], channels: [push], policy: words, variants: {a: {en: "A."}, b: {en: "B."}}}
"""
DAY_MS = 86_400_000
NAMES = [f"c{k}" for k in range(40)]


def rules(policy: str, more: str = "") -> dict[str, bytes]:
    return {"r.yaml": RULES.replace("POLICY", f"policies: {{words: {{{policy}}}}}\n{more}").encode()}


def request(event_id: str, customer: str) -> DecideRequest:
    return DecideRequest(Event(event_id, customer, "ping", None, {"size": 2.5}))


def only(result: list[Decision] | TactError) -> Decision:
    assert isinstance(result, list), result
    [decision] = result
    return decision


async def log_of(store: RedisStore) -> list[Entry]:
    keys = [key async for key in store.admin.scan_iter(match=f"{store.prefix}*log")]
    return [decode(row[b"d"]) for key in keys for _, row in await store.admin.xrange(key)]


async def decided(store: RedisStore, policy: str, more: str = "", event_id: str = "e") -> dict[str, Decision]:
    decider = create_decider(Active(compile_bundle(rules(policy, more))), store)
    return dict(zip(NAMES, map(only, await decider.decide([request(event_id, n) for n in NAMES])), strict=True))


async def assignments(store: RedisStore) -> Counter[int]:
    return Counter(e.assignment for e in await log_of(store) if isinstance(e, DecisionEntry))


LAYER = "layers: {front: {salt: s, slices: {words: 50%}}}"


def test_outside_of_its_slice_a_customer_gets_the_control(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        policy = compile_bundle(rules("kind: fixed, control: a", LAYER)).ruleset.policies["words"]
        assert policy.enrolment is not None
        part = policy.enrolment.part
        assert part is not None
        found = await decided(store, "kind: fixed, control: a", LAYER)
        entries = {e.customer: e for e in await log_of(store) if isinstance(e, DecisionEntry)}
        for name, decision in found.items():
            digest = customer_key(name).digest
            entry = entries[digest]
            assert decision.policy == entry.policy == "words"
            if inside(digest, part):
                assert decision.variant_share == SHARE_UNIT // 2
                assert entry.assignment == Assignment.POLICY
            else:
                assert (decision.variant, decision.variant_share) == ("a", SHARE_UNIT)
                assert entry.assignment == Assignment.OUTSIDE
                assert [tuple(v) for v in entry.variants] == [("a", SHARE_UNIT), ("b", 0)]
        assert 8 < sum(e.assignment == Assignment.OUTSIDE for e in entries.values()) < 32

    runner.run(scenario())


def test_outside_of_its_slice_a_customer_may_be_left_out(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        found = await decided(store, "kind: fixed, outside: leave_out", LAYER)
        stopped = [d for d in found.values() if d.outcome is Outcome.NO_MESSAGE]
        assert 8 < len(stopped) < 32
        assert {d.reason for d in stopped} == {Reason.NOT_IN_TRIAL}
        assert {d.details.cause for d in stopped} == {"not in the slice of 'words' in the layer 'front'"}

    runner.run(scenario())


@pytest.mark.parametrize(
    ("dates", "variant", "how"),
    [
        ("from: 2099-01-01", "a", Assignment.EARLY),
        ("until: 2001-01-01", "a", Assignment.OVER),
        ("until: 2001-01-01, then: b", "b", Assignment.OVER),
        ("from: 2001-01-01, until: 2099-01-01, then: b", "", Assignment.POLICY),
    ],
)
def test_before_it_begins_and_after_it_is_over(
    store: RedisStore, runner: asyncio.Runner, dates: str, variant: str, how: Assignment
) -> None:
    async def scenario() -> None:
        found = await decided(store, f"kind: fixed, control: a, {dates}")
        variants = {d.variant for d in found.values()}
        assert variants == ({variant} if variant else {"a", "b"})
        assert await assignments(store) == {how: len(NAMES)}

    runner.run(scenario())


def test_an_assignment_is_kept_in_the_trial_and_none_outside(store: RedisStore, runner: asyncio.Runner) -> None:
    """Sticky customers leave the trial when it is over, and go on as before where it is not."""

    async def scenario() -> None:
        sticky = "kind: fixed, sticky: customer, control: a"
        before = await decided(store, f"{sticky}, from: 2099-01-01", event_id="e0")
        assert {d.variant for d in before.values()} == {"a"}
        first = await decided(store, sticky, event_id="e1")
        assert {d.variant for d in first.values()} == {"a", "b"}  # what was said before it began bound nobody
        over = await decided(store, f"{sticky}, until: 2001-01-01, then: b", event_id="e2")
        assert {d.variant for d in over.values()} == {"b"}
        again = await decided(store, sticky, event_id="e3")
        assert {n: d.variant for n, d in again.items()} == {n: d.variant for n, d in first.items()}

    runner.run(scenario())


def test_a_variant_for_those_outside_that_cannot_be_said(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        text = rules("kind: fixed, control: a, until: 2001-01-01")["r.yaml"].replace(b"A.", b"A {features.region}.")
        decider = create_decider(Active(compile_bundle({"r.yaml": text})), store)
        decision = only((await decider.decide([request("e", "ana")]))[0])
        assert (decision.outcome, decision.reason) == (Outcome.NO_MESSAGE, Reason.VARIANT_UNAVAILABLE)
        told = "the trial of 'words' is over, so the variant is 'a': slot 'features.region' has no value"
        assert decision.details.cause == told

    runner.run(scenario())


def test_a_fixed_slice_is_drawn_by_its_weights_and_learnt_from(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rest = "kind: thompson, reward: {replied: 1}, attribution: 1 hour, floor: 1%, control: a"
        active = Active(compile_bundle(rules(f"{rest}, trial: {{share: 50%}}")))
        arms = {
            ArmKey("words", "m", "", "a"): ArmState(1000, 0),
            ArmKey("words", "m", "", "b"): ArmState(1000, 900 * REWARD_UNIT),
        }
        decider = create_decider(active, store, learnt=Learnt(Posteriors(3, arms)))
        found = [only(r) for r in await decider.decide([request("e", n) for n in NAMES])]
        beside = active.bundle.ruleset.policies["words"].fixed_slice
        assert beside is not None
        for name, decision in zip(NAMES, found, strict=True):
            if inside(customer_key(name).digest, beside.part):
                assert (decision.variant_share, decision.policy_version) == (SHARE_UNIT // 2, 0)
            else:
                assert decision.policy_version == 3
                assert decision.variant_share in (pytest.approx(0.99 * SHARE_UNIT), pytest.approx(0.01 * SHARE_UNIT))
        counts = await assignments(store)
        assert set(counts) == {Assignment.POLICY, Assignment.FIXED_SLICE}
        reports = [Outcomes(d.decision_id, OutcomeKind.DELIVERED, None, 0.0, "", "") for d in found]
        await decider.record_outcomes(reports)
        learner = Learner(store, active)
        assert await learner.run_once((await store.read([])).now_ms + DAY_MS) == len(NAMES)
        await learner.close()

    runner.run(scenario())


def test_what_is_no_part_of_the_trial_is_not_learnt_from(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rest = "kind: thompson, reward: {replied: 1}, attribution: 1 hour, control: a"
        active = Active(compile_bundle(rules(rest, LAYER)))
        decider = create_decider(active, store)
        found = [only(r) for r in await decider.decide([request("e", n) for n in NAMES])]
        await decider.record_outcomes([Outcomes(d.decision_id, OutcomeKind.REPLIED, None, 0.0, "", "") for d in found])
        learner = Learner(store, active)
        learnt = await learner.run_once((await store.read([])).now_ms + DAY_MS)
        await learner.close()
        assert learnt == (await assignments(store))[Assignment.POLICY]
        assert 0 < learnt < len(NAMES)

    runner.run(scenario())


def test_what_is_reported_by_and_what_replies_were_about_are_in_the_log(
    store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        policy = "kind: fixed, control: a, report_by: [facts.area, event.size * 2.0, features.region]"
        text = rules(policy, "kpis: {total: ping.size}")
        decider = create_decider(Active(compile_bundle(text)), store)
        decision = only((await decider.decide([request("e", "ana")]))[0])
        report = Outcomes(decision.decision_id, OutcomeKind.REPLIED, None, 0.0, "", "", "fees")
        await decider.record_outcomes([report])
        entries = await log_of(store)
        [told] = [e for e in entries if isinstance(e, DecisionEntry)]
        assert told.reported == {"facts.area": "?", "event.size * 2.0": 5.0, "features.region": "?"}
        assert told.measured == [("total", 2.5)]
        [outcome] = [e for e in entries if isinstance(e, OutcomeEntry)]
        assert (outcome.kind, outcome.category) == (OutcomeKind.REPLIED, "fees")

    runner.run(scenario())
