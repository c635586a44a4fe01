"""A gRPC client for load: unary calls of ready-made bytes over HTTP/2, as cheap as Python can."""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from ngh2 import (
    Configuration,
    Connection,
    DataReceived,
    GoAwayReceived,
    NGH2Error,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
)

OK, RESOURCE_EXHAUSTED, UNAVAILABLE = 0, 8, 14
_PREFIX = struct.Struct(">BI")
_WINDOW = 16 << 20
_CLOSE_S = 1.0

Done = Callable[[int, int, bytes], None]  # call number, gRPC status, answer


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls go. `name`: whom the server's certificate must be of, where that is not the host's name."""

    address: str  # HOST:PORT
    tls: ssl.SSLContext | None = None
    name: str | None = None


class Channel(asyncio.Protocol):
    """One connection. `done` is told of every call that ends, within `data_received`."""

    def __init__(self, authority: str, path: str, done: Done, scheme: str = "http") -> None:
        self._headers = [
            (b":method", b"POST"),
            (b":scheme", scheme.encode()),
            (b":path", path.encode()),
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"tact-bench"),
        ]
        self._done = done
        self._calls: dict[int, int] = {}  # stream -> call number
        self._status: dict[int, int] = {}
        self._answers: dict[int, bytes] = {}
        self._connection = Connection(Role.CLIENT, Configuration(auto_window_update=True))
        self._transport: asyncio.Transport | None = None
        self.usable = True  # until the server closes it or says that it will
        self.replaced = False  # another is being opened in its place
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = loop.create_future()  # whether the server has greeted
        self._gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._connection.initiate_connection({Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: _WINDOW})
        self._connection.set_local_window_size(_WINDOW)
        self.flush()

    def send(self, number: int, body: bytes) -> None:
        """Begins a call; `flush` sends what was begun."""
        stream = self._connection.send_request(self._headers)
        self._connection.send_data(stream, _PREFIX.pack(0, len(body)) + body, end_stream=True)
        self._calls[stream] = number

    def flush(self) -> None:
        """Writes what is ready; ends the calls of a connection that is gone."""
        assert self._transport is not None
        if self._transport.is_closing():
            for stream in list(self._calls):
                self._end(stream)
            return
        data = self._connection.data_to_send()
        if data:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            self._connection.receive_data(data)
        except NGH2Error:
            assert self._transport is not None
            self._transport.abort()
            return
        answers = self._answers
        events: Iterable[Any] = self._connection.events()
        for event in events:
            kind = type(event)
            if kind is DataReceived:
                stream = event.stream_id
                answers[stream] = answers[stream] + event.data if stream in answers else event.data
            elif kind is TrailersReceived or kind is ResponseReceived:
                for name, value in event.headers:
                    if name == b"grpc-status":
                        self._status[event.stream_id] = int(value)
            elif kind is StreamClosed or kind is StreamReset:
                self._end(event.stream_id)
            elif kind is GoAwayReceived:
                self.usable = False
            elif kind is SettingsReceived and not self.ready.done():
                self.ready.set_result(True)
        self.flush()

    def _end(self, stream: int) -> None:
        number = self._calls.pop(stream, None)
        if number is not None:
            answer = self._answers.pop(stream, b"")[5:]
            self._done(number, self._status.pop(stream, UNAVAILABLE), answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        for stream in list(self._calls):
            self._end(stream)
        if not self.ready.done():
            self.ready.set_result(False)
        self._gone.set_result(None)

    async def close(self) -> None:
        """Ends the connection in good order, as TLS asks for it, or after a second without."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()
            try:
                await asyncio.wait_for(asyncio.shield(self._gone), _CLOSE_S)
            except TimeoutError:
                self._transport.abort()


async def connect(target: Target, path: str, done: Done, seconds: float = 5.0) -> Channel:
    """A channel for calls of `path`. Raises OSError or TimeoutError."""
    host, _, port = target.address.rpartition(":")
    host = host.strip("[]")
    name = (target.name or host) if target.tls else None
    scheme = "https" if target.tls else "http"
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        _, channel = await loop.create_connection(
            lambda: Channel(target.address, path, done, scheme), host, int(port), ssl=target.tls, server_hostname=name
        )
        # with TLS 1.3 a client whose certificate was refused hears of it only now
        if not await channel.ready:
            raise ConnectionError("the server closed the connection at once")
    return channel


async def call(target: Target, path: str, body: bytes) -> bytes:
    """The answer of one call. Raises OSError where it fails."""
    ended: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
    channel = await connect(target, path, lambda _, status, answer: ended.set_result((status, answer)))
    channel.send(0, body)
    channel.flush()
    status, answer = await ended
    await channel.close()
    if status != OK:
        raise OSError(f"{path} ended with status {status}")
    return answer


def now_ns() -> int:
    """The clock of all latencies."""
    return time.perf_counter_ns()
