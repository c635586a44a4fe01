"""Windows: aggregates the engine keeps per customer from events. Pure functions over `WindowState`.

Buckets, by the span of the window (their boundaries are part of the window's meaning):

    up to 2 hours    one minute         bucket = seconds since 1970 // 60
    up to 2 days     fifteen minutes    bucket = seconds since 1970 // 900
    up to 90 days    the customer's own day (UTC where the zone is unknown)
    longer, months   the customer's own calendar month
    days_with        days, whatever the span (`Window.daily`)
    calendar         the running day, week (from Monday) or month; of days_with the days of it

A window of n buckets covers the running bucket and the n - 1 before it; the days of a calendar week or month are those
from its first day on.

What a state holds, by kind; `buckets` ascend:

    count, sum                   a value for each bucket in which there was an event
    minimum, maximum             likewise
    months_with, days_with       1 for each bucket in which there was an event
    last                         one entry: the time of the event, in ms, and the value
    distinct                     an entry for each of the DISTINCT_MAX values seen last: the latest bucket it was
                                 seen in, and the value: an integer itself, of a text 64 bits of its hash

The mean, and what has a condition `having`, are read from several states of the same buckets (`WindowPlan.parts`).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from engine.compiler.model import DISTINCT_MAX, Having, Window
from engine.compiler.nodes import Type
from engine.compiler.reference import Absent, Inputs, evaluate
from engine.compiler.written import BILLION, MONEY_MAX
from engine.identity import name_hash
from engine.state.model import WindowState
from engine.zones import local_date, local_day, local_month

UNUSED_KEPT_MS = 30 * 86_400_000  # two revisions may run side by side for this long
DAYS, MONTHS, WEEKS = 0, -1, -2  # as `width_s`
HISTORY = name_hash("history")  # no window: under this key are the events of the last day that were backfilled
TEXT_PERSON = b"tact-value"  # of the hash of a text
_INT_MAX = 2**63 - 1
_CALENDAR = {"day": DAYS, "week": WEEKS, "month": MONTHS}
_DAYS_OF = {"day": 1, "week": 7, "month": 31}  # at most
_THURSDAY = 3  # 1970-01-01 was one: days since the Monday before
_MISSING, _INCOMPLETE = Absent("DATA_MISSING"), Absent("WINDOW_INCOMPLETE")


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A window ready to be kept. `width_s`: seconds of a bucket, or DAYS, WEEKS, MONTHS of the customer's calendar.

    One with `parts` is not kept itself, but read from them.
    """

    name: str
    key: int
    kind: str
    type: Type
    event: str
    width_s: int
    buckets: int
    since_start_zero: bool
    parts: tuple[WindowPlan, ...] = ()
    having: Having | None = None
    begins: int = DAYS  # WEEKS, MONTHS: its days are those of the running one

    def oldest(self, now_ms: int, zone: str | None) -> int:
        """The first bucket that is covered now."""
        newest = self.bucket(now_ms, zone)
        if self.begins == WEEKS:
            return newest - (newest + _THURSDAY) % 7
        if self.begins == MONTHS:
            return newest - local_date(now_ms, zone).day + 1
        return newest - self.buckets + 1

    def bucket(self, at_ms: int, zone: str | None) -> int:
        """The number of the bucket that holds a moment."""
        if self.width_s > 0:
            return at_ms // (self.width_s * 1000)
        if self.width_s == MONTHS:
            return local_month(at_ms, zone)
        day = local_day(at_ms, zone)
        return day if self.width_s == DAYS else (day + _THURSDAY) // 7


def plan_window(window: Window) -> WindowPlan:
    """Bucket width and count of a declared window."""
    width_s, count = _buckets(window)
    return WindowPlan(
        window.name,
        name_hash("window:" + window.definition),
        window.kind,
        window.type,
        window.event,
        width_s,
        count,
        window.since_start_zero,
        tuple(plan_window(part) for part in window.parts),
        window.having,
        _CALENDAR[window.calendar] if window.daily and window.calendar is not None else DAYS,
    )


