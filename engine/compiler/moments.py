"""Calendars and clocks for the reference twin: plain Python over the zone tables that kernels search too.

Every function raises ValueError with the cause: CEL's error value.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange

from engine.compiler.functions import zone_offset_s
from engine.compiler.nodes import Type
from engine.compiler.overloads import DAY_NS, NS, TIME_MAX_NS, TIME_MIN_NS
from engine.compiler.written import DATE_MAX, DATE_MIN, to_date
from engine.zones import transitions

_DAY_S = 86_400
_CLOCK = {"hours": 3600 * NS, "minutes": 60 * NS, "seconds": NS, "milliseconds": 1_000_000}
_OUTSIDE = {Type.TIME: "time outside the years 1 to 9999", Type.DATE: "date outside the years 1 to 9999"}

Zone = tuple[tuple[int, ...], tuple[int, ...]]  # UTC seconds from which on an offset holds, and the offsets


def customers_zone(name: str | None) -> Zone:
    """The customer's own time zone."""
    if name is None:
        raise ValueError("the customer's time zone is not known")
    found = transitions(name)
    if found is None:
        raise ValueError(f"there is no time zone '{name}'")
    return found


def named_zone(text: str) -> Zone:
    """The zone of an IANA name or of a fixed offset such as `+05:30`."""
    offset = zone_offset_s(text)
    return customers_zone(text) if offset is None else ((-(2**63),), (offset,))


def in_range(kind: Type, value: int) -> int:
    """`value`, a time in nanoseconds or a date in days, if it lies in the years 1 to 9999."""
    low, high = (TIME_MIN_NS, TIME_MAX_NS) if kind is Type.TIME else (DATE_MIN, DATE_MAX)
    if not low <= value <= high:
        raise ValueError(_OUTSIDE[kind])
    return value


def local_ns(time_ns: int, zone: Zone) -> int:
    """What the zone's clock shows, as nanoseconds since 1970-01-01T00:00 on that clock."""
    at_s, offset_s = zone
    return in_range(Type.TIME, time_ns + NS * offset_s[bisect_right(at_s, time_ns // NS) - 1])


def local_date(time_ns: int, zone: Zone) -> int:
    """Days since 1970-01-01 on the zone's calendar."""
    return local_ns(time_ns, zone) // DAY_NS


def part(op: str, time_ns: int, zone: Zone) -> int:
    """A part of a time by the name of its operation, as CEL counts it."""
    local = local_ns(time_ns, zone)
    day = to_date(local // DAY_NS)
    of_day = local % DAY_NS
    return {
        "full_year": day.year,
        "month": day.month - 1,
        "date": day.day,
        "day_of_month": day.day - 1,
        "day_of_week": day.isoweekday() % 7,
        "day_of_year": day.timetuple().tm_yday - 1,
        "hours": of_day // (3600 * NS),
        "minutes": of_day // (60 * NS) % 60,
        "seconds": of_day // NS % 60,
        "milliseconds": of_day // 1_000_000 % 1000,
    }[op]


def duration_part(op: str, duration_ns: int) -> int:
    """The whole of a duration in hours, minutes, seconds or milliseconds, cut towards zero."""
    whole = abs(duration_ns) // _CLOCK[op]
    return -whole if duration_ns < 0 else whole


def months_later(day: int, months: int) -> int:
    """The same day of the month that many months on, or the month's last; days since 1970-01-01."""
    date = to_date(day)
    year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise ValueError(_OUTSIDE[Type.DATE])
    last = monthrange(year, month + 1)[1]
    moved = date.replace(year, month + 1, min(date.day, last))
    return day + (moved - date).days


def time_months_later(time_ns: int, months: int, zone: Zone) -> int:
    """The same clock time months later on the zone's calendar.

    A clock time that is shown twice is the first of the two; one that is skipped counts on from before the
    gap (as `datetime` has it with fold=0).
    """
    local = local_ns(time_ns, zone)
    try:
        local += (months_later(local // DAY_NS, months) - local // DAY_NS) * DAY_NS
    except ValueError:
        raise ValueError(_OUTSIDE[Type.TIME]) from None
    at_s, offset_s = zone
    second = local // NS
    since = [i for i in range(1, len(at_s)) if at_s[i] + max(offset_s[i - 1], offset_s[i]) <= second]
    return in_range(Type.TIME, local - NS * offset_s[since[-1] if since else 0])
