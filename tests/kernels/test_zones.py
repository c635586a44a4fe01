"""Zone tables against zoneinfo itself, in Python and in the kernel."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import zones
from engine.kernels import calendar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = ("Europe/Berlin", "America/Bogota", "Africa/Casablanca", "Asia/Kathmandu", "Pacific/Apia", "UTC")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.integers(-4_102_444_800, 4_102_444_799))
def test_local_day_is_that_of_zoneinfo(name: str, second: int) -> None:
    expected = (EPOCH + timedelta(seconds=second)).astimezone(ZoneInfo(name)).toordinal() - EPOCH.toordinal()
    number = zones.ZONES.id(name)
    table = zones.ZONES.table
    assert zones.local_day(second * 1000 + 999, name) == expected
    assert calendar.local_day(second, number, table.starts, table.at_s, table.offset_s) == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_transition_moves_the_offset_by_the_second(name: str) -> None:
    found = zones.transitions(name)
    assert found is not None
    info = ZoneInfo(name)
    for second, offset in list(zip(*found, strict=True))[1:]:
        before, at = (
            (EPOCH + timedelta(seconds=moment)).astimezone(info).utcoffset() for moment in (second - 1, second)
        )
        assert before != at
        assert at == timedelta(seconds=offset)


@pytest.mark.parametrize("name", ["", "../x", "x" * 10_000, "Europe", "/etc/passwd", "\0", "a\nb", "\ud800"])
def test_odd_names_are_unknown(name: str) -> None:
    assert zones.zone(name) is None
    assert zones.transitions(name) is None
    assert zones.ZONES.id(name) == -1
    assert zones.local_day(86_400_000, name) == 1  # as in UTC


def test_days_and_months_of_a_zone() -> None:
    new_year = int(datetime(2026, 1, 1, 3, tzinfo=UTC).timestamp() * 1000)
    assert zones.local_month(new_year, None) == 56 * 12
    assert zones.local_month(new_year, "America/Bogota") == 56 * 12 - 1
    assert zones.local_day(-1, "UTC") == -1


def test_far_times_keep_the_last_offset() -> None:
    known = zones.Zones()
    assert known.id("Europe/Berlin") == 0
    table = known.table
    arrays = (table.starts, table.at_s, table.offset_s)
    assert calendar.local_day(253_402_300_799, 0, *arrays) == 2_932_897
    assert calendar.local_day(-62_135_596_800, 0, *arrays) == -719_162
    assert np.all(np.diff(table.at_s) > 0)
