"""Windows, hours, caps, shares, learning: what the design promises at the edges."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from engine.bundle import Active, compile_bundle
from engine.compiler.model import QuietHours
from engine.contact.hours import closes, send_time
from engine.decider import create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, OutcomeKind, Reason
from engine.errors import TactError
from engine.learning.best import best_of_betas
from engine.learning.fold import BucketFold, Increments, part_of
from engine.state.log import DecisionEntry, OutcomeEntry
from engine.state.model import Contact
from engine.state.redis import RedisStore
from engine.step.operations import ProfileChange

RULES = b"""
events:
  pay: {cents: integer}
  ask: {}
  ping: {}
features:
  timezone: text
  balance: {type: number, unit: EUR}
  due: time
windows:
  cents: {sum: pay.cents, over: 30 days, since_start: zero}
purposes:
  service: {consent: not_required}
policies:
  trial: {kind: fixed, sticky: customer}
messages:
  paid:
    purpose: service
    on: [pay]
    when: windows.cents > 0
    channels: [push]
    variants: {plain: {en: "Paid."}}
  hello:
    purpose: service
    on: [ping]
    channels: [push]
    policy: trial
    variants: {a: {en: "A."}, b: {en: "B."}, c: {en: "C."}, d: {en: "D."}}
  due_soon:
    purpose: service
    on: [ask]
    channels: [push]
    slots: {due: {is: features.due, as: date}}
    variants: {plain: {en: "Due on {due}."}}
