"""Frequency caps and gaps: how many touches a customer bears, and how far apart.

Everything is computed at the time the new touch would be sent, over every touch that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import numpy as np

from engine.compiler.model import Cap, Gap, Message, Period, Position, Purpose
from engine.decision import Details, Reason
from engine.identity import name_hash
from engine.kernels.contact import rolling_load
from engine.state.model import Touch
from engine.zones import zone as find_zone

MAX_TOUCHES = 512  # a full touch log is a cap reached, never an eviction
KEPT_MS_MIN = 90 * 86_400_000
HISTORY_SHORT = "messages were not remembered for as long as this looks back"
_ZONE_SPREAD_MS = 26 * 3_600_000  # UTC-12 to UTC+14


class Proposal(NamedTuple):
    """The touch that a message would book, as hashes; `messages` are its present and former names.

    `former_topics` are what its topic was called before.
    """

    at_ms: int
    messages: frozenset[int]
    purpose: int
    topic: int
    channel: int
    product: int
    stage: int
    about: int
    former_topics: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps and gaps that hold one message, and which purposes each of them counts."""

    caps: tuple[tuple[Cap, frozenset[int]], ...]
    gaps: tuple[tuple[Gap, frozenset[int]], ...]

    @property
    def about(self) -> bool:
        """Whether any of them asks what a message is about."""
        return any("about" in cap.per for cap, _ in self.caps) or any("about" in gap.per for gap, _ in self.gaps)


def limits_of(message: Message, purposes: dict[str, Purpose], caps: tuple[Cap, ...], gaps: tuple[Gap, ...]) -> Limits:
    """Those of the declared caps and gaps that hold `message`: absent purposes mean all but tier 1."""
    own = name_hash(message.purpose)
    return Limits(
        tuple((cap, c) for cap in caps if own in (c := counted(purposes, cap.purposes))),
        tuple((gap, c) for gap in gaps if own in (c := counted(purposes, gap.purposes))),
    )


def counted(purposes: dict[str, Purpose], declared: tuple[str, ...] | None) -> frozenset[int]:
    """Hashes of the purposes that a rule counts and holds: all but tier 1 where it declares none."""
    ordinary = (name for name, p in purposes.items() if p.tier != 1)
    return frozenset(name_hash(name) for name in (ordinary if declared is None else declared))


def same(per: tuple[str, ...], touch: Touch, new: Proposal) -> bool:
    """Whether a touch is of the same kind as the new one, by what is counted apart."""
    for key in per:
        if key == "customer":
            continue
        if key == "message":
            if touch.message not in new.messages:
                return False
        elif key == "topic" and touch.topic in new.former_topics:
            continue
        elif getattr(touch, key) != getattr(new, key):
            return False
    return True


def applies(per: tuple[str, ...], new: Proposal) -> bool:
    """A cap per topic does not hold a message without a topic, and so on."""
    return all(key in ("customer", "message") or getattr(new, key) for key in per)


def calendar_span(unit: str, at_ms: int, zone: str | None) -> tuple[int, int]:
    """[start, end) in ms of the customer's calendar day, week (from Monday) or month around a moment.

    Unknown zone: the span that covers it wherever the customer may be.
    """
    tz = find_zone(zone) if zone else None
    known = tz is not None
    local = datetime.fromtimestamp(at_ms // 1000, timezone.utc).astimezone(tz or timezone.utc)  # noqa: UP017
    day = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo)
    if unit == "day":
        start, end = day, day + timedelta(days=1)
    elif unit == "week":
        start = day - timedelta(days=day.weekday())
        end = start + timedelta(days=7)
    else:
        start = day.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    margin_ms = 0 if known else _ZONE_SPREAD_MS
    return int(start.timestamp()) * 1000 - margin_ms, int(end.timestamp()) * 1000 + margin_ms


def stopped_by_limits(
    limits: Limits, live: list[Touch], remembered: int, new: Proposal, zone: str | None, unknown_before_ms: int = 0
) -> tuple[Reason, Details, Position | None] | None:
    """Why caps or gaps forbid the new touch and where that is written, or None.

    Caps first, in the order they were written.

    `live` are the touches that count (`Touch.counts`), `remembered` how many there are in all. What was sent before
    `unknown_before_ms` may be forgotten: a cap or gap that looks further back counts as reached.
    """
    if remembered >= MAX_TOUCHES:
        return Reason.CAP_REACHED, Details(cause="the touch log is full", count=remembered, limit=MAX_TOUCHES), None
    for cap, counted in limits.caps:
        if cap.over is not None and _forgotten(cap.over, new, unknown_before_ms) and applies(cap.per, new):
            frees_ms = unknown_before_ms + cap.over.span_s * 1000
            details = Details(
                cap=cap.title, count=cap.at_most, limit=cap.at_most, frees_at_ms=frees_ms, cause=HISTORY_SHORT
            )
            return Reason.CAP_REACHED, details, cap.position
        if len(live) < cap.at_most or not applies(cap.per, new):  # most customers bear less than any cap
            continue
        times = sorted(t.at_ms for t in live if t.purpose in counted and same(cap.per, t, new))
        if len(times) < cap.at_most:
            continue
        if cap.over is not None:
            span_ms = cap.over.span_s * 1000
            load = rolling_load(np.array(times, np.int64), new.at_ms, span_ms)
            if load >= cap.at_most:
                return _reached(cap, load, _frees_at(times, new.at_ms, span_ms, cap.at_most))
        else:
            start_ms, end_ms = calendar_span(cap.calendar or "day", new.at_ms, zone)
            load = sum(start_ms <= t < end_ms for t in times)
            if load >= cap.at_most:
                return _reached(cap, load, end_ms)
    for gap, counted in limits.gaps:
        if not applies(gap.per, new):
            continue
        apart_ms = gap.apart.span_s * 1000
        if _forgotten(gap.apart, new, unknown_before_ms):
            details = Details(
                gap=gap.title, count=1, limit=1, frees_at_ms=unknown_before_ms + apart_ms, cause=HISTORY_SHORT
            )
            return Reason.GAP_NOT_ELAPSED, details, gap.position
        near = [
            t.at_ms
            for t in live
            if t.purpose in counted and abs(t.at_ms - new.at_ms) < apart_ms and same(gap.per, t, new)
        ]
        if near:
            frees_at_ms = max(near) + apart_ms
            details = Details(
                gap=gap.title, count=1, limit=1, frees_at_ms=frees_at_ms, cause=f"less than {gap.apart} apart"
            )
            return Reason.GAP_NOT_ELAPSED, details, gap.position
    return None


def _forgotten(span: Period, new: Proposal, unknown_before_ms: int) -> bool:
    """Whether a span before the new touch reaches back to what may be forgotten."""
    return 0 < unknown_before_ms > new.at_ms - span.span_s * 1000


def _reached(cap: Cap, load: int, frees_at_ms: int) -> tuple[Reason, Details, Position]:
    details = Details(cap=cap.title, count=load, limit=cap.at_most, frees_at_ms=frees_at_ms)
    return Reason.CAP_REACHED, details, cap.position


def _frees_at(times: list[int], at_ms: int, span_ms: int, at_most: int) -> int:
    """The first moment at which the cap would let one more through, 0 for never."""
    if at_most == 0:
        return 0
    for candidate in sorted({t + span_ms for t in times if t + span_ms > at_ms}):
        if rolling_load(np.array(times, np.int64), candidate, span_ms) < at_most:
            return candidate
    return 0
