"""Customers who object to learning: the control from then on, untrained, and the log says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.compiler.model import LEARNING
from engine.contact.consent import objects_to_learning
from engine.decider import Decider, create_decider
from engine.decision import SHARE_UNIT, DecideRequest, Decision, Event, OutcomeKind, Outcomes
from engine.errors import RulesInvalid
from engine.identity import name_hash
from engine.learning.enrolment import Assignment
from engine.learning.learner import Learner, refresh
from engine.learning.snapshot import Learnt
from engine.pb.tact.v1 import profile_pb2
from engine.readout.report import Wish, make_report
from engine.readout.trials import read_trials
from engine.readout.verify import verify
from engine.service.profile_codec import decode_profile
from engine.state.archive import Archiver
from engine.state.log import DecisionEntry, decode
from engine.state.model import ConsentEntry, Contact, Record
from engine.state.redis import RedisStore
from engine.step.operations import ProfileChange

DAY_MS = 86_400_000
RULES = """
events: {a: {}, b: {}, c: {}, d: {}}
purposes:
  p: {consent: not_required}
  ads: {consent: not_required, stops: [learning]}
policies:
  learns: {kind: thompson, reward: {replied: 1.0}, attribution: 1 day, control: y}
  free: {kind: epsilon_greedy, reward: {replied: 1.0}, attribution: 1 day}
  weighed: {kind: fixed, weights: {x: 1, y: 3}}
  stuck: {kind: fixed, sticky: customer, control: y}
messages:
  m: {purpose: p, on: [a], channels: [sms], policy: learns, variants: {x: {en: One}, y: {en: Two}}}
  n: {purpose: ads, on: [b], channels: [sms], policy: free, variants: {x: {en: One}, y: {en: Two}}}
  o: {purpose: p, on: [c], channels: [sms], policy: weighed, variants: {x: {en: One}, y: {en: Two}}}
  s: {purpose: p, on: [d], channels: [sms], policy: stuck, variants: {x: {en: One}, y: {en: Two}}}
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle({"a.yaml": RULES.encode()})


async def told(decider: Decider, kind: str, customers: list[str], turn: int = 0) -> list[Decision]:
    """What they are told, and that all of it was answered."""
    requests = [DecideRequest(Event(f"{kind}{turn}-{c}", c, kind, None, {})) for c in customers]
    found = []
    for answer in await decider.decide(requests):
        assert not isinstance(answer, Exception), answer
        found += answer
    return found


async def say(decider: Decider, decisions: list[Decision], kind: OutcomeKind) -> None:
    reports = [Outcomes(d.decision_id, kind, None, 0.0, "", "") for d in decisions]
    assert all(not isinstance(r, Exception) for r in await decider.record_outcomes(reports))


async def put(decider: Decider, customers: list[str], granted: bool, at_ms: int = 0) -> None:
    changes = [
        ProfileChange(c, {}, [], Contact([ConsentEntry(LEARNING, granted, at_ms, "app", "")])) for c in customers
    ]
    assert await decider.put_profiles(changes) == [None] * len(customers)


async def entries(store: RedisStore) -> list[DecisionEntry]:
    keys = [key async for key in store.admin.scan_iter(match=f"{store.prefix}*log")]
    rows = [row for key in keys for _, row in await store.admin.xrange(key)]
    return [e for e in (decode(row[b"d"]) for row in rows) if isinstance(e, DecisionEntry)]


