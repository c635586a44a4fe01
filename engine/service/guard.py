"""What every method has around it: the deadline, and errors as statuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from engine.errors import Unavailable
from engine.service.status import rpc_error
from engine.transport import Bidi, BidiHandler, Call, Unary, deadline_exceeded

Work = Callable[[bytes, Call], Coroutine[Any, Any, bytes]]
Observe = Callable[[str, float], None]


class Guard:
    """Wraps methods, and keeps the work that outlives its call until it has ended."""

    def __init__(self, observe: Observe | None = None) -> None:
        self._observe = observe
        self._running: set[asyncio.Task[bytes]] = set()

    def unary(self, path: str, work: Work) -> Unary:
        """A unary method: not started after its deadline, ended by it.

        Work whose caller is gone or out of time goes on to its own end: it may be between a
        reservation and its acknowledgement, where stopping it would lose the reply.
        """

        async def handler(payload: bytes, call: Call) -> bytes:
            began = time.monotonic()
            if call.deadline_s is not None and call.deadline_s <= began:
                raise deadline_exceeded(started=False)
            task = asyncio.ensure_future(work(payload, call))
            self._running.add(task)
            task.add_done_callback(self._ended)
            done, _ = await asyncio.wait((task,), timeout=None if call.deadline_s is None else call.deadline_s - began)
            if self._observe is not None:
                self._observe(path, time.monotonic() - began)
            if not done:
                raise deadline_exceeded(started=True)
            return _result(task)

        return Unary(path, handler)

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

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen here even where nobody waits any more


def _result(task: asyncio.Task[bytes]) -> bytes:
    try:
        return task.result()
    except asyncio.CancelledError as error:  # the loop is being torn down
        raise rpc_error(Unavailable("the server is going away")) from error
    except Exception as error:
        raise rpc_error(error) from error
