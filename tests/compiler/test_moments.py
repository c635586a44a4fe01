"""The twin's calendars against `datetime` and `zoneinfo`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler import moments
from engine.compiler.overloads import NS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = st.sampled_from(["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "UTC", "Africa/Cairo"])
TIMES = st.integers(-2 * 10**9, 4 * 10**9).flatmap(lambda s: st.integers(0, 999).map(lambda ms: s * NS + ms * 10**6))


def shown(time_ns: int, zone: str) -> datetime:
    return (EPOCH + timedelta(milliseconds=time_ns // 10**6)).astimezone(ZoneInfo(zone))


def later(local: datetime, months: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    day = local.day
    while True:
        try:
            return local.replace(year=year, month=month + 1, day=day)
        except ValueError:
            day -= 1


@settings(max_examples=100, deadline=None)
@given(TIMES, ZONES)
def test_parts(time_ns: int, zone: str) -> None:
    local = shown(time_ns, zone)
    expected = {
        "full_year": local.year,
        "month": local.month - 1,
        "date": local.day,
        "day_of_month": local.day - 1,
        "day_of_week": int(local.strftime("%w")),
        "day_of_year": int(local.strftime("%j")) - 1,
        "hours": local.hour,
        "minutes": local.minute,
        "seconds": local.second,
        "milliseconds": local.microsecond // 1000,
    }
    assert {op: moments.part(op, time_ns, moments.named_zone(zone)) for op in expected} == expected


@settings(max_examples=100, deadline=None)
@given(TIMES, ZONES, st.integers(-300, 300))
def test_months_later(time_ns: int, zone: str, months: int) -> None:
    local = shown(time_ns, zone)
    moved = later(local.replace(fold=0), months)
    expected = (moved.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)
    if moved.year < 2100:  # later the zones' tables have no daylight saving
        assert moments.time_months_later(time_ns, months, moments.customers_zone(zone)) == expected * 10**6


@pytest.mark.parametrize(
    ("written", "zone", "months", "expected"),
    [
        ("2026-01-31T12:00", "UTC", 1, "2026-02-28T12:00"),
        ("2024-02-29T12:00", "UTC", 12, "2025-02-28T12:00"),
        ("2026-02-28T01:30", "Europe/Berlin", 1, "2026-03-28T01:30"),
        ("2026-02-28T23:30", "Europe/Berlin", 1, "2026-03-31T22:30"),  # 1 March 00:30 there; then 1 April 00:30
        ("2026-01-29T01:30", "Europe/Berlin", 2, "2026-03-29T01:30"),  # 02:30 is skipped: 03:30
        ("2026-09-25T00:30", "Europe/Berlin", 1, "2026-10-25T00:30"),  # 02:30 is shown twice: the first
    ],
)
def test_months_by_example(written: str, zone: str, months: int, expected: str) -> None:
    first, last = (
        (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1) * NS
        for text in (written, expected)
    )
    assert moments.time_months_later(first, months, moments.named_zone(zone)) == last