def test_objectors_get_the_control_and_are_not_learnt_from(
    store: RedisStore, runner: asyncio.Runner, bundle: Bundle, tmp_path: Path
) -> None:
    async def scenario() -> None:
        active, learnt = Active(bundle), Learnt()
        decider = create_decider(active, store, learnt=learnt)
        objectors, others = [f"o{k}" for k in range(30)], [f"c{k}" for k in range(60)]
        before = await told(decider, "d", objectors)  # assigned before they object
        assert {d.variant for d in before} == {"x", "y"}
        await put(decider, objectors, False)
        for kind in "ad":
            decisions = await told(decider, kind, objectors, 1)
            assert {(d.variant, d.variant_share) for d in decisions} == {("y", SHARE_UNIT)}
            await say(decider, decisions, OutcomeKind.REPLIED)
        for kind, share in (
            ("b", SHARE_UNIT // 2),
            ("c", 279_172_874),
        ):  # no control
            decisions = await told(decider, kind, objectors)
            assert {(d.variant, d.variant_share) for d in decisions} == {("x", share), ("y", SHARE_UNIT - share)}
            await say(decider, decisions, OutcomeKind.REPLIED)
        logged = await entries(store)
        assert {e.assignment for e in logged if e.event_type != "d"} == {Assignment.OBJECTED}
        assert {e.policy_version for e in logged} == {0}
        assert not any(e.sticky for e in logged)

        decisions = [d for kind in "ab" for d in await told(decider, kind, others)]
        await say(decider, decisions, OutcomeKind.DELIVERED)
        learner = Learner(store, active)
        now_ms = await learner.now_ms()
        assert await learner.run_once(now_ms + 2 * DAY_MS) == 120
        await refresh(store, learnt)
        assert sum(state.reward for state in learnt.posteriors.arms.values()) == 0  # theirs were all rewards
        later = await told(decider, "a", objectors, 2)  # nothing that was learnt moves them
        assert {(d.variant, d.variant_share) for d in later} == {("y", SHARE_UNIT)}

        await put(decider, objectors, True, now_ms + 1000)
        assert {d.variant for d in await told(decider, "a", objectors, 3)} == {"x", "y"}
        assert {d.variant for d in await told(decider, "d", objectors, 3)} == {"x", "y"}  # as assigned before
        archiver = Archiver(store, tmp_path)
        await archiver.run_once()
        await archiver.close()
        verdict = verify(tmp_path, b"", bundle.ruleset)
        assert not verdict.differences, verdict.differences
        trials = read_trials(tmp_path)
        assert int((trials.assignment == Assignment.OBJECTED).sum()) == 30 * 5
        found = make_report(trials, Wish(), bundle.ruleset)
        counted = {m.message: sum(arm.trials for arm in m.arms) for m in found.messages}
        assert counted == {"m": 60 + 30, "n": 60, "s": 60}
        await learner.close()

    runner.run(scenario())


def test_a_stop_may_be_an_objection(store: RedisStore, runner: asyncio.Runner, bundle: Bundle) -> None:
    """Where the rules say so: `stops: [learning]`."""

    async def scenario() -> None:
        decider = create_decider(Active(bundle), store)
        customers = [f"c{k}" for k in range(20)]
        assert {d.variant for d in await told(decider, "a", customers)} == {"x", "y"}
        await say(decider, await told(decider, "b", customers), OutcomeKind.OPTED_OUT)
        assert {d.variant for d in await told(decider, "a", customers, 1)} == {"y"}
        stored = await decider.get_profile("c0")
        assert stored is None or stored.contact is None or LEARNING in {c.purpose for c in stored.contact.consents}

    runner.run(scenario())


@pytest.mark.parametrize(
    ("consents", "opt_outs", "objects"),
    [
        ([], {}, False),
        ([(True, 5)], {}, False),
        ([(False, 5)], {}, True),
        ([], {LEARNING: 5}, True),
        ([(True, 5)], {LEARNING: 5}, True),
        ([(True, 6)], {LEARNING: 5}, False),
        ([], {"": 5}, True),  # stop to everything
        ([], {"other": 5}, False),
    ],
)
def test_who_objects(consents: list[tuple[bool, int]], opt_outs: dict[str, int], objects: bool) -> None:
    contact = Contact([ConsentEntry(LEARNING, granted, at_ms, "", "") for granted, at_ms in consents])
    record = Record(opt_outs={name_hash(name) if name else 0: at_ms for name, at_ms in opt_outs.items()})
    assert objects_to_learning(contact, record) is objects
    if not consents:
        assert objects_to_learning(None, record) is objects


def test_profiles_hold_it_and_rule_sets_do_not_declare_it(bundle: Bundle) -> None:
    made = profile_pb2.Profile(customer_id="c", contact={"consents": [{"purpose": LEARNING, "state": "WITHDRAWN"}]})
    change = decode_profile(made, bundle.ruleset)
    assert change.contact is not None
    assert change.contact.consents[0][:2] == (LEARNING, False)
    with pytest.raises(RulesInvalid) as refused:
        compile_bundle({"a.yaml": RULES.replace("ads:", "learning:").replace("purpose: ads", "purpose: p").encode()})
    assert {f.code for f in refused.value.findings} == {"reserved-name"}