"""


def request(event_id: str, type_: str, customer: str = "ana", **attributes: object) -> DecideRequest:
    return DecideRequest(Event(event_id, customer, type_, None, dict(attributes)))


def only(result: list[Decision] | TactError) -> Decision:
    assert isinstance(result, list), result
    [decision] = result
    return decision


def test_a_sum_beyond_64_bits_does_not_make_the_customer_unanswerable(
    store: RedisStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle({"r.yaml": RULES})), store)
        for i in range(4):
            only((await decider.decide([request(f"e{i}", "pay", cents=2**62)]))[0])
        only((await decider.decide([request("p", "ping")]))[0])

    runner.run(scenario())


@pytest.mark.parametrize("zone", ["Mars/Base", "America", "../etc/passwd", "\x00", "é" * 300])
def test_an_unknown_zone_is_answered(zone: str, store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle({"r.yaml": RULES})), store)
        await decider.put_profiles([ProfileChange("ana", {"timezone": zone}, [], None)])
        assert only((await decider.decide([request("e", "pay", cents=1)]))[0]).outcome is Outcome.SEND

    runner.run(scenario())


def test_a_date_out_of_range_is_answered(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle({"r.yaml": RULES})), store)
        await decider.put_profiles([ProfileChange("ana", {"due": 2**63 - 1, "timezone": "Asia/Tokyo"}, [], None)])
        only((await decider.decide([request("e", "ask")]))[0])

    runner.run(scenario())


def test_a_sticky_assignment_survives_a_rename(store: RedisStore, runner: asyncio.Runner) -> None:
    renamed = RULES.replace(b"  hello:\n", b"  hello_again:\n    was: [hello]\n")

    async def scenario() -> None:
        before = create_decider(Active(compile_bundle({"r.yaml": RULES})), store)
        after = create_decider(Active(compile_bundle({"r.yaml": renamed})), store)
        names = [f"c{i}" for i in range(12)]
        first = [only(r).variant for r in await before.decide([request("e1", "ping", c) for c in names])]
        same = [only(r).variant for r in await before.decide([request("e2", "ping", c) for c in names])]
        again = [only(r).variant for r in await after.decide([request("e3", "ping", c) for c in names])]
        assert first == same == again

    runner.run(scenario())


def _ms(zone: str, *when: int, fold: int = 0) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1000  # type: ignore[arg-type]


def _quiet(start: int, end: int) -> QuietHours:
    return QuietHours("q", start, end, "customer", "defer", None)  # type: ignore[arg-type]


def test_send_before_ends_where_quiet_hours_begin_in_a_jump_of_the_clock() -> None:
    zone, quiet = "Europe/Berlin", _quiet(2 * 60 + 30, 6 * 60)
    at_ms = _ms(zone, 2026, 3, 29, 0, 30)
    begins_ms = next(
        t for t in range(at_ms, at_ms + 6 * 3_600_000, 60_000) if send_time(t, quiet, None, zone) != t
    )  # by looking at every minute
    assert closes(at_ms, quiet, None, zone) == begins_ms


def test_quiet_hours_end_in_the_second_of_two_equal_hours() -> None:
    zone, quiet = "Europe/Berlin", _quiet(22 * 60, 2 * 60 + 30)
    now_ms = _ms(zone, 2026, 10, 25, 2, 10, fold=1)
    ends_ms = next(t for t in range(now_ms, now_ms + 86_400_000, 60_000) if send_time(t, quiet, None, zone) == t)
    assert send_time(now_ms, quiet, None, zone) == ends_ms


def test_a_send_may_not_be_sent_outside_the_customers_own_hours(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle({"r.yaml": RULES})), store)
        now_ms = (await store.read([])).now_ms
        minute = now_ms // 60_000 % 1440
        hours = Contact([], [], [], (minute - 60) % 1440, (minute + 120) % 1440)
        await decider.put_profiles([ProfileChange("ana", {"timezone": "Etc/UTC"}, [], hours)])
        d = only((await decider.decide([request("e", "pay", cents=1)]))[0])
        assert d.send_before_ms <= now_ms + 121 * 60_000

    runner.run(scenario())


def test_a_cap_of_none_per_topic_holds_no_message_without_topic(store: RedisStore, runner: asyncio.Runner) -> None:
    rules = RULES + b"caps: [{at_most: 0, per: [customer, topic], in: 7 days}]\n"

    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle({"r.yaml": rules})), store)
        assert only((await decider.decide([request("e", "pay", cents=1)]))[0]).reason is Reason.SELECTED

    runner.run(scenario())


def test_learning_is_the_same_whenever_the_log_is_folded() -> None:
    bandit = b"policies: {bandit: {kind: thompson, reward: {replied: 1.0}, attribution: 24 hours}}"
    policy = compile_bundle({"r.yaml": RULES, "p.yaml": bandit}).ruleset.policies["bandit"]
    hour = 3_600_000
    trial = DecisionEntry(
        0, b"c" * 16, 1, 1, b"", b"", "ping", "r", int(Outcome.SEND), 1, message="hello", variant="a", policy="bandit",
        attribution_s=86_400,
    )  # fmt: skip

    def outcome(at_ms: int, occurred_ms: int, kind: OutcomeKind) -> OutcomeEntry:
        return OutcomeEntry(at_ms, occurred_ms, b"c" * 16, 1, 0, 0.0, int(kind))

    log = [
        ("1-0", trial),
        ("2-0", outcome(hour, hour, OutcomeKind.DELIVERED)),
        ("3-0", outcome(30 * hour, 2 * hour, OutcomeKind.REPLIED)),  # told six hours after the trial closed
    ]

    def folded(turns: list[int]) -> dict[object, list[int]]:
        fold, sums, given = BucketFold(), Increments(), 0
        for now_ms in turns:
            new = [(i, e) for i, e in log[given:] if e.at_ms <= now_ms]
            given += len(new)
            fold.extend((log_id, part_of(entry)) for log_id, entry in new)
            if upto := fold.settle(now_ms, {"bandit": policy}, sums):
                fold.settled(upto)
        return dict(sums.arms)

    assert folded([25 * hour, 40 * hour]) == folded([40 * hour])


@pytest.mark.parametrize("extra", [[], [(1.0, 1.0)]])
def test_the_probability_to_be_best_is_right_beside_an_arm_that_is_new(extra: list[tuple[float, float]]) -> None:
    arms = [(600_000.0, 9_400_000.0), (603_000.0, 9_397_000.0), *extra]
    found = best_of_betas(tuple(a for a, _ in arms), tuple(b for _, b in arms))
    draws = np.random.default_rng(7).beta([a for a, _ in arms], [b for _, b in arms], (200_000, len(arms)))
    exact = np.bincount(draws.argmax(axis=1), minlength=len(arms)) / len(draws)
    assert all(math.isclose(f, e, abs_tol=0.01) for f, e in zip(found, exact, strict=True)), (found, exact)
