"""A pipelined RESP2 connection for the hot path: any number of pipelines in flight on one socket.

Replies are matched to commands by order alone, so order is what this module guards: a caller that is
cancelled or runs out of time leaves its place in the queue, and its replies are dropped when they
come. What breaks the order (garbage, an unasked reply, silence) closes the connection and fails every
waiter. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import hiredis

from engine.errors import StoreUnavailable
from engine.state.address import Address, Kind

Part = bytes | str | int | float
Command = tuple[Part, ...]
Reply = Any  # bytes, int, None, list of these, or hiredis.ReplyError as a value

pack: Any = hiredis.pack_command  # its stub knows tuples of one part alone
_NOTHING = object()  # the reader's word for 'no whole reply yet'

_BACKOFF_FIRST_S = 0.02
_BACKOFF_LAST_S = 0.5
_PATIENCE_S = 0.1  # for a store that failed before: then calls fail, and the attempt goes on
_UNSENT_BYTES_MAX = 32 << 20  # beyond this the store is not reading: refused at once


def pack_all(commands: Sequence[Command]) -> bytes:
    """Many commands in one piece."""
    return b"".join(map(pack, commands))


async def within(replies: asyncio.Future[list[Reply]], seconds: float) -> list[Reply]:
    """What was sent for, as with `asyncio.timeout`, at a third of the price. Raises TimeoutError."""
    timer = asyncio.get_running_loop().call_later(seconds, _over, replies)
    try:
        return await replies
    finally:
        timer.cancel()


def _over(replies: asyncio.Future[list[Reply]]) -> None:
    if not replies.done():
        replies.set_exception(TimeoutError())


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
        self.silent = False  # it was given up for silence

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
        waiters, gets = self._waiters, self._reader.gets
        try:
            while (reply := gets()) is not _NOTHING:
                self._heard_at = self._loop.time()  # by whole replies: one that swallows all others is silence too
                if not waiters:
                    self.fail("it sent a reply that nobody asked for")
                    return
                waiter = waiters[0]
                replies, wanted = waiter.replies, waiter.wanted
                replies.append(reply)
                while len(replies) < wanted:
                    if (reply := gets()) is _NOTHING:
                        return
                    replies.append(reply)
                waiters.popleft()
                if not waiter.future.done():
                    waiter.future.set_result(replies)
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
            self.silent = True
            self.fail(f"no reply within {self._timeout_s:g} s")
        else:
            self._watch = self._loop.call_later(left_s, self._look)


class Connection:
    """A connection that comes back: made on first use, and again on the next use after it was lost.

    A failed attempt is followed by a pause (20 ms, doubling to 500 ms) in which every call fails at
    once; after it, or after silence, calls wait at most 100 ms for the next attempt, which goes on without
    them. `timeout_s` bounds an attempt, and the time without a whole reply while some are due; how long a
    caller waits for its own replies is the caller's (`asyncio.timeout`). Belongs to one event loop.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("node",)  # of addresses that it can reach

    def __init__(self, address: str | Address, timeout_s: float = 1.0) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        if self.address.kind not in self.kinds:
            raise ValueError(f"{self.address.kind}: this works on one node only, such as redis://HOST:PORT")
        self._timeout_s = timeout_s
        self._wire: Wire | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._retry_at = 0.0
        self._why = "not connected yet"
        self._closed = False
        self.made = 0  # how often it was connected: behind each time may be another store

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
            if self._wire is not None and self._wire.lost:
                self._why = self._wire.lost
            self._attempt = loop.create_task(self._connect())
        doubtful = self._pause_s or (self._wire is not None and self._wire.silent)
        # one attempt for all; a caller's cancel leaves it running
        await asyncio.wait((self._attempt,), timeout=_PATIENCE_S if doubtful else None)
        if not self.connected:
            raise StoreUnavailable(f"the store at {self.address} cannot be reached: {self._why}")

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Reply]]:
        """Writes the commands in one piece; their replies in order, error replies as values.

        Raises StoreUnavailable where nothing was sent. The future fails with StoreUnavailable where
        the connection is lost first; whether the commands were executed is then unknown.
        """
        return self.send_packed(pack_all(commands), len(commands))

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

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """See `Link`; here the same as `pipeline`. Raises StoreUnavailable."""
        return await self.pipeline(commands)

    def server_of(self, key: bytes) -> object:
        """See `Link`; here there is one."""
        return None

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
            self.made += 1
            self._pause_s = 0.0
        except (OSError, StoreUnavailable, TimeoutError) as e:
            self._why = str(e) or f"no answer within {self._timeout_s:g} s"
            self._pause_s = min(max(2 * self._pause_s, _BACKOFF_FIRST_S), _BACKOFF_LAST_S)
            self._retry_at = asyncio.get_running_loop().time() + self._pause_s
        finally:
            self._attempt = None

    async def _open(self) -> Wire:
        """A wire to a server that is ready. Raises OSError, StoreUnavailable."""
        return await self._dial(self.address, greeting(self.address))

    async def _dial(self, address: Address, commands: Sequence[Command]) -> Wire:
        loop = asyncio.get_running_loop()
        wire = Wire(self._timeout_s, str(address))
        if address.path:
            await loop.create_unix_connection(lambda: wire, address.path)
        else:
            await loop.create_connection(lambda: wire, *address.endpoints[0], ssl=address.context())
        try:
            for reply in await wire.send(pack_all(commands), len(commands)):
                if isinstance(reply, hiredis.ReplyError):
                    raise StoreUnavailable(str(reply))
        except BaseException:
            wire.fail("it was not ready")
            raise
        return wire


def greeting(address: Address) -> list[Command]:
    """What is sent first; PING shows whether the server is ready (it may be loading)."""
    commands: list[Command] = []
    if address.password:
        commands.append(("AUTH", *filter(None, (address.username, address.password))))
    if address.db:
        commands.append(("SELECT", address.db))
    return [*commands, ("PING",)]


async def connect(url: str, timeout: float = 1.0) -> Connection:
    """A connection that is ready. `timeout` is in seconds. Raises StoreUnavailable, ValueError."""
    connection = Connection(url, timeout)
    await connection.ready()
    return connection
