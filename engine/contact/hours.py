"""Quiet hours and the customer's own hours: when may something be sent?"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

from engine.compiler.model import QuietHours
from engine.decision import Details, Reason
from engine.state.model import Contact
from engine.zones import zone as find_zone


def _inside(minute_s: int, from_s: int, to_s: int) -> bool:
    """Whether a second of the day lies in [from, to), which may span midnight."""
    if from_s <= to_s:
        return from_s <= minute_s < to_s
    return minute_s >= from_s or minute_s < to_s


def _local(at_ms: int, tz: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, timezone.utc).astimezone(tz)  # noqa: UP017


def _next_wall(at_ms: int, tz: tzinfo, minute: int) -> int:
    """The first moment after `at_ms` at which the local clock shows `minute` of the day.

    Where the clock jumps over it, the moment right after the jump; where it shows it twice, the
    first of the two that is still ahead.
    """
    local = _local(at_ms, tz)
    for day in range(3):
        date = local.date() + timedelta(days=day)
        for fold in (0, 1):
            wall = datetime(date.year, date.month, date.day, minute // 60, minute % 60, tzinfo=tz, fold=fold)
            at = int(wall.timestamp()) * 1000
            if _local(at, tz).replace(tzinfo=None) != wall.replace(tzinfo=None, fold=0):
                at = _after_jump(at, tz)
            if at > at_ms:
                return at
    raise AssertionError("a day has 23 to 25 hours")


def _after_jump(near_ms: int, tz: tzinfo) -> int:
    """The moment at which the clock jumps, within a day of a moment that it jumps over."""
    return _change(near_ms // 1000 - 86_400, near_ms // 1000 + 86_400, tz)


def _change(low: int, high: int, tz: tzinfo) -> int:
    """The moment, in ms, at which the offset of the clock ends that it has at second `low`; before `high`."""
    before = _local(low * 1000, tz).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if _local(middle * 1000, tz).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high * 1000


def _begins(at_ms: int, tz: tzinfo, from_minute: int, to_minute: int) -> int:
    """The first moment after one outside of these hours that lies within them.

    The clock shows their beginning, or it was set back to a time within them.
    """
    begins_ms = _next_wall(at_ms, tz, from_minute)
    low, high = at_ms // 1000, at_ms // 1000 + 86_400
    if _local(low * 1000, tz).utcoffset() != _local(high * 1000, tz).utcoffset():
        changes_ms = _change(low, high, tz)
        if changes_ms < begins_ms and _inside(_second_of_day(changes_ms, tz), from_minute * 60, to_minute * 60):
            return changes_ms
    return begins_ms


def _second_of_day(at_ms: int, tz: tzinfo) -> int:
    local = _local(at_ms, tz)
    return local.hour * 3600 + local.minute * 60 + local.second


def _quiet_at(at_ms: int, quiet: QuietHours, tz: tzinfo) -> bool:
    return _inside(_second_of_day(at_ms, tz), quiet.from_minute * 60, quiet.to_minute * 60)


def send_time(
    now_ms: int, quiet: QuietHours | None, contact: Contact | None, zone: str | None
) -> int | tuple[Reason, Details]:
    """When to send: now, or the first moment that quiet hours and the customer's own hours permit.

    Quiet hours that `drop` stop the message, and so do the customer's own hours unless the purpose
    defers. An unknown zone is taken the strictest way: where the hours cannot be checked, nothing is said.
    """
    preferred = contact is not None and contact.preferred_from_minute >= 0
    if quiet is None and not preferred:
        return now_ms
    own = find_zone(zone) if zone else None
    declared = own if quiet is None or quiet.zone == "customer" else find_zone(quiet.zone)
    if (preferred and own is None) or (quiet is not None and declared is None):
        reason = Reason.QUIET_HOURS if quiet is not None and declared is None else Reason.OUTSIDE_PREFERRED_HOURS
        return reason, Details(
            feature="timezone", cause="the customer's time zone is unknown, so hours cannot be checked"
        )
    at_ms = now_ms
    for _ in range(8):  # the two kinds of hours may push each other on
        if declared is not None and quiet is not None and _quiet_at(at_ms, quiet, declared):
            ends_ms = _next_wall(at_ms, declared, quiet.to_minute)
            if quiet.then == "drop":
                details = Details(condition=quiet.name, frees_at_ms=ends_ms, cause=f"quiet hours '{quiet.name}'")
                return Reason.QUIET_HOURS, details
            at_ms = ends_ms
        if preferred and contact is not None and own is not None:
            start, end = contact.preferred_from_minute, contact.preferred_to_minute
            if not _inside(_second_of_day(at_ms, own), start * 60, end * 60):
                opens_ms = _next_wall(at_ms, own, start)
                if quiet is None or quiet.then == "drop":
                    cause = "outside the hours the customer chose"
                    return Reason.OUTSIDE_PREFERRED_HOURS, Details(frees_at_ms=opens_ms, cause=cause)
                at_ms = opens_ms
                continue
        if quiet is None or declared is None or not _quiet_at(at_ms, quiet, declared):
            return at_ms
    return Reason.QUIET_HOURS, Details(cause="the customer's hours lie within the quiet hours")


def closes(at_ms: int, quiet: QuietHours | None, contact: Contact | None, zone: str | None) -> int | None:
    """When a moment that may be sent at stops being one: quiet hours begin, or the customer's own end.

    None where nothing bounds it.
    """
    ends = []
    if quiet is not None:
        name = zone if quiet.zone == "customer" else quiet.zone
        tz = find_zone(name) if name else None
        if tz is not None:
            ends.append(_begins(at_ms, tz, quiet.from_minute, quiet.to_minute))
    if contact is not None and contact.preferred_from_minute >= 0:
        own = find_zone(zone) if zone else None
        if own is not None:
            ends.append(_begins(at_ms, own, contact.preferred_to_minute, contact.preferred_from_minute))
    return min(ends, default=None)
