"""Deadlines of many short calls behind one timer.

A timer of its own costs a call 1 to 5 us; most calls end long before it. So near deadlines share slots
of 10 ms, and only far ones get a timer.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Protocol

SLOTS_PER_S = 100
_FAR_S = 60.0


class Waiter(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """The deadline is over."""
        ...


class Due(Protocol):
    """Where a deadline is kept."""

    def discard(self, waiter: Waiter, /) -> None:
        """Forgets the waiter's, where it is not over."""
        ...


class _Far:
    """A deadline with a timer of its own."""

    __slots__ = ("_timer",)

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self._timer = timer

    def discard(self, _: Waiter, /) -> None:
        self._timer.cancel()


class Deadlines:
    """Calls `expire` of each waiter at most 10 ms after its deadline, of `time.monotonic`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Waiter]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0

    def add(self, waiter: Waiter, deadline_s: float, now_s: float) -> Due:
        """Remembers the waiter, and says where. A deadline already over expires with the next slot."""
        if deadline_s - now_s > _FAR_S:
            return _Far(self._loop.call_later(deadline_s - now_s, waiter.expire))
        slot = int(deadline_s * SLOTS_PER_S) + 1
        waiters = self._slots.get(slot)
        if waiters is None:
            self._slots[slot] = waiters = set()
            heapq.heappush(self._order, slot)
            if self._timer is None or slot < self._armed:
                self._arm(slot, now_s)
        waiters.add(waiter)
        return waiters

    def _arm(self, slot: int, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = slot
        self._timer = self._loop.call_later(max(0.0, slot / SLOTS_PER_S - now_s), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        while self._order and self._order[0] <= now_s * SLOTS_PER_S:
            waiters = self._slots.pop(heapq.heappop(self._order))
            while waiters:
                waiters.pop().expire()
        if self._order and self._timer is None:
            self._arm(self._order[0], now_s)
