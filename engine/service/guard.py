"""What every method has around it: the deadline, and errors as statuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

from engine.errors import Unavailable
from engine.service.status import rpc_error
from engine.transport import (
    Bidi,
    BidiHandler,
    Call,
    Reply,
    RpcError,
    Unary,
    UnaryBegin,
    awaited,
    deadline_exceeded,
)

Work = Callable[[bytes, Call], Coroutine[Any, Any, bytes]]
Observe = Callable[[str, float], None]


class Guard:
    """Wraps methods, and keeps the work that outlives its call until it has ended."""

    def __init__(self, observe: Observe | None = None) -> None:
        self._observe = observe
        self._running: set[asyncio.Task[bytes]] = set()

    def unary(self, path: str, work: Work) -> Unary:
        """A unary method: not started after its deadline. Its carrier cancels the answer when that is over.

        Work whose caller is gone or out of time goes on to its own end: it may be between a
        reservation and its acknowledgement, where stopping it would lose the reply.
        """

        def handler(payload: bytes, call: Call) -> asyncio.Future[bytes]:
            began = time.monotonic()
            if call.deadline_s is not None and call.deadline_s <= began:
                raise deadline_exceeded(started=False)
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[bytes] = loop.create_future()
            task = loop.create_task(work(payload, call))
            self._running.add(task)
            task.add_done_callback(partial(self._ended, answer, path, began))
            return answer

        return Unary(path, handler)

    def direct(self, path: str, begin: UnaryBegin) -> Unary:
        """The same for work that needs no task: it keeps itself, and tells the reply by itself."""

        def handed(payload: bytes, call: Call, reply: Reply) -> None:
            if call.deadline_s is not None and call.deadline_s <= time.monotonic():
                raise deadline_exceeded(started=False)
            if self._observe is not None:
                reply = _Observed(reply, self._observe, path)
            try:
                begin(payload, call, reply)
            except Exception as error:
                raise rpc_error(error) from error

        return Unary(path, awaited(handed), begin=handed)

    def bidi(self, path: str, work: BidiHandler) -> Bidi:
        """A streaming method: errors become statuses."""

        async def handler(requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
            if (left := call.remaining_s()) is not None and left <= 0:
                raise deadline_exceeded(started=False)
            answers = work(requests, call)
            try:
                async for answer in answers:
                    yield answer
            except Exception as error:
                raise rpc_error(error) from error
            finally:
                await answers.aclose()  # type: ignore[attr-defined]

        return Bidi(path, handler)

    async def settle(self) -> None:
        """Waits for work that outlived its call."""
        while self._running:
            await asyncio.wait(set(self._running))

    def _ended(self, answer: asyncio.Future[bytes], path: str, began: float, task: asyncio.Task[bytes]) -> None:
        self._running.discard(task)
        if self._observe is not None:
            self._observe(path, time.monotonic() - began)
        error = Unavailable("the server is going away") if task.cancelled() else task.exception()
        if answer.done():  # nobody waits any more
            return
        if error is None:
            answer.set_result(task.result())
        else:
            answer.set_exception(rpc_error(error))


class _Observed:
    """A reply that says how long it took."""

    __slots__ = ("_began", "_observe", "_path", "_reply")

    def __init__(self, reply: Reply, observe: Observe, path: str) -> None:
        self._reply = reply
        self._observe = observe
        self._path = path
        self._began = time.monotonic()

    @property
    def ended(self) -> bool:
        return self._reply.ended

    def answer(self, body: bytes) -> None:
        self._observe(self._path, time.monotonic() - self._began)
        self._reply.answer(body)

    def fail(self, error: RpcError) -> None:
        self._observe(self._path, time.monotonic() - self._began)
        self._reply.fail(error)
