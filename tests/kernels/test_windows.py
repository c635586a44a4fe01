"""Windows in kernels against `engine.windows`, over sequences of events."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import windows
from engine.columns.windows import window_plans
from engine.compiler.nodes import Type
from engine.compiler.pool import Constants, Pool, in_range
from engine.compiler.reference import Absent
from engine.kernels import arena
from engine.kernels import windows as kernels
from engine.kernels.records import read_record, record_room, write_record
from engine.state import record
from engine.state.model import Record, WindowState
from engine.windows import UNUSED_KEPT_MS, WindowPlan
from engine.zones import ZONES

ZONE = st.sampled_from(("Europe/Madrid", "America/Santiago", "UTC", "Pacific/Apia", "Nowhere/Atall", None))
NS = 10**9
INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    Type.INTEGER: st.integers(-9, 9) | INT64 | st.sampled_from((2**63 - 1, -(2**63), 2**62)),
    Type.NUMBER: st.floats() | st.integers(-(10**6), 10**6).map(lambda n: n / 100),
    Type.MONEY: st.integers(-(10**6), 10**6).map(lambda n: n * 10**7) | INT64 | st.integers(-(10**27), 10**27),
    Type.TIME: st.integers(-(2**62), 2**62) | st.integers(-62_135_596_800 * NS, 253_402_300_799 * NS),
    Type.DURATION: INT64,
    Type.DATE: st.integers(-719_162, 2_932_896),
    Type.BOOL: st.booleans(),
}
VALUED = ("sum", "minimum", "maximum", "last", "distinct")
ADDED = (Type.INTEGER, Type.NUMBER, Type.MONEY)
KINDS = (
    [(kind, Type.INTEGER) for kind in ("count", "months_with", "days_with", "distinct")]
    + [("sum", kind) for kind in ADDED]
    + [(extreme, kind) for extreme in ("minimum", "maximum") for kind in VALUES if kind is not Type.BOOL]
    + [("last", kind) for kind in VALUES]
)
WIDTHS = st.sampled_from(
    ((60, 1), (60, 5), (60, 120), (900, 3), (900, 192), (0, 2), (0, 7), (0, 90), (-1, 1), (-1, 3), (-2, 1), (-2, 4))
)
APIA = int(datetime(2011, 12, 30, tzinfo=UTC).timestamp() * 1000)  # a day that never was there
SUMMER = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp() * 1000)
START = st.sampled_from((APIA, SUMMER, 0, -(10**11), 1_760_000_000_000))
SPAN = st.sampled_from((1, 60_000, 900_000, 3_600_000, 86_400_000, 32 * 86_400_000))
MOVES = st.builds(lambda a, b: a * b, SPAN, st.integers(-3, 3)) | st.integers(-(10**6), 10**6)
EVENT = st.tuples(MOVES, MOVES, st.integers(0, 3))  # the clock moves; the event is that far from it; a window


@st.composite
def plan(draw: st.DrawFn) -> WindowPlan:
    kind, of = draw(st.sampled_from(KINDS))
    width_s, buckets = (0, 0) if kind == "last" else draw(WIDTHS)
    begins = draw(st.sampled_from((-1, -2))) if kind == "days_with" and width_s == 0 else 0
    key = draw(st.integers(0, 2**64 - 1))
    return WindowPlan("", key, kind, of, "", width_s, buckets, draw(st.booleans()), (), None, begins)


def twins(plans: dict[str, WindowPlan]) -> dict[int, WindowPlan]:
    return {p.key: p for p in plans.values()}


PLANS = (
    st.lists(plan(), min_size=1, max_size=4, unique_by=lambda p: p.key)
    .flatmap(lambda found: st.just(found) | st.just([*found, found[0]]))
    .map(lambda found: {str(k): p for k, p in enumerate(found)})
)


def keep(record_: Record, keys: dict[int, WindowPlan], now_ms: int) -> None:
    """`take._keep_windows` of a record, but for the events."""
    for key in keys:
        state = record_.windows.get(key)
        if state is None:
            record_.windows[key] = state = WindowState(since_ms=now_ms)
        state.last_used_ms = now_ms
    for key in [k for k, w in record_.windows.items() if w.last_used_ms < now_ms - UNUSED_KEPT_MS]:
        del record_.windows[key]


def zone_of(name: str | None) -> tuple[object, ...]:
    number = ZONES.id(name) if name else -1
    return number, ZONES.table.starts, ZONES.table.at_s, ZONES.table.offset_s


class Kept:
    """One record in the arenas."""

    def __init__(self, content: Record, room: int) -> None:
        blob = record.encode(content)
        self.data = np.frombuffer(blob, np.uint8)
        self.at = arena.records(1, room)
        assert read_record(self.data, 0, len(blob), 0, self.at, room) == arena.FINE

    def bytes(self) -> bytes:
        out = np.zeros(record_room(0, self.at), np.uint8)
        end = write_record(self.data, self.data, 0, self.at, np.uint64(0), 0, 0, out, 0)
        return out[:end].tobytes()


def small(state: WindowState) -> bool:
    return state.is_float or all(-(2**63) <= v < 2**63 for v in state.values)


def compare(plan_: WindowPlan, found: tuple[int, int, int], wanted: object) -> bool:
    """Whether the kernel knew it, after a check that it is what Python says."""
    state, *cells = found
    if state == kernels.UNKNOWN:
        return False
    if isinstance(wanted, Absent):
        assert state == {"DATA_MISSING": kernels.MISSING, "WINDOW_INCOMPLETE": kernels.INCOMPLETE}[wanted.reason]
        return True
    assert state == kernels.VALUE
    assert in_range(plan_.type, wanted)
    expected = Pool(Constants()).cells(plan_.type, wanted)
    if not (wanted != wanted and np.isnan(np.int64(cells[0]).view(np.float64))):
        assert tuple(cells) == (*expected, 0)[:2]
    return True


@settings(max_examples=150, deadline=None)
@given(PLANS, ZONE, START, st.lists(EVENT, max_size=12), st.data())
def test_windows_are_those_of_python(
    plans: dict[str, WindowPlan], zone: str | None, now_ms: int, events: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    columns, table = window_plans(plans.values()), zone_of(zone)
    content = Record(bytes(8))
    for moved, ahead, w in events:
        now_ms += moved
        w %= len(plans)
        plan_ = plans[str(w)]
        value = data.draw(VALUES[plan_.type]) if plan_.kind in VALUED else None
        cells = (*Pool(Constants()).cells(plan_.type, value), 0)[:2] if value is not None else (5, 5)
        kept = Kept(content, len(plans))
        keep(content, twins(plans), now_ms)
        kernels.ensure(0, kept.at, columns, now_ms)
        assert kept.bytes() == record.encode(content)
        before = copy.deepcopy(content)
        windows.observe(plan_, content.windows[plan_.key], now_ms + ahead, now_ms, zone, value)
        fits = kernels.observe(0, kept.at, columns, w, now_ms + ahead, now_ms, *table, *cells)
        state = content.windows[plan_.key]
        if fits == arena.LEFT:
            assert plan_.type in (Type.MONEY, Type.TIME)
            assert not small(state) or not -(2**63) + 2 * NS <= value < 2**63 - 2 * NS
            content = before
            continue
        assert kept.bytes() == record.encode(content)
        for k, one in enumerate(plans.values()):
            stored = content.windows[one.key]
            known = compare(
                one,
                kernels.read(0, kept.at, columns, k, now_ms, *table),
                windows.read(one, stored, now_ms, zone),
            )
            assert known or sum(map(abs, stored.values)) >= 2**63


STATE = st.builds(
    WindowState,
    st.booleans(),
    st.lists(st.integers(-3, 3), max_size=6).map(sorted) | st.lists(st.integers(-3, 3), max_size=6),
    st.none(),
    st.integers(-3, 3).map(lambda d: d * 86_400_000),
    st.just(0),
)


@settings(max_examples=150, deadline=None)
@given(plan(), STATE, st.integers(-2, 3), MOVES, ZONE, st.data())
def test_any_state_is_as_to_python_or_left(
    plan_: WindowPlan, state: WindowState, now: int, ahead: int, zone: str | None, data: st.DataObject
) -> None:
    of = st.floats(-9, 9) if state.is_float else st.integers(-9, 9) | INT64
    state.values = [data.draw(of) for _ in state.buckets]
    columns, table = window_plans([plan_]), zone_of(zone)
    content = Record(bytes(8), windows={plan_.key: state})
    unit = {60: 60_000, 900: 900_000, 0: 86_400_000, -1: 31 * 86_400_000, -2: 7 * 86_400_000}[plan_.width_s]
    now_ms = now * unit
    kept = Kept(content, 1)
    compare(plan_, kernels.read(0, kept.at, columns, 0, now_ms, *table), windows.read(plan_, state, now_ms, zone))
    value = data.draw(VALUES[plan_.type])
    cells = (*Pool(Constants()).cells(plan_.type, value), 0)[:2]
    if kernels.observe(0, kept.at, columns, 0, now_ms + ahead, now_ms, *table, *cells) == arena.FINE:
        windows.observe(plan_, state, now_ms + ahead, now_ms, zone, value)
        assert kept.bytes() == record.encode(content)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 7), st.sampled_from((-1, 0, 1, 5)), max_size=8),
    st.lists(st.integers(0, 7), max_size=6, unique=True),
)
def test_windows_are_added_and_dropped_as_by_the_step(stored: dict[int, int], used: list[int]) -> None:
    now_ms = 2 * UNUSED_KEPT_MS
    content = Record(bytes(8))
    for key, ahead in stored.items():
        values = list(range(key))
        content.windows[key] = WindowState(False, values, values.copy(), 0, now_ms - UNUSED_KEPT_MS + ahead)
    plans = {str(k): WindowPlan("", k, "last", Type.INTEGER, "", 0, 0, False) for k in used}
    kept, columns = Kept(content, len(plans)), window_plans(plans.values())
    for again in (0, 1, 3):
        keep(content, twins(plans), now_ms + again)
        kernels.ensure(0, kept.at, columns, now_ms + again)
        assert kept.bytes() == record.encode(content)
    for w, plan_ in enumerate(plans.values()):  # each has a place of its own for what comes
        windows.observe(plan_, content.windows[plan_.key], now_ms + w, now_ms, None, w)
        kernels.observe(0, kept.at, columns, w, now_ms + w, now_ms, *zone_of(None), w, 0)
    assert kept.bytes() == record.encode(content)


@pytest.mark.parametrize("kind", ["count", "sum"])
@pytest.mark.parametrize("since_zero", [False, True])
def test_a_window_that_is_not_kept(kind: str, since_zero: bool) -> None:
    for of in ADDED if kind == "sum" else (Type.INTEGER,):
        plan_ = WindowPlan("", 5, kind, of, "", 0, 7, since_zero)
        kept, columns = Kept(Record(bytes(8)), 0), window_plans([plan_])
        found = kernels.read(0, kept.at, columns, 0, 0, *zone_of(None))
        assert compare(plan_, found, windows.read(plan_, None, 0, None))
        assert kernels.observe(0, kept.at, columns, 0, 0, 0, *zone_of(None), 1, 0) == arena.LEFT


def test_what_no_kernel_knows_is_left() -> None:
    for kind, of in (("last", Type.INTEGERS), ("sum", Type.TIME), ("count", Type.NUMBER), ("most", Type.INTEGER)):
        plan_ = WindowPlan("", 5, kind, of, "", 0, 7, True)
        kept, columns = Kept(Record(bytes(8), windows={5: WindowState()}), 0), window_plans([plan_])
        assert kernels.read(0, kept.at, columns, 0, 0, *zone_of(None))[0] == kernels.UNKNOWN
        assert kernels.observe(0, kept.at, columns, 0, 0, 0, *zone_of(None), 1, 0) == arena.LEFT


def test_what_lies_outside_the_calendar_is_left() -> None:
    day_ms = 86_400_000
    for width_s, first, last in ((-1, -719_162, 2_932_896), (0, -(2**50) // day_ms + 1, 2**50 // day_ms)):
        plan_ = WindowPlan("", 5, "count", Type.INTEGER, "", width_s, 7, False)
        columns = window_plans([plan_])
        for day, fine in ((first, True), (first - 1, False), (last, True), (last + 1, False)):
            kept = Kept(Record(bytes(8), windows={5: WindowState(since_ms=day * day_ms + 1)}), 0)
            state, *_ = kernels.read(0, kept.at, columns, 0, day * day_ms, *zone_of(None))
            assert state == (kernels.INCOMPLETE if fine else kernels.UNKNOWN)
            done = kernels.observe(0, kept.at, columns, 0, day * day_ms, day * day_ms, *zone_of(None), 0, 0)
            assert done == (arena.FINE if fine else arena.LEFT)


@given(st.lists(st.floats(allow_nan=False), max_size=6))
@example([1e16, 1.0, 1.0, -1e16])
@example([1e308, 1e308, -1e308])
@settings(deadline=None)
def test_doubles_are_added_from_the_oldest_on(values: list[float]) -> None:
    plan_ = WindowPlan("", 5, "sum", Type.NUMBER, "", 0, 9, True)
    state = WindowState(True, list(range(len(values))), values)
    kept, columns = Kept(Record(bytes(8), windows={5: state}), 0), window_plans([plan_])
    found = kernels.read(0, kept.at, columns, 0, 8 * 86_400_000, *zone_of(None))
    added = windows.read(plan_, state, 8 * 86_400_000, None)
    total = 0.0
    for value in values:  # sum() of later Pythons is more exact
        total += value
    assert repr(added) == repr(total)
    assert compare(plan_, found, added)
