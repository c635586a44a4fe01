"""Calendars and clocks of zones, by binary search in the tables of `engine.zones`."""

from __future__ import annotations

from numba import njit

_DAY_S = 86_400
_TABLE = "int64[::1], int64[::1], int64[::1]"


@njit(f"int64(int64, int64, {_TABLE})", cache=True, error_model="numpy", nogil=True)
def offset(second, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Seconds that a zone is ahead of UTC at `second` of UTC.

    `second` is far from the ends of int64; `zone` a valid number of the `ZoneTable` whose arrays follow.
    """
    low, high = starts[zone], starts[zone + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if at_s[middle] <= second:
            low = middle
        else:
            high = middle
    return offset_s[low]


@njit(f"int64(int64, int64, {_TABLE})", cache=True, error_model="numpy", nogil=True)
def local_day(second, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Days since 1970-01-01 on the calendar of a zone; arguments as those of `offset`."""
    return (second + offset(second, zone, starts, at_s, offset_s)) // _DAY_S


@njit(f"int64(int64, int64, {_TABLE})", cache=True, error_model="numpy", nogil=True)
def utc_second(local, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The UTC second at which clocks of the zone show `local`, seconds since 1970-01-01T00:00 on that clock.

    A time that is shown twice is the first of the two; one that is skipped counts on from before the gap
    (as `datetime` has it with fold=0).
    """
    low, high = starts[zone], starts[zone + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if at_s[middle] + max(offset_s[middle - 1], offset_s[middle]) <= local:
            low = middle
        else:
            high = middle
    return local - offset_s[low]


@njit("UniTuple(int64, 3)(int64)", cache=True, error_model="numpy", nogil=True)
def civil(day):  # type: ignore[no-untyped-def]
    """Year, month and day of the month, of days since 1970-01-01 (Hinnant, chrono-compatible algorithms)."""
    day += 719_468  # days from 0000-03-01: leap days end a year that begins in March
    era = day // 146_097
    rest = day - era * 146_097
    year = (rest - rest // 1_460 + rest // 36_524 - rest // 146_096) // 365
    in_year = rest - (365 * year + year // 4 - year // 100)
    month = (5 * in_year + 2) // 153
    return (
        year + era * 400 + (1 if month >= 10 else 0),
        month + 3 if month < 10 else month - 9,
        in_year - (153 * month + 2) // 5 + 1,
    )


@njit("int64(int64, int64, int64)", cache=True, error_model="numpy", nogil=True)
def day_of(year, month, day):  # type: ignore[no-untyped-def]
    """Days since 1970-01-01 of a calendar day, the inverse of `civil`."""
    if month <= 2:
        year -= 1
    era = year // 400
    rest = year - era * 400
    in_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    return era * 146_097 + rest * 365 + rest // 4 - rest // 100 + in_year - 719_468


@njit("int64(int64, int64)", cache=True, error_model="numpy", nogil=True)
def months_later(day, months):  # type: ignore[no-untyped-def]
    """The same day of the month that many months on, or the month's last; days since 1970-01-01.

    `months` are at most a million either way.
    """
    year, month, of_month = civil(day)
    count = year * 12 + month - 1 + months
    year, month = count // 12, count % 12 + 1
    following = count + 1
    length = day_of(following // 12, following % 12 + 1, 1) - day_of(year, month, 1)
    return day_of(year, month, min(of_month, length))
