"""One call on a connection: what came of its request, what runs for it, and whether it has been answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from engine.transport import Bidi, Call, Unary
from engine.transport.http2.messages import PREFIX, Message, Reader, unpack

if TYPE_CHECKING:
    from engine.transport.http2.calls import Calls


class Stream:
    """A call. `ended`: answered to its end; `gone`: HTTP/2 has forgotten it, nothing can be sent any more."""

    __slots__ = (
        "answering",
        "call",
        "calls",
        "cancel_deadline",
        "complete",
        "ended",
        "gone",
        "gzip",
        "held",
        "method",
        "number",
        "opened_s",
        "reader",
        "reply_gzip",
        "request",
        "requests",
        "stalled_s",
        "unsent",
        "work",
    )

    def __init__(self, calls: Calls, number: int, opened_s: float) -> None:
        self.calls = calls
        self.number = number
        self.opened_s = opened_s
        self.method: Unary | Bidi | None = None  # None: refused
        self.call = Call()
        self.gzip = False  # the caller's messages
        self.reply_gzip = False
        self.reader: Reader | None = None
        self.request: Message | None = None  # of a unary call, once it is whole
        self.requests: Requests | None = None  # of a streaming call
        self.complete = False  # the caller has sent everything
        self.answering = False  # the response's headers are out
        self.ended = False
        self.gone = False
        self.held = 0  # bytes counted against the limits of what is buffered
        self.unsent = 0  # bytes of the answer left, when last looked at
        self.stalled_s: float | None = None  # since when `unsent` has not become less
        self.work: asyncio.Future[bytes] | asyncio.Task[None] | None = None
        self.cancel_deadline: Callable[[], None] | None = None

    def expire(self) -> None:
        """The deadline is over."""
        self.calls.expire(self)

    def let_go(self) -> None:
        """Nothing more is done for this call: its work is cancelled, its request dropped."""
        if self.cancel_deadline is not None:
            self.cancel_deadline()
            self.cancel_deadline = None
        if self.requests is not None:
            self.requests.drop()
        if self.work is not None and not self.work.done() and self.work is not asyncio.current_task():
            self.work.cancel()
        self.reader = self.request = None


class Requests(AsyncIterator[bytes]):
    """What a streaming handler reads. The caller may send more as messages are taken from here."""

    def __init__(self, stream: Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._waiting: deque[tuple[Message, int]] = deque()  # with the bytes that taking it lets the caller send
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Message, unacknowledged: int) -> None:
        """A message has come; `unacknowledged` bytes of it still count against the caller's window."""
        self._waiting.append((message, unacknowledged))
        self._wake()

    def end(self) -> None:
        """The caller sends no more."""
        self._ended = True
        self._wake()

    def drop(self) -> None:
        """Nobody will read: what is here is given up."""
        if self._waiting:
            self._stream.calls.acknowledge(self._stream.number, sum(size for _, size in self._waiting))
            self._waiting.clear()
        self.end()

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message, unacknowledged = self._waiting.popleft()
        stream = self._stream
        stream.calls.held.release(stream, PREFIX.size + len(message.body))
        stream.calls.acknowledge(stream.number, unacknowledged)
        return unpack(message, stream.gzip, self._limit)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
