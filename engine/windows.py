"""Windows: aggregates the engine keeps per customer from events. Pure functions over `WindowState`.

Buckets, by the span of the window (their boundaries are part of the window's meaning):

    up to 2 hours    one minute         bucket = seconds since 1970 // 60
    up to 2 days     fifteen minutes    bucket = seconds since 1970 // 900
    up to 90 days    the customer's own day (UTC where the zone is unknown)
    longer, months   the customer's own calendar month

A window of n buckets covers the running bucket and the n - 1 before it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from engine.compiler.model import Window
from engine.compiler.nodes import Type
from engine.compiler.reference import Absent
from engine.compiler.written import MONEY_MAX
from engine.identity import name_hash
from engine.state.model import WindowState
from engine.zones import local_day, local_month

UNUSED_KEPT_MS = 30 * 86_400_000  # two revisions may run side by side for this long
_INT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A window ready to be kept. `width_s` 0: day buckets, -1: month buckets."""

    name: str
    key: int
    kind: str
    type: Type
    event: str
    width_s: int
    buckets: int
    since_start_zero: bool

    def bucket(self, at_ms: int, zone: str | None) -> int:
        """The number of the bucket that holds a moment."""
        if self.width_s > 0:
            return at_ms // (self.width_s * 1000)
        return local_day(at_ms, zone) if self.width_s == 0 else local_month(at_ms, zone)


def plan_window(window: Window) -> WindowPlan:
    """Bucket width and count of a declared window."""
    width_s, count = 0, 0
    if window.over is not None:
        span = window.over.span_s
        if window.over.unit == "month" or window.kind == "months_with" or span > 90 * 86400:
            months = window.over.amount if window.over.unit == "month" else -(-span // (30 * 86400))
            width_s, count = -1, months
        elif span > 2 * 86400:
            width_s, count = 0, -(-span // 86400)
        else:
            width_s = 60 if span <= 7200 else 900
            count = -(-span // width_s)
    return WindowPlan(
        window.name,
        name_hash("window:" + window.definition),
        window.kind,
        window.type,
        window.event,
        width_s,
        count,
        window.since_start_zero,
    )


def observe(plan: WindowPlan, state: WindowState, at_ms: int, now_ms: int, zone: str | None, value: object) -> None:
    """Adds one event that happened at `at_ms`. Older than the window reaches: ignored.

    `value` is the amount for sum, the value for last, ignored otherwise.
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
    expired = bisect_left(state.buckets, newest - plan.buckets + 1)
    del state.buckets[:expired], state.values[:expired]
    i = bisect_left(state.buckets, bucket)
    if i == len(state.buckets) or state.buckets[i] != bucket:
        state.buckets.insert(i, bucket)
        state.values.insert(i, 0)
    if plan.kind == "count":
        state.values[i] += 1
    elif plan.kind == "months_with":
        state.values[i] = 1
    else:
        state.is_float = plan.type is Type.NUMBER
        state.values[i] = _held(state.values[i] + value, plan.type)  # type: ignore[operator]


def complete(plan: WindowPlan, since_ms: int, now_ms: int, zone: str | None) -> bool:
    """Whether the window was kept for its whole span."""
    return plan.since_start_zero or plan.bucket(now_ms, zone) - plan.bucket(since_ms, zone) >= plan.buckets


def read(plan: WindowPlan, state: WindowState | None, now_ms: int, zone: str | None) -> object:
    """The window's value now, of its type, or Absent with the reason.

    Count and sum are always present once complete; last is absent while empty.
    """
    if plan.kind == "last":
        if state is None or not state.buckets:
            return Absent("DATA_MISSING")
        if plan.type is Type.BOOL:
            return bool(state.values[0])
        return float(state.values[0]) if plan.type is Type.NUMBER else int(state.values[0])
    if state is None:
        return 0 if plan.since_start_zero else Absent("WINDOW_INCOMPLETE")
    if not complete(plan, state.since_ms, now_ms, zone):
        return Absent("WINDOW_INCOMPLETE")
    oldest = plan.bucket(now_ms, zone) - plan.buckets + 1
    gathered = state.values[bisect_left(state.buckets, oldest) :]
    if plan.kind == "months_with":
        return len(gathered)
    total: float = 0
    for value in gathered:  # not sum(): from Python 3.12 on it makes up for rounding, and kernels do not
        total += value
    return _held(total, plan.type)


def _held(total: float, kind: Type) -> float:
    """A sum of integers or money stays within 64 bits of units: at the bound it says 'at least this much'."""
    if kind is Type.NUMBER:
        return float(total)
    bound = MONEY_MAX if kind is Type.MONEY else _INT_MAX
    return max(-bound, min(bound, int(total)))
