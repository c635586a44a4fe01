"""Bounds the work in flight, and shares it out among connections.

What is above a bound is refused at once, with a delay to retry after; what is admitted waits for its turn in front of
the pipeline, where connections take turns, so that a batch of thousands is not in the way of single calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from engine.errors import Overloaded
from engine.service.fairness import Pace, Turns
from engine.transport import Call, deadline_exceeded

WINDOW = 1024  # items inside the pipeline: it never runs dry, and nobody's turn is further away
QUEUE_S = 0.25  # of work may wait: longer queues only make answers late
_ALWAYS = 16  # items of one connection that are no matter of shares
_DELAY_MAX_MS = 2000

Waiting = asyncio.Future[None]


class Limiter:
    """At most `capacity` items (events, reports, profiles) at once, `window` of them inside the pipeline.

    A connection (`Call.peer`) with `held` items is refused more where these are its share: what the pipeline does in
    QUEUE_S (a window at least), divided by the connections that have items here. So the wait of what is admitted stays
    short whatever comes, and a newcomer always finds room. What counts is what is ahead: a batch goes in whole.
    """

    def __init__(
        self,
        capacity: int,
        retry_delay_ms: int = 100,
        window: int = WINDOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.in_flight = 0  # waiting for their turn, or inside
        self._retry_delay_ms = retry_delay_ms
        self._window = window
        self._clock = clock
        self._inside = 0
        self._held: dict[str, int] = {}
        self._turns: Turns[tuple[float | None, Waiting]] = Turns()
        self._pace = Pace()

    def turn(self, call: Call, items: int = 1, patient: bool = False) -> _Turn:
        """`async with`: holds `items` places, and waits for their turn. `patient`: its caller is held up by other
        means (a stream's flow control), so shares do not matter.

        Raises Overloaded, and RpcError where the call's deadline passes before its turn.
        """
        return _Turn(self, call, items, patient)

    @contextmanager
    def take(self, items: int = 1) -> Iterator[None]:
        """Holds `items` places meanwhile, of no connection's share and without a turn. Raises Overloaded."""
        self._check(items)
        self.in_flight += items
        try:
            yield
        finally:
            self.in_flight -= items

    def enter(self, call: Call, items: int = 1, patient: bool = False) -> Waiting | None:
        """Holds `items` places, as `turn` does; ends with `leave`, also where waiting failed.

        None: go on at once. A future: go on when it is done; it fails where the deadline passed before. Raises
        Overloaded, and then nothing is held; a batch larger than all fits an idle server.
        """
        held = self._held.get(call.peer, 0)
        self._check(items)
        if not patient and held >= _ALWAYS and held >= (share := self._share()):
            raise self._refusal(f"this connection has {held} items in flight, its share is {share}")
        self.in_flight += items
        self._held[call.peer] = held + items
        if not self._turns and self._fits(items):
            self._let(items)
            return None
        waiting: Waiting = asyncio.get_running_loop().create_future()
        self._turns.put(call.peer, items, (call.deadline_s, waiting))
        return waiting

    def leave(self, call: Call, items: int, waiting: Waiting | None) -> None:
        """Gives back what `enter`, which returned `waiting`, held."""
        self.in_flight -= items
        left = self._held[call.peer] - items
        if left:
            self._held[call.peer] = left
        else:
            del self._held[call.peer]
        if waiting is None or (waiting.done() and not waiting.cancelled() and waiting.exception() is None):
            self._inside -= items
            self._pace.done(items, self._clock(), not self._inside)
        else:
            waiting.cancel()  # where it had not failed: its entry is passed over
        if self._turns:
            self._let_in()

    def _check(self, items: int) -> None:
        if self.in_flight and self.in_flight + items > self.capacity:
            raise self._refusal(f"{self.in_flight} items are in flight, at most {self.capacity} are taken")

    def _share(self) -> int:
        queue = min(self.capacity // 2, int(self._pace.per_s * QUEUE_S))
        return max(self._window, queue) // max(1, len(self._held))

    def _refusal(self, what: str) -> Overloaded:
        delay_ms = self._retry_delay_ms
        if self._pace.per_s:
            delay_ms = max(delay_ms, min(_DELAY_MAX_MS, int(1000 * self.in_flight / self._pace.per_s)))
        return Overloaded(what, delay_ms)

    def _fits(self, items: int) -> bool:
        return not self._inside or self._inside + items <= self._window

    def _let(self, items: int) -> None:
        if not self._inside:
            self._pace.start(self._clock())
        self._inside += items

    def _let_in(self) -> None:
        while self._turns:
            _, items, (deadline_s, waiting) = self._turns.next()
            if not waiting.done():
                if deadline_s is not None and deadline_s <= self._clock():
                    waiting.set_exception(deadline_exceeded(started=False))  # nobody waits for it: it is not looked at
                elif self._fits(items):
                    self._let(items)
                    waiting.set_result(None)
                else:
                    return
            self._turns.pop()


class _Turn:
    __slots__ = ("_call", "_items", "_limiter", "_patient", "_waiting")

    def __init__(self, limiter: Limiter, call: Call, items: int, patient: bool) -> None:
        self._limiter = limiter
        self._call = call
        self._items = items
        self._patient = patient
        self._waiting: Waiting | None = None

    async def __aenter__(self) -> None:
        self._waiting = waiting = self._limiter.enter(self._call, self._items, self._patient)
        if waiting is not None:
            try:
                await waiting
            except BaseException:
                self._limiter.leave(self._call, self._items, waiting)
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._limiter.leave(self._call, self._items, self._waiting)
