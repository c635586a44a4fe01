"""One call on a connection: what came of its request, what runs for it, and whether it has been answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from engine.transport import Call, RpcError
from engine.transport.http2.deadlines import Due
from engine.transport.http2.heads import Head
from engine.transport.http2.messages import PREFIX, Message, Reader, unpack

if TYPE_CHECKING:
    from engine.transport.http2.calls import Calls


class Stream(Call):
    """A call, as its handler sees it and as the end of its work is told (`engine.transport.Reply`).

    `ended`: answered to its end, or HTTP/2 has forgotten it: nothing more can be sent.
    """

    __slots__ = (
        "answering",
        "begun",
        "calls",
        "complete",
        "due",
        "ended",
        "head",
        "held",
        "number",
        "opened_s",
        "packed",
        "reader",
        "request",
        "requests",
        "stalled_s",
        "unsent",
        "work",
    )

    def __init__(self, calls: Calls, number: int, opened_s: float, complete: bool, peer: str) -> None:
        self.deadline_s = None
        self.metadata = ()
        self.peer = peer
        self.calls = calls
        self.number = number
        self.opened_s = opened_s
        self.complete = complete  # the caller has sent everything
        self.head: Head | None = None  # None: refused
        self.due: Due | None = None
        self.reader: Reader | None = None
        self.request: bytes | None = None  # of a unary call, once it is whole
        self.packed = False  # the request is compressed
        self.requests: Requests | None = None  # of a streaming call
        self.begun = False  # its handler has it
        self.answering = False  # the response's headers are out
        self.ended = False
        self.held = 0  # bytes counted against the limits of what is buffered
        self.unsent = 0  # at most so many bytes of the answer were left when last looked at
        self.stalled_s: float | None = None  # since when `unsent` has not become less
        self.work: asyncio.Future[bytes] | asyncio.Task[None] | None = None

    def answer(self, body: bytes) -> None:
        if not self.ended:
            self.calls.answer(self, body)

    def fail(self, error: RpcError) -> None:
        self.calls.fail(self, error)

    def expire(self) -> None:
        """The deadline is over."""
        self.calls.expire(self)

    def let_go(self) -> None:
        """Nothing more is done for this call: its work is cancelled, its request dropped."""
        if self.due is not None:
            self.due.discard(self)
            self.due = None
        if self.requests is not None:
            self.requests.drop()
        work = self.work
        if work is not None and not work.done() and work is not asyncio.current_task():
            work.cancel()
        self.reader = self.request = None


class Requests(AsyncIterator[bytes]):
    """What a streaming handler reads. The caller may send more as messages are taken from here."""

    def __init__(self, stream: Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._waiting: deque[tuple[Message, int]] = deque()  # with the bytes that taking it lets the caller send
        self._taken = 0  # bytes held of the last message, until the handler comes for the next
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
        held, stream = self._stream.calls.held, self._stream
        held.release(stream, self._taken)
        self._taken = 0
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message, unacknowledged = self._waiting.popleft()
        self._taken = PREFIX.size + len(message.body)
        stream.calls.acknowledge(stream.number, unacknowledged)
        body = unpack(message, stream.head is not None and stream.head.gzip, self._limit)
        if message.compressed:
            self._taken += len(body)
            held.hold(stream, len(body))
        return body

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
