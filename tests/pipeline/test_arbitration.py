"""Between messages, through the whole pipeline on a real store."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import Decider, create_decider
from engine.decision import SHARE_UNIT, DecideRequest, Decision, Event, OutcomeKind, Outcomes, Reason
from engine.learning.learner import Learner, refresh
from engine.learning.shares import MESSAGE_STAGE, drawn, uniform
from engine.learning.snapshot import Learnt
from engine.state.log import DecisionEntry, decode
from engine.state.redis import RedisStore
from engine.step.operations import ProfileChange

RULES = """
events: {ask: {}, big: {amount: number}}
features:
  timezone: text
  worth: {type: number}
purposes:
  talk: {consent: not_required, tier: 2, holdout: true}
  late: {consent: not_required, tier: 2, quiet_hours: never}
  last: {consent: not_required, tier: 3}
quiet_hours: {never: {from: "00:00", to: "23:59", zone: Etc/UTC, then: defer}}
HOW
policies:
  words: {kind: thompson, reward: {replied: 1}, attribution: 1 hour, prior: {rate: 20%, weight: 5}}
messages:
  first: {purpose: talk, on: [ask], channels: [sms], policy: words, rank: learned, value: 2, variants: {a: {en: "1"}}}
  second: {like: first, variants: {a: {en: "2"}, b: {en: "3"}}}
  plain: {purpose: talk, on: [ask], channels: [sms], value: 0.3, variants: {a: {en: "4"}}}
  weak: {like: plain, value: 0.2}
  later: {purpose: late, on: [ask], channels: [sms], value: 9, variants: {a: {en: "5"}}}
  least: {purpose: last, on: [ask], channels: [sms], policy: words, value: 9, variants: {a: {en: "6"}}}
  sure: {purpose: talk, on: [big], channels: [sms], value: event.amount, reserve: 10, variants: {a: {en: "7"}}}
