"""The engine, by the step in Python and by the lane, against a naive model: whatever happens, at whatever time."""

from __future__ import annotations

import asyncio
import itertools
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from engine.bundle import Bundle
from engine.replay.manual_store import ManualStore
from tests.cases.runner import Runner, bundle_of, ms, written
from tests.contact.naive import DAY_MS, Naive, Person, Sent

HOUR_MS = 3_600_000
POLICIES: list[dict[str, Any]] = [
    {
        "purposes": {
            "marketing": {"consent": "not_required", "quiet_hours": "night"},
            "news": {"consent": "not_required"},
            "service": {"consent": "not_required", "tier": 1},
        },
        "quiet_hours": {"night": {"from": "20:00", "to": "08:00", "zone": "customer", "then": "defer"}},
        "messages": {
            "offer": {"purpose": "marketing", "topic": "cards", "channels": ["push", "sms"]},
            "loan": {"purpose": "marketing", "topic": "loans"},
            "flash": {"purpose": "news", "channels": ["sms"]},
            "notice": {"purpose": "service"},
        },
        "caps": [
            {"name": "two a day", "at_most": 2, "per": ["customer"], "in": "24 hours"},
            {"name": "a topic", "at_most": 2, "per": ["customer", "topic"], "in": "3 days", "purposes": ["marketing"]},
            {"name": "all", "at_most": 6, "per": ["customer"], "in": "7 days", "purposes": ["marketing", "service"]},
        ],
        "gaps": [{"name": "breath", "at_least": "4 hours", "per": ["customer"], "purposes": ["marketing", "news"]}],
    },
    {
        "purposes": {
            "marketing": {"consent": "required", "quiet_hours": "night"},
            "news": {"consent": "required", "quiet_hours": "early"},
            "service": {"consent": "not_required", "tier": 1},
        },
        "quiet_hours": {
            "night": {"from": "22:00", "to": "02:30", "zone": "customer", "then": "drop"},
            "early": {"from": "02:30", "to": "09:15", "zone": "Europe/Madrid", "then": "defer"},
        },
        "messages": {
            "offer": {"purpose": "marketing", "topic": "cards"},
            "loan": {"purpose": "marketing", "topic": "loans", "channels": ["sms"]},
            "flash": {"purpose": "news"},
            "notice": {"purpose": "service"},
        },
        "caps": [
            {"name": "daily", "at_most": 1, "per": ["customer"], "in": "calendar day", "purposes": ["marketing"]},
            {"name": "weekly", "at_most": 4, "per": ["customer"], "in": "calendar week"},
            {"name": "once", "at_most": 3, "per": ["customer", "message"], "in": "calendar month"},
            {"name": "line", "at_most": 2, "per": ["customer", "channel"], "in": "36 hours"},
        ],
        "gaps": [{"name": "apart", "at_least": "90 minutes", "per": ["customer", "message"]}],
    },
]
MESSAGES = ("offer", "loan", "flash", "notice")
ZONES = ("Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Beirut")
# Days before clocks change in one of those zones, before a leap day and a new year, and any day.
STARTS = [
    "2026-03-07T12:00:00Z", "2026-03-27T20:00:00Z", "2026-04-03T20:00:00Z", "2026-10-23T20:00:00Z",
    "2028-02-27T20:00:00Z", "2026-12-30T20:00:00Z", "2026-06-01T00:00:00Z",
]  # fmt: skip
HOURS = (None, ("09:00", "21:30"), ("06:30", "02:00"), ("11:00", "14:00"))
JUMPS_MS = (
    1, 999, 59_000, 30 * 60_000, HOUR_MS, 90 * 60_000, 4 * HOUR_MS - 1, 4 * HOUR_MS, 7 * HOUR_MS, DAY_MS - 1, DAY_MS,
    36 * HOUR_MS, 3 * DAY_MS,
)  # fmt: skip
KINDS = ("DELIVERED", "DELIVERED", "NOT_DELIVERED", "NOT_DELIVERED", "NOT_DELIVERED", "OPENED", "OPTED_OUT")
SAID = ("stands", "now", "now", "now", "before", "withdrawn", "withdrawn before")
_numbers = itertools.count()


@cache
def compiled(policy: int) -> Bundle:
    return bundle_of(POLICIES[policy])


