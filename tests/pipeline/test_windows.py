"""Windows against a plain recomputation from the raw events."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.model import Period, Position, Window
from engine.compiler.nodes import Type
from engine.compiler.reference import Absent
from engine.compiler.written import MONEY_MAX
from engine.state.model import Record, WindowState
from engine.state.record import decode as decode_record
from engine.state.record import encode as encode_record
from engine.windows import WindowPlan, complete, observe, plan_window, read

HERE = Position("x.yaml", 1, 1)
START = int(datetime(2025, 11, 3, 13, tzinfo=timezone.utc).timestamp() * 1000)  # noqa: UP017
HOUR = 3_600_000
DAY = 24 * HOUR


def window(kind: str, amount: int, unit: str, type_: Type = Type.INTEGER, zero: bool = False) -> WindowPlan:
    over = None if kind == "last" else Period(amount, unit)
    return plan_window(Window("w", kind, "e", None, None, over, zero, type_, f"{kind} {amount} {unit}", HERE))


def local(at_ms: int, zone: str | None) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone or "UTC"))


def covered(plan: WindowPlan, at_ms: int, now_ms: int, zone: str | None) -> bool:
    """Whether a moment lies in one of the window's buckets, said the slow way."""
    if plan.width_s > 0:
        return now_ms // (plan.width_s * 1000) - at_ms // (plan.width_s * 1000) < plan.buckets
    then, now = local(at_ms, zone), local(now_ms, zone)
    if plan.width_s == 0:
        return now.date() - then.date() < timedelta(days=plan.buckets)
    return (now.year - then.year) * 12 + now.month - then.month < plan.buckets


SPANS = [(30, "minute"), (6, "hour"), (1, "day"), (7, "day"), (30, "day"), (3, "month"), (12, "month"), (180, "day")]


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 40 * DAY) | st.integers(0, 2 * HOUR), min_size=1, max_size=40),
    late=st.lists(st.integers(0, DAY - 1), min_size=40, max_size=40),
    values=st.lists(st.integers(-50, 50), min_size=40, max_size=40),
    span=st.sampled_from(SPANS),
    zone=st.sampled_from([None, "America/Bogota", "Pacific/Auckland"]),
    kind=st.sampled_from(["count", "sum", "months_with"]),
)
def test_against_recomputation(
    gaps: list[int], late: list[int], values: list[int], span: tuple[int, str], zone: str | None, kind: str
) -> None:
    plan = window(kind, 12 if kind == "months_with" else span[0], "month" if kind == "months_with" else span[1])
    state = WindowState(since_ms=START)
    now, events = START, []
    for gap, delay, value in zip(gaps, late, values, strict=False):
        now += gap
        at = max(START, now - delay)  # events may arrive up to a day late and out of order
        events.append((at, value))
        observe(plan, state, at, now, zone, value)
        expected: object = Absent("WINDOW_INCOMPLETE")
        if complete(plan, START, now, zone):
            inside = [(a, v) for a, v in events if covered(plan, a, now, zone)]
            if kind == "count":
                expected = len(inside)
            elif kind == "sum":
                expected = sum(v for _, v in inside)
            else:
                expected = len({(local(a, zone).year, local(a, zone).month) for a, _ in inside})
        assert read(plan, state, now, zone) == expected
        assert len(state.buckets) <= plan.buckets


def test_a_new_window_is_incomplete_until_its_span_has_passed() -> None:
    plan = window("count", 7, "day")
    state = WindowState(since_ms=START)
    assert read(plan, state, START + 6 * DAY, "UTC") == Absent("WINDOW_INCOMPLETE")
    assert read(plan, state, START + 7 * DAY, "UTC") == 0
    assert read(window("count", 7, "day", zero=True), state, START, "UTC") == 0


def test_last_keeps_the_latest_by_its_own_time() -> None:
    plan = window("last", 0, "", Type.NUMBER)
    state = WindowState()
    assert read(plan, state, START, None) == Absent("DATA_MISSING")
    for at, value in ((5, 1.5), (9, 2.5), (7, 3.5)):
        observe(plan, state, at, START, None, value)
    assert read(plan, state, START, None) == 2.5


@pytest.mark.parametrize(
    ("unit", "amount", "width"), [("minute", 30, 60), ("hour", 24, 900), ("day", 7, 0), ("month", 2, -1)]
)
def test_bucket_widths(unit: str, amount: int, width: int) -> None:
    assert window("count", amount, unit).width_s == width


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-MONEY_MAX, MONEY_MAX) | st.sampled_from([10, 100_000_000, -1]), max_size=20))
def test_a_sum_of_money_is_exact(amounts: list[int]) -> None:
    plan = window("sum", 30, "day", Type.MONEY, zero=True)
    state, exact = WindowState(), 0
    for i, amount in enumerate(amounts):
        if abs(exact + amount) <= MONEY_MAX:
            exact += amount
            observe(plan, state, START + i * DAY, START + i * DAY, "UTC", amount)
    assert read(plan, state, START + 20 * DAY, "UTC") == exact
    stored = decode_record(encode_record(Record(b"1" * 8, windows={1: state}))).windows[1]
    assert read(plan, stored, START + 20 * DAY, "UTC") == exact


@pytest.mark.parametrize(("kind", "bound"), [(Type.MONEY, MONEY_MAX), (Type.INTEGER, 2**63 - 1)])
def test_a_sum_beyond_its_range_stays_at_the_bound(kind: Type, bound: int) -> None:
    plan = window("sum", 30, "day", kind, zero=True)
    state = WindowState()
    for day in (0, 0, 1):
        observe(plan, state, START + day * DAY, START + DAY, "UTC", bound)
    assert state.values == [bound, bound]
    assert read(plan, state, START + DAY, "UTC") == bound


@pytest.mark.parametrize(("kind", "value"), [(Type.MONEY, -MONEY_MAX), (Type.DATE, 20_484), (Type.MONEY, 1)])
def test_the_last_of_money_and_dates(kind: Type, value: int) -> None:
    plan = window("last", 0, "", kind)
    state = WindowState()
    observe(plan, state, 5, START, None, value)
    stored = decode_record(encode_record(Record(b"1" * 8, windows={1: state}))).windows[1]
    assert read(plan, stored, START, None) == value


def test_a_sum_of_numbers_is_a_number() -> None:
    plan = window("sum", 7, "day", Type.NUMBER, zero=True)
    state = WindowState()
    observe(plan, state, START, START, "UTC", 0.5)
    observe(plan, state, START, START, "UTC", 1.25)
    assert read(plan, state, START, "UTC") == 1.75
