"""Contact policy the slow way, from its rules alone: every window is counted, every minute is looked at.

Knows policies as `tests/cases/contact` writes them. Times are milliseconds since 1970; zones must be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

MINUTE_MS, DAY_MS = 60_000, 86_400_000
_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
Json = Mapping[str, Any]


def span_ms(text: str) -> int:
    """Of "7 days" or "1 hour"."""
    amount, unit = text.split()
    return int(amount) * _UNITS_S[unit.removesuffix("s")] * 1000


def local(at_ms: int, zone: str) -> datetime:
    """What a clock in the zone shows."""
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))


def within(at_ms: int, zone: str, start: str, end: str) -> bool:
    """Whether a clock there shows a time in [start, end), which may span midnight."""
    now = local(at_ms, zone)
    shown = f"{now.hour:02}:{now.minute:02}"
    return start <= shown < end if start <= end else shown >= start or shown < end


def period(at_ms: int, zone: str, unit: str) -> tuple[int, ...]:
    """Which calendar day, week or month a moment lies in."""
    day = local(at_ms, zone).date()
    return {"day": (day.year, day.month, day.day), "week": day.isocalendar()[:2], "month": (day.year, day.month)}[unit]


def minutes_from(at_ms: int) -> Iterator[int]:
    """The whole minutes after a moment, for ten days."""
    first = at_ms - at_ms % MINUTE_MS + MINUTE_MS
    return iter(range(first, first + 10 * DAY_MS, MINUTE_MS))


@dataclass
class Sent:
    """One message booked."""

    event: str
    message: str
    channel: str
    at_ms: int
    until_ms: int
    about: str = ""
    outcomes: set[str] = field(default_factory=set)
    released: bool = False
    cancelled: bool = False
    confirmed: bool = False


@dataclass
class Person:
    """What is known of one customer. A consent is (granted, when)."""

    zone: str
    consents: dict[str, tuple[bool, int]] = field(default_factory=dict)
    stops: dict[str, int] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    hours: tuple[str, str] | None = None
    sent: list[Sent] = field(default_factory=list)


@dataclass
class Naive:
    """The model. `policy` as in the cases; each type of event asks for the message of its name."""

    policy: Json

    def message(self, name: str) -> Json:
        """What is declared of it."""
        found: Json = self.policy["messages"][name]
        return found

    def purpose(self, name: str) -> Json:
        """The purpose of a message."""
        found: Json = self.policy["purposes"][self.message(name)["purpose"]]
        return found

    # ---- what the customer permits ----------------------------------------------------------------

    def consent(self, p: Person, name: str) -> str:
        """The reason why consent or topics forbid a message, or ""."""
        purpose = self.message(name)["purpose"]
        granted, at_ms = p.consents.get(purpose, (None, 0))
        stop_ms = p.stops.get(purpose)
        if stop_ms is not None and not (granted and at_ms > stop_ms):
            return "OPTED_OUT"
        if granted is False:
            return "OPTED_OUT"
        if self.purpose(name)["consent"] == "required" and not granted:
            return "NO_CONSENT"
        return "TOPIC_BLOCKED" if self.message(name).get("topic") in p.topics else ""

    def grant(self, p: Person, purpose: str, at_ms: int | None, now_ms: int) -> None:
        """The bank says that consent stands (no time), or that it was given at a time."""
        old = p.consents.get(purpose)
        if at_ms is None:
            p.consents.setdefault(purpose, (True, min(now_ms, p.stops.get(purpose, now_ms))))
        elif old is None or old[0] or at_ms > old[1]:
            p.consents[purpose] = (True, at_ms)

    def withdraw(self, p: Person, purpose: str, at_ms: int) -> None:
        """The bank says that consent was withdrawn."""
        old = p.consents.get(purpose)
        p.consents[purpose] = (False, max(at_ms, old[1]) if old is not None and not old[0] else at_ms)

    # ---- hours --------------------------------------------------------------------------------------

    def quiet(self, p: Person, name: str, at_ms: int) -> bool:
        """Whether quiet hours hold."""
        rule = self.policy.get("quiet_hours", {}).get(self.purpose(name).get("quiet_hours"))
        if rule is None:
            return False
        zone = p.zone if rule["zone"] == "customer" else rule["zone"]
        return within(at_ms, zone, rule["from"], rule["to"])

    def outside(self, p: Person, name: str, at_ms: int) -> bool:
        """Whether it is outside the hours that the customer chose, where those count."""
        if p.hours is None or self.purpose(name).get("tier") == 1:
            return False
        return not within(at_ms, p.zone, *p.hours)

    def send_time(self, p: Person, name: str, now_ms: int) -> int | str:
        """When it may be sent, or the reason why it is not sent: also where both kinds of hours leave none."""
        rule = self.policy.get("quiet_hours", {}).get(self.purpose(name).get("quiet_hours"))
        defers = rule is not None and rule["then"] == "defer"
        if not defers and self.quiet(p, name, now_ms):
            return "QUIET_HOURS"
        if not defers and self.outside(p, name, now_ms):
            return "OUTSIDE_PREFERRED_HOURS"

        def open_at(at_ms: int) -> bool:
            return not self.quiet(p, name, at_ms) and not self.outside(p, name, at_ms)

        if open_at(now_ms):
            return now_ms
        return next((t for t in minutes_from(now_ms) if open_at(t)), "QUIET_HOURS")

    def until(self, p: Person, name: str, at_ms: int) -> int:
        """Until when it may be sent."""
        ends = (t for t in minutes_from(at_ms) if self.quiet(p, name, t) or self.outside(p, name, t))
        return min(at_ms + DAY_MS, next((t for t in ends), at_ms + DAY_MS))

    # ---- caps and gaps ------------------------------------------------------------------------------

    def limit(self, p: Person, new: Sent, others: list[Sent]) -> tuple[str, str]:
        """The reason and the name of the first cap or gap that a message breaks among others, or ("", "")."""
        for cap in self.policy.get("caps", ()):
            if not self.holds(cap, new):
                continue
            times = [s.at_ms for s in others if self.counts(cap, s, new)]
            if cap["in"].startswith("calendar"):
                unit = cap["in"].split()[1]
                load = sum(period(t, p.zone, unit) == period(new.at_ms, p.zone, unit) for t in times)
            else:
                span = span_ms(cap["in"])
                starts = [s for s in [*times, new.at_ms] if s <= new.at_ms < s + span]
                load = max(sum(s <= t < s + span for t in times) for s in starts)
            if load >= cap["at_most"]:
                return "CAP_REACHED", cap["name"]
        for gap in self.policy.get("gaps", ()):
            apart = span_ms(gap["at_least"])
            if self.holds(gap, new) and any(
                abs(s.at_ms - new.at_ms) < apart for s in others if self.counts(gap, s, new)
            ):
                return "GAP_NOT_ELAPSED", gap["name"]
        return "", ""

    def holds(self, rule: Json, new: Sent) -> bool:
        """Whether a cap or gap is about a message."""
        return self.named(rule, new.message) and all(self.key(k, new) for k in rule["per"])

    def counts(self, rule: Json, other: Sent, new: Sent) -> bool:
        """Whether a message counts for the cap or gap of another."""
        return self.named(rule, other.message) and all(self.key(k, other) == self.key(k, new) for k in rule["per"])

    def named(self, rule: Json, name: str) -> bool:
        """Whether a message's purpose is one of the rule's."""
        if "purposes" in rule:
            return self.message(name)["purpose"] in rule["purposes"]
        return self.purpose(name).get("tier") != 1

    def key(self, key: str, sent: Sent) -> str:
        """What a message counts under; "" for nothing."""
        own = {"customer": "all", "message": sent.message, "channel": sent.channel, "about": sent.about}
        return str(own.get(key) or self.message(sent.message).get(key, ""))

    # ---- what happens -------------------------------------------------------------------------------

    def decide(self, p: Person, event: str, name: str, now_ms: int) -> Sent | tuple[str, str]:
        """The message that is booked, or the reason why none is, with the cap or gap that is told."""
        if stop := self.consent(p, name):
            return stop, ""
        channels = [c for c in self.message(name).get("channels", ["push"]) if c not in p.channels]
        if not channels:
            return "CHANNEL_BLOCKED", ""
        at_ms = self.send_time(p, name, now_ms)
        if isinstance(at_ms, str):
            return at_ms, ""
        new = Sent(event, name, channels[0], at_ms, self.until(p, name, at_ms))
        reason, title = self.limit(p, new, [s for s in p.sent if not s.released])
        if reason:
            return reason, title
        p.sent.append(new)
        return new

    def outcome(self, p: Person, sent: Sent, kind: str, now_ms: int) -> tuple[bool, list[str], str]:
        """(repeated, events cancelled, cap or gap exceeded)."""
        purpose = self.message(sent.message)["purpose"]
        granted, at_ms = p.consents.get(purpose, (False, 0))
        anew = kind == "OPTED_OUT" and granted and p.stops.get(purpose, -1) < at_ms <= now_ms
        repeated, was, exceeded = kind in sent.outcomes and not anew, sent.released, ""
        ahead = [s for s in p.sent if s.at_ms > now_ms and self.message(s.message)["purpose"] == purpose]
        if not repeated:
            if kind != "NOT_DELIVERED":
                sent.released = False
            elif not sent.outcomes - {"NOT_DELIVERED"}:
                sent.released = True
            sent.outcomes.add(kind)
            if kind == "OPTED_OUT":
                p.stops[purpose] = now_ms
                for s in ahead:
                    if not s.released:
                        s.released = s.cancelled = True
            if was and not sent.released:
                exceeded = self.limit(p, sent, [s for s in p.sent if s is not sent and not s.released])[1]
        return repeated, [s.event for s in ahead if s.cancelled] if kind == "OPTED_OUT" else [], exceeded

    def confirm(self, p: Person, sent: Sent, now_ms: int) -> str:
        """The reason why something may not be sent any more, or ""."""
        if sent.cancelled:
            reason = "OPTED_OUT"
        elif sent.released or now_ms > sent.until_ms:
            reason = "SEND_BY_PASSED"
        elif sent.channel in p.channels:
            reason = "CHANNEL_BLOCKED"
        else:
            reason = self.consent(p, sent.message)
        if not reason:
            sent.confirmed = True
        elif not sent.confirmed and not sent.outcomes - {"NOT_DELIVERED"}:
            sent.released = True
        return reason
