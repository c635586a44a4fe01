"""Quiet hours and the customer's own hours: when may something be sent?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from engine.compiler.model import QuietHours
from engine.decision import Details, Reason
from engine.state.model import Contact
from engine.zones import zone as find_zone

_ROUNDS = 64  # of pushing a moment on until it is open by every clock; some days


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


def _clocks(quiet: QuietHours | None, own: tzinfo | None) -> list[tzinfo]:
    """The clocks by which it must not be quiet: one, or all that an unknown one may be; none where nobody knows."""
    if quiet is not None and quiet.zone != "customer":
        declared = find_zone(quiet.zone)
        return [] if declared is None else [declared]
    if own is not None:
        return [own]
    return [] if quiet is None else _unknown(quiet)


def _unknown(quiet: QuietHours) -> list[tzinfo]:
    return [tz for name in quiet.unknown_zones if (tz := find_zone(name)) is not None]


def _opens(at_ms: int, quiet: QuietHours, clocks: Sequence[tzinfo]) -> int:
    """The first moment from `at_ms` on at which it is quiet by none of the clocks; 0 where there is none soon."""
    for _ in range(_ROUNDS):
        ends = [_next_wall(at_ms, tz, quiet.to_minute) for tz in clocks if _quiet_at(at_ms, quiet, tz)]
        if not ends:
            return at_ms
        at_ms = max(ends)
    return 0


def send_time(
    now_ms: int, quiet: QuietHours | None, contact: Contact | None, zone: str | None
) -> int | tuple[Reason, Details]:
    """When to send: now, or the first moment that quiet hours and the customer's own hours permit.

    Quiet hours that `drop` stop the message, and so do the customer's own hours unless the purpose
    defers. An unknown zone is taken the strictest way: it must be open in every zone that the quiet hours
    name for that, and where they name none nothing is said.
    """
    preferred = contact is not None and contact.preferred_from_minute >= 0
    if quiet is None and not preferred:
        return now_ms
    own = find_zone(zone) if zone else None
    clocks = _clocks(quiet, own)
    owns = [own] if own is not None else _unknown(quiet) if quiet is not None else []
    if (preferred and not owns) or (quiet is not None and not clocks):
        reason = Reason.QUIET_HOURS if quiet is not None and not clocks else Reason.OUTSIDE_PREFERRED_HOURS
        return reason, Details(
            feature="timezone", cause="the customer's time zone is unknown, so hours cannot be checked"
        )
    at_ms = now_ms
    for _ in range(8 if len(clocks) <= 1 and len(owns) <= 1 else _ROUNDS):  # the hours may push each other on
        if quiet is not None:
            ends = [_next_wall(at_ms, tz, quiet.to_minute) for tz in clocks if _quiet_at(at_ms, quiet, tz)]
            if ends and quiet.then == "drop":
                frees_ms = ends[0] if len(clocks) == 1 else _opens(max(ends), quiet, clocks)
                details = Details(condition=quiet.name, frees_at_ms=frees_ms, cause=f"quiet hours '{quiet.name}'")
                return Reason.QUIET_HOURS, details
            at_ms = max(ends, default=at_ms)
        if preferred and contact is not None:
            start, end = contact.preferred_from_minute, contact.preferred_to_minute
            outside = [tz for tz in owns if not _inside(_second_of_day(at_ms, tz), start * 60, end * 60)]
            if outside:
                opens_ms = max(_next_wall(at_ms, tz, start) for tz in outside)
                if quiet is None or quiet.then == "drop":
                    cause = "outside the hours the customer chose"
                    return Reason.OUTSIDE_PREFERRED_HOURS, Details(frees_at_ms=opens_ms, cause=cause)
                at_ms = opens_ms
                continue
        if quiet is None or not any(_quiet_at(at_ms, quiet, tz) for tz in clocks):
            return at_ms
    if len(clocks) > 1:
        cause = "no hour is open in all of the zones that the customer may be in"
        return Reason.QUIET_HOURS, Details(condition=quiet.name if quiet is not None else "", cause=cause)
    return Reason.QUIET_HOURS, Details(cause="the customer's hours lie within the quiet hours")


def closes(at_ms: int, quiet: QuietHours | None, contact: Contact | None, zone: str | None) -> int | None:
    """When a moment that may be sent at stops being one: quiet hours begin, or the customer's own end.

    None where nothing bounds it.
    """
    own = find_zone(zone) if zone else None
    ends = []
    if quiet is not None:
        ends += [_begins(at_ms, tz, quiet.from_minute, quiet.to_minute) for tz in _clocks(quiet, own)]
    if contact is not None and contact.preferred_from_minute >= 0:
        owns = [own] if own is not None else _unknown(quiet) if quiet is not None else []
        start, end = contact.preferred_from_minute, contact.preferred_to_minute
        ends += [_begins(at_ms, tz, end, start) for tz in owns]
    return min(ends, default=None)
