"""Exact money and calendar days in the kernels, against Python's integers and `datetime`."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.kernels import calendar, wide
from engine.zones import ZONES

NS = 1_000_000_000
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SOME = st.one_of(INTEGERS, st.integers(-1000, 1000), st.sampled_from((-(2**63), 2**63 - 1, NS, -NS, 2**53 + 1)))
BILLIONTHS = st.integers(0, NS - 1)
DAYS = st.integers(date.min.toordinal(), date.max.toordinal())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@settings(max_examples=500, deadline=None)
@given(SOME, BILLIONTHS, SOME)
@example(-1, NS // 2, -(2**63))  # the product of the units overflows, the amount does not
@example(-(2**63), 0, -1)
def test_money_times_an_integer_is_exact(units: int, billionths: int, factor: int) -> None:
    exact = (units * NS + billionths) * factor
    whole, rest, overflow = wide.money_times(units, billionths, factor)
    assert bool(overflow) is not (-(2**63) <= exact // NS < 2**63)
    assert overflow or (whole, rest) == divmod(exact, NS)


@settings(max_examples=1000, deadline=None)
@given(
    st.integers(0, 63), st.integers(0, 2**63 - 1), st.booleans(), st.one_of(BILLIONTHS, st.sampled_from((0, NS // 2)))
)
def test_money_as_a_number_is_the_nearest_double(bits: int, units: int, negative: bool, billionths: int) -> None:
    units = (units >> bits) * (-1 if negative else 1)
    assert wide.money_number(units, billionths) == (units * NS + billionths) / NS


@settings(max_examples=300, deadline=None)
@given(DAYS, st.integers(-30_000, 30_000))
def test_days_of_the_calendar(ordinal: int, months: int) -> None:
    on, number = date.fromordinal(ordinal), ordinal - EPOCH.toordinal()
    assert calendar.civil(number) == (on.year, on.month, on.day)
    assert calendar.day_of(on.year, on.month, on.day) == number
    year, month = divmod(on.year * 12 + on.month - 1 + months, 12)
    if 1 <= year <= 9999:
        later = date(year, month + 1, min(on.day, monthrange(year, month + 1)[1]))
        assert calendar.months_later(number, months) == later.toordinal() - EPOCH.toordinal()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(("Europe/Berlin", "America/Bogota", "Africa/Casablanca", "Pacific/Apia", "UTC")),
    st.integers(-3_000_000_000, 4_000_000_000),
)
def test_clock_times_are_those_of_datetime(name: str, second: int) -> None:
    local = datetime(1970, 1, 1, tzinfo=ZoneInfo(name)) + timedelta(seconds=second)
    number = ZONES.id(name)
    table = ZONES.table
    found = calendar.utc_second(second, number, table.starts, table.at_s, table.offset_s)
    assert EPOCH + timedelta(seconds=found) == local.astimezone(UTC)
