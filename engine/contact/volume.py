"""Volumes: how many messages all customers together hear at most, in a calendar day, week or month.

A counter is shared by all workers, in the store (`state.volume`). A worker takes a few messages of it at a time, its
lease, and books from that; what is not on hand is asked for, and the step is taken again. So a volume is never
exceeded; up to what other workers still hold may be left unsaid (`state.volume.LEASE_MAX` each).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

from engine.compiler.model import Message, Position, Purpose, VolumeCap
from engine.contact.caps import calendar_span, counted
from engine.decision import Details, Reason
from engine.identity import name_hash
from engine.state.volume import Granted, LeaseAsk

_FULL_FOR_S = 1.0  # how long it is believed that nothing is left: others may give back


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A cap that holds a message. `parts` are what its counter is keyed by beside the channel and the period, first
    for the present names of message and topic and then for former ones."""

    cap: VolumeCap
    parts: tuple[str, ...]
    by_channel: bool


class Counter(NamedTuple):
    """A counter of one period, [start, end) in ms. `former` are those of the message's former names."""

    number: int
    former: tuple[int, ...]
    limit: int
    until_ms: int
    title: str
    position: Position


def volumes_of(message: Message, purposes: dict[str, Purpose], caps: Sequence[VolumeCap]) -> tuple[VolumePlan, ...]:
    """Those of the declared ones that hold `message`; one per topic does not hold a message without a topic."""
    own = name_hash(message.purpose)
    plans = []
    for cap in caps:
        if own not in counted(purposes, cap.purposes):
            continue
        known = {"topic": message.topic, "product": message.product, "stage": message.stage, "purpose": message.purpose}
        if any(known[key] is None for key in cap.per if key in known):
            continue
        names = (message.name, *message.was) if "message" in cap.per else ("",)
        topics = message.topics if "topic" in cap.per else ("",)
        held = ",".join(sorted(cap.purposes)) if cap.purposes is not None else "*"
        apart = "|".join(f"{key}={known[key]}" for key in sorted(cap.per) if key in known and key != "topic")
        head = f"{cap.calendar}|{cap.zone}|{held}|{'+'.join(sorted(cap.per))}|{apart}"
        parts = tuple(f"{head}|{topic}|{name}" for topic in topics for name in names)
        plans.append(VolumePlan(cap, parts, "channel" in cap.per))
    return tuple(plans)


@lru_cache(maxsize=4096)
def _counter(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"tact-volume").digest(), "little")


@lru_cache(maxsize=1024)
def _period(unit: str, quarter: int, zone: str) -> tuple[int, int]:
    return calendar_span(unit, quarter * 900_000, zone)  # clocks change at whole quarters of an hour


def counters(plans: Sequence[VolumePlan], channel: str, at_ms: int) -> tuple[Counter, ...]:
    """The counters that a message on this channel, sent at this moment, is counted by."""
    found = []
    for plan in plans:
        start_ms, end_ms = _period(plan.cap.calendar, at_ms // 900_000, plan.cap.zone)
        tail = f"|{channel if plan.by_channel else ''}|{start_ms}"
        number, *former = (_counter(part + tail) for part in plan.parts)
        found.append(Counter(number, tuple(former), plan.cap.at_most, end_ms, plan.cap.title, plan.cap.position))
    return tuple(found)


class Left(Enum):
    """Whether a counter has something left."""

    SOME = auto()
    NONE = auto()
    UNKNOWN = auto()  # to be asked for


class Volumes:
    """What this worker has leased and not used. Belongs to one event loop."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[int, Counter]] = {}
        self._full: dict[int, tuple[int, float]] = {}  # counter -> (how many were said, when that was heard)

    def left(self, counter: Counter) -> Left:
        """Whether one more may be booked from what is held."""
        if self._held.get(counter.number, (0,))[0] > 0:
            return Left.SOME
        found = self._full.get(counter.number)
        return Left.NONE if found is not None and found[0] >= counter.limit else Left.UNKNOWN

    def reached(self, counter: Counter) -> tuple[Reason, Details, Position]:
        """What is said where nothing is left."""
        count = self._full.get(counter.number, (counter.limit,))[0]
        details = Details(cap=counter.title, count=count, limit=counter.limit, frees_at_ms=counter.until_ms)
        return Reason.VOLUME_REACHED, details, counter.position

    def take(self, counters: Iterable[Counter]) -> None:
        """Books one message. May go below nothing for a step that is taken again, see `give_back`."""
        for c in counters:
            held = self._held.get(c.number, (0, c))[0]
            self._held[c.number] = held - 1, c

    def give_back(self, counters: Iterable[Counter]) -> None:
        """What was booked was not committed."""
        for c in counters:
            held = self._held.get(c.number, (0, c))[0]
            self._held[c.number] = held + 1, c

    def asks(self, wanted: Iterable[Counter]) -> list[tuple[Counter, LeaseAsk]]:
        """What to lease: of each counter as much as is wanted beyond what is held."""
        many: dict[int, tuple[Counter, int]] = {}
        for c in wanted:
            many[c.number] = c, many.get(c.number, (c, 0))[1] + 1
        return [
            (c, LeaseAsk(c.number, c.former, c.limit, count, c.until_ms))
            for c, count in many.values()
            if self._held.get(c.number, (0,))[0] < count
        ]

    def granted(self, counter: Counter, grant: Granted, now_s: float) -> None:
        """Takes what came of a lease; seconds are of the loop's clock."""
        self.give_back([counter] * grant.more)
        if grant.used >= counter.limit or not grant.more:  # once what was granted is booked, nobody need ask again
            self._full[counter.number] = grant.used, now_s
        else:
            self._full.pop(counter.number, None)

    def doubt(self, now_s: float) -> None:
        """Believes no longer what was heard a while ago. To be called before steps, not between their turns."""
        for number in [n for n, (_, heard_s) in self._full.items() if now_s - heard_s > _FULL_FOR_S]:
            del self._full[number]

    def forget(self, now_ms: int) -> None:
        """Drops what is of past periods, by the store's clock."""
        for number in [n for n, (_, c) in self._held.items() if c.until_ms <= now_ms]:
            del self._held[number]

    def unused(self) -> list[tuple[int, int]]:
        """(counter, how many) of what is held, which is then held no more."""
        found = [(number, held) for number, (held, _) in self._held.items() if held > 0]
        self._held.clear()
        return found