def _buckets(window: Window) -> tuple[int, int]:
    if window.calendar is not None:
        return (DAYS, _DAYS_OF[window.calendar]) if window.daily else (_CALENDAR[window.calendar], 1)
    if window.over is None:
        return 0, 0
    span = window.over.span_s
    if window.over.unit == "month":
        return MONTHS, window.over.amount
    if window.daily:
        return DAYS, -(-span // 86400)
    if span > 90 * 86400:
        return MONTHS, -(-span // (30 * 86400))
    if span > 2 * 86400:
        return DAYS, -(-span // 86400)
    width_s = 60 if span <= 7200 else 900
    return width_s, -(-span // width_s)


# ---- adding -------------------------------------------------------------------------------------


def observe(plan: WindowPlan, state: WindowState, at_ms: int, now_ms: int, zone: str | None, value: object) -> None:
    """Adds one event that happened at `at_ms`. Older than the window reaches: ignored.

    `value` is what the window aggregates; ignored by count, months_with and days_with.
    """
    if plan.kind == "last":
        if not state.buckets or at_ms >= state.buckets[0]:
            kept = float(value) if plan.type is Type.NUMBER else int(value)  # type: ignore[arg-type, call-overload]
            state.is_float = plan.type is Type.NUMBER
            state.buckets[:] = [at_ms]
            state.values[:] = [kept]
        return
    newest = plan.bucket(now_ms, zone)
    bucket = plan.bucket(at_ms, zone)
    if bucket <= newest - plan.buckets:
        return
    if plan.kind in ("minimum", "maximum") and value != value:  # not a number: neither the least nor the greatest
        return
    expired = bisect_left(state.buckets, newest - plan.buckets + 1)
    del state.buckets[:expired], state.values[:expired]
    if plan.kind == "distinct":
        _tell_apart(state, bucket, value_code(value))
        return
    i = bisect_left(state.buckets, bucket)
    first = i == len(state.buckets) or state.buckets[i] != bucket
    if first:
        state.buckets.insert(i, bucket)
        state.values.insert(i, 0)
    if plan.kind == "count":
        state.values[i] += 1
    elif plan.kind in ("months_with", "days_with"):
        state.values[i] = 1
    else:
        state.is_float = plan.type is Type.NUMBER
        if plan.kind == "sum":
            state.values[i] = _held(state.values[i] + value, plan.type)  # type: ignore[operator]
        elif first or (value < state.values[i] if plan.kind == "minimum" else value > state.values[i]):  # type: ignore[operator]
            state.values[i] = float(value) if state.is_float else int(value)  # type: ignore[arg-type, call-overload]


def _tell_apart(state: WindowState, bucket: int, code: int) -> None:
    """A value was seen; the one seen longest ago makes room.

    Whatever is dropped was last seen no later than DISTINCT_MAX others: while fewer lie within a window, none of
    its values was dropped.
    """
    if code in state.values:
        i = state.values.index(code)
        if state.buckets[i] >= bucket:
            return
        del state.buckets[i], state.values[i]
    i = bisect_left(state.buckets, bucket)
    state.buckets.insert(i, bucket)
    state.values.insert(i, code)
    if len(state.buckets) > DISTINCT_MAX:
        del state.buckets[0], state.values[0]


def value_code(value: object) -> int:
    """What `distinct` keeps of a value: an integer is itself, a text 64 bits of its hash."""
    return value if isinstance(value, int) else _text_code(value)


@lru_cache(maxsize=65536)
def _text_code(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=TEXT_PERSON).digest()
    return int.from_bytes(digest, "little", signed=True)


def from_history(windows: Mapping[int, WindowState], event: int) -> bool:
    """Whether an event (its hash) was counted already, from the customer's history."""
    state = windows.get(HISTORY)
    return state is not None and signed(event) in state.values


def signed(word: int) -> int:
    """64 bits as values are kept."""
    return word - (1 << 64) if word >= 1 << 63 else word


# ---- reading ------------------------------------------------------------------------------------


def complete(plan: WindowPlan, since_ms: int, now_ms: int, zone: str | None) -> bool:
    """Whether the window was kept for its whole span: from the begin of its oldest bucket on."""
    return plan.since_start_zero or plan.bucket(since_ms - 1, zone) < plan.oldest(now_ms, zone)


def value_of(plan: WindowPlan, windows: Mapping[int, WindowState], now_ms: int, zone: str | None) -> object:
    """The value now of a window that the rules name, as `read`; `windows` are the customer's, by key."""
    if not plan.parts:
        return read(plan, windows.get(plan.key), now_ms, zone)
    states = [windows.get(part.key) for part in plan.parts]
    absent = next((a for p, s in zip(plan.parts, states, strict=True) if (a := _unkept(p, s, now_ms, zone))), None)
    if absent is not None:
        return absent
    if plan.having is not None:
        return _chosen(plan, plan.having, states, now_ms, zone)
    total, count = (read(p, s, now_ms, zone) for p, s in zip(plan.parts, states, strict=True))
    return mean(plan.parts[0].type, total, count)  # type: ignore[arg-type]


def mean(kind: Type, total: float, count: int) -> object:
    """The mean of so many values of a type, as a number; of money in units of its currency."""
    if not count:
        return _MISSING
    return float(total) / (float(count) * BILLION if kind is Type.MONEY else float(count))


def read(plan: WindowPlan, state: WindowState | None, now_ms: int, zone: str | None) -> object:
    """The value now of a window that is stored, of its type, or Absent with the reason.

    Counts and sums are always present once complete; last, minimum and maximum are absent while empty.
    """
    if plan.kind == "last":
        if state is None or not state.buckets:
            return _MISSING
        if plan.type is Type.BOOL:
            return bool(state.values[0])
        return float(state.values[0]) if plan.type is Type.NUMBER else int(state.values[0])
    absent = _unkept(plan, state, now_ms, zone)
    if absent is not None:
        return absent
    gathered = [value for _, value in _within(plan, state, now_ms, zone)]
    if plan.kind in ("minimum", "maximum"):
        if not gathered:
            return _MISSING
        found = min(gathered) if plan.kind == "minimum" else max(gathered)
        return float(found) if plan.type is Type.NUMBER else int(found)
    if plan.kind in ("months_with", "days_with", "distinct"):
        return len(gathered)
    total: float = 0
    for value in gathered:  # not sum(): from Python 3.12 on it makes up for rounding, and kernels do not
        total += value
    return _held(total, plan.type)


def _unkept(plan: WindowPlan, state: WindowState | None, now_ms: int, zone: str | None) -> Absent | None:
    """Why a window says nothing, or None."""
    if state is None:
        return None if plan.since_start_zero else _INCOMPLETE
    return None if complete(plan, state.since_ms, now_ms, zone) else _INCOMPLETE


def _within(plan: WindowPlan, state: WindowState | None, now_ms: int, zone: str | None) -> Iterator[tuple[int, float]]:
    """Buckets and values that the window covers now."""
    if state is None:
        return iter(())
    first = bisect_left(state.buckets, plan.oldest(now_ms, zone))
    return zip(state.buckets[first:], state.values[first:], strict=True)


def _chosen(plan: WindowPlan, having: Having, states: list[WindowState | None], now_ms: int, zone: str | None) -> int:
    """How many of the buckets with an event fulfil the condition; where it is an error, it is not fulfilled."""
    parts = [dict(_within(p, s, now_ms, zone)) for p, s in zip(plan.parts, states, strict=True)]
    found = 0
    for bucket in parts[0]:
        values: dict[str, object] = {}
        for one in having.aggregates:
            values[one.path] = _aggregate(plan, one.kind, one.parts, [parts[p].get(bucket) for p in one.parts])
        found += evaluate(having.expression.node, Inputs(values, now_ms * 1_000_000, zone)) is True
    return found


def _aggregate(plan: WindowPlan, kind: str, parts: tuple[int, ...], held: list[float | None]) -> object:
    """An aggregate of one bucket's events."""
    of = plan.parts[parts[0]].type
    if kind == "mean":
        return mean(of, held[0] or 0, int(held[1] or 0))
    value = held[0]
    if value is None:
        return _MISSING if kind in ("minimum", "maximum") else _held(0, of)
    return float(value) if of is Type.NUMBER else int(value)


def _held(total: float, kind: Type) -> float:
    """A sum of integers or money stays within 64 bits of units: at the bound it says 'at least this much'."""
    if kind is Type.NUMBER:
        return float(total)
    bound = MONEY_MAX if kind is Type.MONEY else _INT_MAX
    return max(-bound, min(bound, int(total)))