class Machine(RuleBasedStateMachine):
    """One customer's weeks. Every step is taken by both ways and by the model."""

    loop: asyncio.Runner
    url: str
    prefix: str

    @initialize(policy=st.integers(0, 1), start=st.sampled_from(STARTS), zone=st.sampled_from(ZONES))
    def begin(self, policy: int, start: str, zone: str) -> None:
        number = next(_numbers)
        self.now_ms = ms(start)
        self.model, self.person = Naive(POLICIES[policy]), Person(zone)
        self.answers: dict[str, tuple[str, int, dict[str, Any]]] = {}  # event: its type, when, what was found
        stores = [ManualStore(self.url, f"{self.prefix}{number}-{k}:", commit_budget_ms=60_000) for k in range(2)]
        self.ways = [Runner(store, compiled(policy), fast=k == 1) for k, store in enumerate(stores)]
        self.do({"profile": {"timezone": zone}})

    def teardown(self) -> None:
        for way in getattr(self, "ways", ()):
            self.loop.run(way.decider.drain())
            self.loop.run(way.store.close())

    def do(self, step: dict[str, Any]) -> dict[str, Any]:
        """One step by both ways, which must find the same."""
        found = []
        for way in self.ways:
            way.store.at_ms = self.now_ms
            act = next(act for kind, act in way._acts().items() if kind in step)
            found.append(self.loop.run(act(step)))
        assert found[0] == found[1]
        one: dict[str, Any] = found[0]
        return one

    @rule(jump_ms=st.sampled_from(JUMPS_MS))
    def wait(self, jump_ms: int) -> None:
        self.now_ms += jump_ms

    @rule(names=st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=4))
    def events(self, names: list[str]) -> None:
        for name in names:
            self.event(name)

    @rule(name=st.sampled_from(MESSAGES), jump_ms=st.sampled_from(JUMPS_MS))
    def later(self, name: str, jump_ms: int) -> None:
        self.now_ms += jump_ms
        self.event(name)

    def event(self, name: str) -> None:
        event = f"e{len(self.answers)}"
        found = self.do({"event": event, "type": name})
        self.answers[event] = name, self.now_ms, found
        wanted = self.model.decide(self.person, event, name, self.now_ms)
        if isinstance(wanted, Sent):
            assert found == {
                "same": True,
                "send": name,
                "sends": [name],
                "channel": wanted.channel,
                "at": written(wanted.at_ms),
                "until": written(wanted.until_ms),
                "confirm": wanted.at_ms > self.now_ms,
            }
        else:
            assert (found.get("silent"), found.get("cap") or found.get("gap")) == wanted

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        lives = [e for e, (_, at_ms, _) in self.answers.items() if at_ms > self.now_ms - DAY_MS]
        if lives:
            event = data.draw(st.sampled_from(lives))
            name, _, found = self.answers[event]
            assert self.do({"event": event, "type": name}) == found

    def some(self, data: st.DataObject) -> Sent | None:
        """A message that is still remembered."""
        here = [s for s in self.person.sent if s.at_ms > self.now_ms - 80 * DAY_MS]
        return data.draw(st.sampled_from(here[-6:])) if here else None

    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def outcome(self, data: st.DataObject, kind: str) -> None:
        if (sent := self.some(data)) is not None:
            repeated, cancelled, exceeded = self.model.outcome(self.person, sent, kind, self.now_ms)
            found = self.do({"outcome": kind, "of": sent.event})
            assert found == {"repeated": repeated, "cancelled": cancelled, "exceeded": exceeded}

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        if (sent := self.some(data)) is not None:
            reason = self.model.confirm(self.person, sent, self.now_ms)
            assert self.do({"confirm": sent.event}) == ({"silent": reason} if reason else {"send": True})

    @rule(
        consents=st.tuples(*[st.sampled_from(SAID)] * 2),
        topics=st.sampled_from(((), (), (), ("cards",), ("loans",))),
        channels=st.sampled_from(((), (), (), ("push",), ("sms",), ("push", "sms"))),
        hours=st.sampled_from(HOURS),
    )
    def contact(
        self, consents: tuple[str, ...], topics: tuple[str, ...], channels: tuple[str, ...], hours: Any
    ) -> None:
        p, before_ms = self.person, self.now_ms - HOUR_MS
        told = []
        for purpose, said in zip(("marketing", "news"), consents, strict=True):
            entry = {"purpose": purpose, "state": "WITHDRAWN" if "withdrawn" in said else "GRANTED"}
            if said != "stands":
                entry["changed_at"] = written(before_ms if "before" in said else self.now_ms)
            told.append(entry)
            at_ms = before_ms if "before" in said else self.now_ms
            if "withdrawn" in said:
                self.model.withdraw(p, purpose, at_ms)
            else:
                self.model.grant(p, purpose, None if said == "stands" else at_ms, self.now_ms)
        p.topics, p.channels, p.hours = list(topics), list(channels), hours
        profile: dict[str, Any] = {"consents": told, "blocked_topics": p.topics, "blocked_channels": p.channels}
        if hours is not None:
            profile["preferred_hours"] = {"from": hours[0], "to": hours[1]}
        assert self.do({"profile": profile}) == {}

    @rule(zone=st.sampled_from(ZONES))
    def move(self, zone: str) -> None:
        self.person.zone = zone
        self.do({"profile": {"timezone": zone}})


@pytest.fixture
def machine(store_url: str, key_prefix: str, runner: asyncio.Runner) -> type[Machine]:
    Machine.loop, Machine.url, Machine.prefix = runner, store_url, key_prefix
    return Machine


def test_the_engine_is_the_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
