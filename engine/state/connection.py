"""A pipelined RESP2 connection for the hot path: any number of pipelines in flight on one socket.

Replies are matched to commands by order alone, so order is what this module guards: a caller that is
cancelled or runs out of time leaves its place in the queue, and its replies are dropped when they
come. What breaks the order (garbage, an unasked reply, silence) closes the connection and fails every
waiter. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from engine.errors import StoreUnavailable

Part = bytes | str | int | float
Command = tuple[Part, ...]
Reply = Any  # bytes, int, None, list of these, or hiredis.ReplyError as a value

_pack: Any = hiredis.pack_command  # its stub knows tuples of one part alone
_NOTHING = object()  # the reader's word for 'no whole reply yet'

_BACKOFF_FIRST_S = 0.02
_BACKOFF_LAST_S = 0.5
_UNSENT_BYTES_MAX = 32 << 20  # beyond this the store is not reading: refused at once


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is. `path` is a Unix socket's, else `host` and `port` hold."""

    host: str
    port: int
    path: str
    username: str
    password: str
    db: int
    tls: bool

    @staticmethod
    def parse(url: str) -> Address:
        """Reads redis://, rediss:// and unix:// addresses. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"a store's address begins with redis://, rediss:// or unix://, not {url!r}")
        unix = parts.scheme == "unix"
        db = parse_qs(parts.query).get("db", ["0" if unix else parts.path.strip("/") or "0"])[0]
        if not db.isdecimal():
            raise ValueError(f"the database of a store's address is a number, not {db!r}")
        return Address(
            parts.hostname or "localhost",
            parts.port or 6379,
            unquote(parts.path) if unix else "",
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            int(db),
            parts.scheme == "rediss",
        )

    def __str__(self) -> str:
        """For messages: no password."""
        return f"unix://{self.path}" if self.path else f"{self.host}:{self.port}"

    def greeting(self) -> list[Command]:
        """What is sent first; PING shows whether the server is ready (it may be loading)."""
        commands: list[Command] = []
        if self.password:
            commands.append(("AUTH", *filter(None, (self.username, self.password))))
        if self.db:
            commands.append(("SELECT", self.db))
        return [*commands, ("PING",)]


@dataclass(slots=True, eq=False)
class _Waiter:
    future: asyncio.Future[list[Reply]]
    wanted: int
    sent_at: float
    replies: list[Reply] = field(default_factory=list)


class Wire(asyncio.Protocol):
    """One socket and its queue of waiters. `send` takes so many commands as RESP; see `Connection.send`."""

    def __init__(self, timeout_s: float, where: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiters: deque[_Waiter] = deque()
        self._timeout_s = timeout_s
        self._where = where
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.lost: str | None = None  # why this wire is of no use any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def send(self, data: bytes, wanted: int) -> asyncio.Future[list[Reply]]:
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        transport = self._transport
        if self.lost is not None or transport is None:
            raise StoreUnavailable(f"the store at {self._where} is not connected: {self.lost}")
        if transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            raise StoreUnavailable(f"the store at {self._where} does not keep up")
        now = self._loop.time()
        self._waiters.append(_Waiter(future, wanted, now))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        transport.write(data)
        return future

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        waiters = self._waiters
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                self._heard_at = self._loop.time()  # by whole replies: one that swallows all others is silence too
                if not waiters:
                    self.fail("it sent a reply that nobody asked for")
                    return
                waiter = waiters[0]
                waiter.replies.append(reply)
                if len(waiter.replies) == waiter.wanted:
                    waiters.popleft()
                    if not waiter.future.done():
                        waiter.future.set_result(waiter.replies)
        except (hiredis.HiredisError, RecursionError, MemoryError) as e:
            self.fail(f"it sent what is no reply: {e}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(str(exc) if exc else "it closed the connection")

    def fail(self, why: str) -> None:
        """Closes at once and fails every waiter; the first reason stays."""
        if self.lost is not None:
            return
        self.lost = why
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiters:
            future = self._waiters.popleft().future
            if not future.done():
                future.set_exception(StoreUnavailable(f"the store at {self._where} was lost: {why}"))

    def _look(self) -> None:
        """Silence for longer than the time-out while somebody waits: a black hole or a stopped server."""
        self._watch = None
        if not self._waiters:
            return
        left_s = max(self._waiters[0].sent_at, self._heard_at) + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.fail(f"no reply within {self._timeout_s:g} s")
        else:
            self._watch = self._loop.call_later(left_s, self._look)


class Connection:
    """A connection that comes back: made on first use, and again on the next use after it was lost.

    A failed attempt is followed by a pause (20 ms, doubling to 500 ms) in which every call fails at
    once. `timeout_s` bounds an attempt, and the time without a whole reply while some are due; how long a
    caller waits for its own replies is the caller's (`asyncio.timeout`). Belongs to one event loop.
    """

    def __init__(self, url: str, timeout_s: float = 1.0) -> None:
        self.address = Address.parse(url)
        self._timeout_s = timeout_s
        self._wire: Wire | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._retry_at = 0.0
        self._why = "not connected yet"
        self._closed = False

    @property
    def connected(self) -> bool:
        return self._wire is not None and self._wire.lost is None

    async def ready(self) -> None:
        """Returns when connected. Raises StoreUnavailable, at once where the pause is not over."""
        if self._wire is not None and self._wire.lost is None:
            return
        if self._closed:
            raise StoreUnavailable(f"the connection to the store at {self.address} is closed")
        if self._attempt is None:
            loop = asyncio.get_running_loop()
            if loop.time() < self._retry_at:
                raise StoreUnavailable(f"the store at {self.address} cannot be reached: {self._why}")
            self._attempt = loop.create_task(self._connect())
        await asyncio.wait((self._attempt,))  # one attempt for all; a caller's cancel leaves it running
        if not self.connected:
            raise StoreUnavailable(f"the store at {self.address} cannot be reached: {self._why}")

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Reply]]:
        """Writes the commands in one piece; their replies in order, error replies as values.

        Raises StoreUnavailable where nothing was sent. The future fails with StoreUnavailable where
        the connection is lost first; whether the commands were executed is then unknown.
        """
        return self.send_packed(b"".join(map(_pack, commands)), len(commands))

    def send_packed(self, data: bytes, wanted: int) -> asyncio.Future[list[Reply]]:
        """The same for so many commands that are RESP already."""
        if self._wire is None or not wanted:
            raise StoreUnavailable(f"the store at {self.address} is not connected, or nothing is to be sent")
        return self._wire.send(data, wanted)

    @property
    def wire(self) -> Wire:
        """The socket as it is now: what one command leaves on the server holds there alone (WATCH).

        Raises StoreUnavailable.
        """
        if self._wire is None:
            raise StoreUnavailable(f"the store at {self.address} is not connected")
        return self._wire

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """`ready` and `send`, and waits for the replies. Raises StoreUnavailable."""
        if not commands:
            return []
        await self.ready()
        return await self.send(commands)

    def drop(self, why: str) -> None:
        """Closes what cannot be trusted any more, such as a reply of the wrong shape."""
        if self._wire is not None:
            self._wire.fail(why)

    async def close(self) -> None:
        """Fails all waiters and stays closed."""
        self._closed = True
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait((self._attempt,))
        self.drop("it was closed on this side")
        await asyncio.sleep(0)  # the transport closes its socket in the loop's next turn

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._wire = await self._open()
            self._pause_s = 0.0
        except (OSError, StoreUnavailable, TimeoutError) as e:
            self._why = str(e) or f"no answer within {self._timeout_s:g} s"
            self._pause_s = min(max(2 * self._pause_s, _BACKOFF_FIRST_S), _BACKOFF_LAST_S)
            self._retry_at = asyncio.get_running_loop().time() + self._pause_s
        finally:
            self._attempt = None

    async def _open(self) -> Wire:
        loop = asyncio.get_running_loop()
        a = self.address
        wire = Wire(self._timeout_s, str(a))
        if a.path:
            await loop.create_unix_connection(lambda: wire, a.path)
        else:
            tls = ssl.create_default_context() if a.tls else None
            await loop.create_connection(lambda: wire, a.host, a.port, ssl=tls)
        try:
            greeting = a.greeting()
            for reply in await wire.send(b"".join(map(_pack, greeting)), len(greeting)):
                if isinstance(reply, hiredis.ReplyError):
                    raise StoreUnavailable(str(reply))
        except BaseException:
            wire.fail("it was not ready")
            raise
        return wire


async def connect(url: str, timeout: float = 1.0) -> Connection:
    """A connection that is ready. `timeout` is in seconds. Raises StoreUnavailable, ValueError."""
    connection = Connection(url, timeout)
    await connection.ready()
    return connection
