"""The method table over HTTP/2 by libnghttp2 (`ngh2`), in our own event loop: the fast transport.

bytes -> connection.py (one socket: frames in, frames out, time) -> calls.py (its calls, by wire.py and
messages.py, gRPC's own part) -> handlers, and back. limits.py says what is taken from a peer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.transport import Method, cannot_listen
from engine.transport.http2.connection import Connection
from engine.transport.http2.deadlines import Deadlines
from engine.transport.http2.heads import Heads
from engine.transport.http2.limits import Limits
from engine.transport.http2.shared import Shared
from engine.transport.tls import Tls, ssl_context

__all__ = ["Http2Transport", "Limits"]

TICK_S = 1.0
_BACKLOG = 1024
_LAST_WORDS_S = 0.25  # after the grace: for UNAVAILABLE to leave, where the peer reads


class Http2Transport:
    """Serves `methods` at `host:port`; port 0 takes a free one. `clock` is read once per tick."""

    def __init__(
        self,
        methods: Sequence[Method],
        host: str,
        port: int,
        *,
        reuse_port: bool = False,
        tls: Tls | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._methods = {method.path.encode(): method for method in methods}
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._tls = tls
        self._limits = limits or Limits()
        self._clock = clock
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Binds and serves; returns HOST:PORT as bound. Raises OSError where it cannot bind."""
        loop = asyncio.get_running_loop()
        heads = Heads(self._methods, self._limits)
        self._shared = shared = Shared(heads, self._limits, loop, Deadlines(loop), self._clock())
        shared.idle.set()
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": ssl_context(self._tls), "ssl_handshake_timeout": self._limits.handshake_s}
        try:
            self._server = await loop.create_server(
                lambda: Connection(shared),
                self._host,
                self._port,
                reuse_port=self._reuse_port,
                backlog=_BACKLOG,
                **tls,
            )
        except OSError as error:
            raise cannot_listen(self._host, self._port) from error
        self._ticker = loop.call_later(TICK_S, self._tick_on)
        port = self._server.sockets[0].getsockname()[1]
        return f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing new, lets accepted calls finish for up to `grace_s`, then cuts them off.

        Connections are told to go (GOAWAY); calls that cross with that are still served.
        """
        if self._server is None:
            return
        shared = self._shared
        self._server.close()
        self._server = None
        for connection in list(shared.connections):
            connection.drain()
        if not await _within(shared.idle, grace_s):
            for connection in list(shared.connections):
                connection.give_up()
            await _within(shared.idle, _LAST_WORDS_S)
        self._ticker.cancel()
        for connection in list(shared.connections):
            connection.abort()
        await shared.idle.wait()

    def tick(self) -> None:
        """Reads the clock, and ends what has lasted too long. Runs by itself every second."""
        now_s = self._shared.now_s = self._clock()
        for connection in list(self._shared.connections):
            connection.tick(now_s)

    def _tick_on(self) -> None:
        self._ticker = self._shared.loop.call_later(TICK_S, self._tick_on)
        self.tick()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
