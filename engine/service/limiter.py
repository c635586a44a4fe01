"""Bounds the work in flight, and shares it out among connections.

What is above a bound is refused at once, with a delay to retry after; what is admitted waits for its turn in front of
the pipeline, where connections take turns, so that a batch of thousands is not in the way of single calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType

from engine.errors import Overloaded
from engine.service.fairness import Pace, Turns
from engine.service.status import rpc_error
from engine.transport import Call, RpcError, deadline_exceeded

WINDOW = 4096  # items inside the pipeline, at most
WINDOW_MIN = 256  # at least: one batch of the pipeline
QUEUE_S = 0.25  # of work may be inside, and as much of a connection wait: longer queues only make answers late
QUEUE_MAX_S = 2.0  # of a connection, where its call has time: it waits at most for a quarter of what is left
_ALWAYS = 64  # items of one connection that are no matter of shares: what a client with a few threads has
_DELAY_MAX_MS, _DELAY_STEP_MS = 2000, 50

Waiting = asyncio.Future[None]


class Limiter:
    """At most `capacity` items (events, reports, profiles) at once, and inside the pipeline what it does in QUEUE_S.

    A connection (`Call.peer`) is refused more where it holds its share: what the pipeline does in QUEUE_S, or in a
    quarter of the call's time where that is more, divided by the connections that have items here. So the wait of what
    is admitted stays short whatever comes, and a newcomer always finds room. What counts is what is ahead: a batch goes
    in whole.
    """

    def __init__(
        self,
        capacity: int,
        retry_delay_ms: int = 100,
        window: tuple[int, int] = (WINDOW_MIN, WINDOW),
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

    def gate(self, call: Call) -> RpcError | None:
        """Whether `enter` would refuse the call, before anything else is done for it: as transports ask."""
        held = self._held.get(call.peer, 0)
        if self.in_flight < self.capacity and (held < _ALWAYS or held < self._share(call)):
            return None
        return _refused(-(-self._delay_ms() // _DELAY_STEP_MS) * _DELAY_STEP_MS)

    def enter(self, call: Call, items: int = 1, patient: bool = False) -> Waiting | None:
        """Holds `items` places, as `turn` does; ends with `leave`, also where waiting failed.

        A call without items has one place. None: go on at once. A future: go on when it is done; it fails where the
        deadline passed before. Raises Overloaded, and then nothing is held; a batch larger than all fits an idle
        server.
        """
        items = max(1, items)
        held = self._held.get(call.peer, 0)
        self._check(items)
        if not patient and held >= _ALWAYS and held >= (share := self._share(call)):
            raise self._refusal(f"this connection has {held} items in flight, its share is {share}")
        self.in_flight += items
        self._held[call.peer] = held + items
        if not self._turns and self._fits():
            self._let(items)
            return None
        waiting: Waiting = asyncio.get_running_loop().create_future()
        self._turns.put(call.peer, items, (call.deadline_s, waiting))
        return waiting

    def leave(self, call: Call, items: int, waiting: Waiting | None) -> None:
        """Gives back what `enter`, which returned `waiting`, held."""
        items = max(1, items)
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

    def _share(self, call: Call) -> int:
        left_s = 4 * QUEUE_MAX_S if call.deadline_s is None else call.deadline_s - self._clock()
        queue_s = min(QUEUE_MAX_S, max(QUEUE_S, left_s / 4))
        queue = min(self.capacity // 2, int(self._pace.per_s * queue_s))
        return max(self._window[0], queue) // max(1, len(self._held))

    def _ahead(self) -> int:
        """How many items may be ahead of one that begins."""
        low, high = self._window
        return max(low, min(high, int(self._pace.per_s * QUEUE_S)))

    def _refusal(self, what: str) -> Overloaded:
        return Overloaded(what, self._delay_ms())

    def _delay_ms(self) -> int:
        """How long what is in flight will take."""
        if not self._pace.per_s:
            return self._retry_delay_ms
        return max(self._retry_delay_ms, min(_DELAY_MAX_MS, int(1000 * self.in_flight / self._pace.per_s)))

    def _fits(self) -> bool:
        return self._inside < self._window[0] or self._inside < self._ahead()

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
                elif self._fits():
                    self._let(items)
                    waiting.set_result(None)
                else:
                    return
            self._turns.pop()


@lru_cache
def _refused(delay_ms: int) -> RpcError:
    return rpc_error(Overloaded("more is in flight than this connection's share of what can be done now", delay_ms))


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
