"""Caps and gaps: what is counted, by whom they are keyed, and when they free."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.model import Cap, Gap, Period, Position
from engine.contact.caps import MAX_TOUCHES, Limits, Proposal, calendar_span, stopped_by_limits
from engine.decision import Details, Reason
from engine.state.model import Touch, TouchFlag

HERE = Position("x.yaml", 1, 1)
DAY = 86_400_000
MARKETING, SERVICE = 1, 2


def cap(at_most: int, per: tuple[str, ...] = ("customer",), days: int = 7, calendar: str | None = None) -> Cap:
    over = None if calendar else Period(days, "day")
    return Cap("the cap", at_most, per, over, calendar, None, HERE)


def touch(at_ms: int, message: int = 5, purpose: int = MARKETING, topic: int = 9, flags: int = 0) -> Touch:
    return Touch(at_ms, at_ms, 0, message, 0, 3, purpose, topic, 0, 0, 0, 0, 0, 0, 0, flags)


def proposal(at_ms: int, message: int = 5, topic: int = 9) -> Proposal:
    return Proposal(at_ms, frozenset({message}), MARKETING, topic, 3, 0, 0, 0)


def held(*caps: Cap, gaps: tuple[Gap, ...] = ()) -> Limits:
    counted = frozenset({MARKETING})
    return Limits(tuple((c, counted) for c in caps), tuple((g, counted) for g in gaps))


def stopped(
    limits: Limits, touches: list[Touch], new: Proposal, zone: str | None = "UTC", shadow: bool = False
) -> tuple[Reason, Details] | None:
    live = [t for t in touches if t.counts(shadow)]
    return stopped_by_limits(limits, live, len(touches), new, zone)


def reason(limits: Limits, touches: list[Touch], new: Proposal, zone: str | None = "UTC") -> Reason | None:
    found = stopped(limits, touches, new, zone)
    return found[0] if found else None


@given(
    gaps=st.lists(st.integers(0, 4 * DAY), max_size=30),
    at_most=st.integers(1, 4),
    days=st.integers(1, 9),
)
def test_taking_touches_in_any_rhythm_never_breaks_a_rolling_cap(gaps: list[int], at_most: int, days: int) -> None:
    limits, touches, now = held(cap(at_most, days=days)), [], 0
    for gap in gaps:
        now += gap
        if reason(limits, touches, proposal(now)) is None:
            touches.append(touch(now))
    times = [t.at_ms for t in touches]
    assert all(sum(s <= t < s + days * DAY for t in times) <= at_most for s in times)


@given(times=st.lists(st.integers(0, 20 * DAY), max_size=12), now=st.integers(0, 20 * DAY), at_most=st.integers(1, 4))
def test_a_cap_says_truly_when_it_frees(times: list[int], now: int, at_most: int) -> None:
    limits, touches = held(cap(at_most)), [touch(t) for t in times]
    found = stopped(limits, touches, proposal(now))
    if found is not None:
        frees = found[1].frees_at_ms
        assert frees > now
        assert reason(limits, touches, proposal(frees)) is None


def test_a_booking_ahead_is_held_too() -> None:
    assert reason(held(cap(1)), [touch(3 * DAY)], proposal(0)) is Reason.CAP_REACHED


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (touch(0, message=6), False),
        (touch(0, message=5, topic=8), True),
        (touch(0, purpose=SERVICE), False),
        (touch(0, flags=int(TouchFlag.RELEASED)), False),
        (touch(0, flags=int(TouchFlag.WITHHELD)), False),
        (touch(0, flags=int(TouchFlag.DEFERRED)), True),
    ],
)
def test_what_a_cap_per_message_counts(other: Touch, counts: bool) -> None:
    found = reason(held(cap(1, ("customer", "message"))), [other], proposal(DAY))
    assert (found is Reason.CAP_REACHED) == counts


def test_withheld_touches_count_for_the_holdout() -> None:
    touches = [touch(0, flags=int(TouchFlag.WITHHELD))]
    found = stopped(held(cap(1)), touches, proposal(DAY), shadow=True)
    assert found is not None
    assert found[0] is Reason.CAP_REACHED


def test_a_cap_per_topic_does_not_hold_a_message_without_one() -> None:
    limits = held(cap(1, ("customer", "topic")))
    assert reason(limits, [touch(0, topic=0)], proposal(DAY, topic=0)) is None


def test_a_cap_of_zero_lets_nothing_through() -> None:
    assert reason(held(cap(0)), [], proposal(0)) is Reason.CAP_REACHED


def test_a_full_touch_log_is_a_cap_reached() -> None:
    touches = [touch(-400 * DAY, purpose=SERVICE)] * MAX_TOUCHES
    assert reason(held(), touches, proposal(0)) is Reason.CAP_REACHED


def test_gaps_hold_on_both_sides() -> None:
    limits = held(gaps=(Gap("the gap", Period(4, "hour"), ("customer",), None, HERE),))
    four = 4 * 3_600_000
    assert reason(limits, [touch(DAY)], proposal(DAY + four - 1)) is Reason.GAP_NOT_ELAPSED
    assert reason(limits, [touch(DAY)], proposal(DAY - four + 1)) is Reason.GAP_NOT_ELAPSED
    assert reason(limits, [touch(DAY)], proposal(DAY + four)) is None


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [
        ("day", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),  # clocks go forward: 23 hours
        ("week", "2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("month", "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
    ],
)
def test_calendar_units_are_the_customers_own(unit: str, start: str, end: str) -> None:
    at = ms("2026-03-29T12:00:00+02:00")
    assert calendar_span(unit, at, "Europe/Madrid") == (ms(start), ms(end))


def test_an_unknown_zone_takes_the_day_that_covers_all() -> None:
    at = ms("2026-03-29T12:00:00+00:00")
    start, end = calendar_span("day", at, None)
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12", "Europe/Madrid"):
        own_start, own_end = calendar_span("day", at, zone)
        assert start <= own_start
        assert own_end <= end


def test_a_calendar_cap_frees_at_the_end_of_the_day() -> None:
    now = ms("2026-06-01T10:00:00+00:00")
    found = stopped(held(cap(1, calendar="day")), [touch(now - 1)], proposal(now))
    assert found is not None
    assert found[1].frees_at_ms == int(datetime(2026, 6, 2, tzinfo=UTC).timestamp() * 1000)