"""
HOUR_MS = 3_600_000


def bundle_of(how: str = "", **changes: str) -> Bundle:
    text = RULES.replace("HOW", f"arbitration: {{{how}}}" if how else "")
    for old, new in changes.items():
        text = text.replace(old, new)
    return compile_bundle({"a.yaml": text.encode()})


def one(customer: str, type_: str = "ask", messages: int = 1, **attributes: object) -> DecideRequest:
    return DecideRequest(Event("e", customer, type_, None, dict(attributes)), messages)


async def entries(store: RedisStore) -> list[DecisionEntry]:
    keys = [key async for key in store.admin.scan_iter(match=f"{store.prefix}*log")]
    rows = [row for key in keys for _, row in await store.admin.xrange(key)]
    return [e for e in (decode(row[b"d"]) for row in rows) if isinstance(e, DecisionEntry)]


async def decided(decider: Decider, requests: list[DecideRequest]) -> list[list[Decision]]:
    results = await decider.decide(requests)
    assert all(isinstance(r, list) for r in results), results
    return results  # type: ignore[return-value]


def test_thompson_draws_between_messages_as_it_says(store: RedisStore, runner: asyncio.Runner) -> None:
    """Shares are logged, drawn from, and come as often as they say; none of a later tier or moment takes part."""

    async def scenario() -> None:
        decider = create_decider(Active(bundle_of("kind: thompson, floor: 10%")), store)
        results = await decided(decider, [one(f"c{k}") for k in range(800)])
        said = Counter(d.message for [d] in results)
        found = await entries(store)
        assert len(found) == 800
        for e in found:
            fits = {c.message: c.share for c in e.candidates if c.stopped_by == 0}
            assert sum(fits.values()) == SHARE_UNIT
            assert set(fits) == {"first", "second", "plain", "weak"}
            assert fits["weak"] == 0  # `plain` is known to be worth more
            assert {c.message: c.rank for c in e.candidates if c.stopped_by == 44} == {"later": 9.0, "least": 9.0}
            assert e.arbitration == "thompson floor=0.1"
            assert e.message == list(fits)[drawn(list(fits.values()), e.u_message)]
            assert [(r.candidate, r.value, round(r.rate, 9), r.version) for r in e.ranks] == [
                (0, 2.0, 0.2, 0),
                (1, 2.0, 0.2, 0),
            ]
            assert e.ranks[1].variants == "a,b"
            assert e.ranks[1].deviation < e.ranks[0].deviation  # a mean of two
        shares = {c.message: c.share / SHARE_UNIT for c in found[0].candidates}
        assert all(abs(said[m] - 800 * shares[m]) < 4 * (800 * shares[m]) ** 0.5 for m in ("first", "second", "plain"))
        [d] = results[0]
        assert d.propensity == d.message_share / SHARE_UNIT * d.variant_share / SHARE_UNIT
        again = await decided(decider, [one(f"c{k}") for k in range(20)])  # the answers that were given
        assert [d.message for [d] in again] == [d.message for [d] in results[:20]]

    runner.run(scenario())


def test_what_was_learnt_ranks_messages(store: RedisStore, runner: asyncio.Runner) -> None:
    """`first` earns nothing, `second` half of the time: the best takes `second`, before and above the constants."""

    async def scenario() -> None:
        active, learnt = Active(bundle_of(plain="plain_one")), Learnt()
        decider = create_decider(active, store, learnt=learnt)
        before = await decided(decider, [one(f"c{k}") for k in range(60)])
        assert {d.message for [d] in before} == {"first", "second"}  # 2 x 20 %: a tie above 0.3
        reports = [
            Outcomes(d.decision_id, OutcomeKind.REPLIED if good else OutcomeKind.DELIVERED, None, 0.0, "", "")
            for k, [d] in enumerate(before)
            for good in [d.message == "second" and k % 2 == 0]
        ]
        assert not any(isinstance(r, Exception) for r in await decider.record_outcomes(reports))
        learner = Learner(store, active)
        now_ms = (await store.read([])).now_ms
        assert await learner.run_once(now_ms + 2 * HOUR_MS) == 60
        await refresh(store, learnt)
        await learner.close()
        after = await decided(decider, [one(f"d{k}") for k in range(60)])
        assert {d.message for [d] in after} == {"second"}
        [[d]] = after[:1]
        assert 0.6 < d.score < 1.2
        assert d.message_share == SHARE_UNIT
        last = next(e for e in await entries(store) if e.ranks[0].version == 1)
        ranks = {c.message: c for c in last.candidates}
        assert ranks["first"].stopped_by == 0
        assert ranks["first"].rank < 0.1
        assert ranks["first"].share == 0
        assert ranks["plain_one"].stopped_by == 44  # it could not win, so nobody asked it
        assert last.arbitration == ""

    runner.run(scenario())


@pytest.mark.parametrize("how", ["", "kind: softmax, temperature: 5"])
def test_below_its_reserve_nothing_is_said(how: str, store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle_of(how)), store)
        [[no], [yes]] = await decided(decider, [one("a", type_="big", amount=9.5), one("b", type_="big", amount=10.0)])
        assert (no.reason, yes.message) == (Reason.BELOW_RESERVE, "sure")
        assert no.details.cause == "its rank is 9.5, its reserve 10"
        assert no.reason_text == "'sure' is not worth saying: its rank is 9.5, its reserve 10"
        [e] = [e for e in await entries(store) if e.reason == Reason.BELOW_RESERVE]
        assert [(c.message, c.stopped_by, c.rank) for c in e.candidates] == [("sure", 43, 9.5)]

    runner.run(scenario())


def test_a_learned_rank_may_be_below_its_reserve(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rules = {'variants: {a: {en: "1"}}': 'reserve: 0.5, variants: {a: {en: "1"}}'}
        decider = create_decider(Active(bundle_of("kind: thompson", **rules)), store)
        await decided(decider, [one("a")])
        [e] = await entries(store)
        [first] = [c for c in e.candidates if c.message == "first"]
        assert (first.stopped_by, round(first.rank, 9)) == (int(Reason.BELOW_RESERVE), 0.4)
        assert {e.candidates[r.candidate].message for r in e.ranks} == {"first", "second"}
        assert e.message == "plain"

    runner.run(scenario())


def test_slates_draw_each_slot_anew(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(bundle_of("kind: softmax, temperature: 0.2, floor: 5%")), store)
        results = await decided(decider, [one(f"c{k}", messages=3) for k in range(80)])
        assert all(len({d.message for d in slate}) == 3 for slate in results)
        assert len({tuple(d.message for d in slate) for slate in results}) > 10
        for e in await entries(store):
            fits = [c for c in e.candidates if c.stopped_by == 0]
            assert len(fits) == 4 - e.slot
            assert sum(c.share for c in fits) == SHARE_UNIT
            assert min(c.share for c in fits) >= SHARE_UNIT // 20 - 1
            u = uniform(decider.settings.salt, _key(e), e.event, e.slot, MESSAGE_STAGE)
            assert e.u_message == u

    runner.run(scenario())


def _key(entry: DecisionEntry) -> object:
    class _Key:
        digest = entry.customer

    return _Key()


def test_who_is_held_out_gets_no_runner_up(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rules = {"policies:": "holdout: {share: 50%, salt: s}\npolicies:"}
        decider = create_decider(Active(bundle_of("kind: softmax, temperature: 0.2", **rules)), store)
        results = await decided(decider, [one(f"c{k}") for k in range(60)])
        reasons = Counter(d.reason for [d] in results)
        assert reasons[Reason.HOLDOUT] > 15
        assert reasons[Reason.SELECTED] > 15
        held = [e for e in await entries(store) if e.withheld]
        assert len(held) == reasons[Reason.HOLDOUT]
        assert len({e.message for e in held}) > 2  # drawn, then withheld

    runner.run(scenario())


def test_explain_shows_ranks_and_shares(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        bundle = bundle_of("kind: thompson")
        decider = create_decider(Active(bundle), store)
        explanation = await decider.explain(one("a"), bundle, "en")
        views = {v.message: v for v in explanation.candidates}
        assert {m for m, v in views.items() if v.message_share} == {"first", "second", "plain"}
        assert sum(v.message_share for v in views.values()) == SHARE_UNIT
        assert round(views["first"].rank, 9) == 0.4
        passed = [v for v in views.values() if v.stopped_by is Reason.OUTRANKED]
        told = {v.message: v.reason_text for v in passed}
        assert told["weak"] == "another message ranks higher"
        assert set(told.values()) == {"another message ranks higher", "another message was drawn"}

    runner.run(scenario())


def test_a_value_that_is_missing_takes_no_part(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rules = {"rank: learned, value: 2": "rank: learned, value: features.worth"}
        decider = create_decider(Active(bundle_of("kind: thompson", **rules)), store)
        await decider.put_profiles([ProfileChange("rich", {"worth": 1000.0}, [], None)])
        [[poor], [rich]] = await decided(decider, [one("poor"), one("rich")])
        assert poor.message == "plain"
        assert rich.message in ("first", "second")
        stops = {c.message: c.stopped_by for e in await entries(store) for c in e.candidates if e.message == "plain"}
        assert stops["first"] == stops["second"] == Reason.DATA_MISSING

    runner.run(scenario())
