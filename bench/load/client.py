"""A gRPC client for load: unary calls of ready-made bytes over HTTP/2, as cheap as Python can."""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import Callable
from typing import cast

from ngh2 import (
    Configuration,
    Connection,
    DataReceived,
    ResponseReceived,
    Role,
    Setting,
    StreamClosed,
    StreamReset,
    TrailersReceived,
)

OK, UNAVAILABLE = 0, 14
_PREFIX = struct.Struct(">BI")
_WINDOW = 16 << 20

Done = Callable[[int, int, bytes], None]  # call number, gRPC status, answer


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
        self.closed = asyncio.get_running_loop().create_future()

    @property
    def open_calls(self) -> int:
        """Calls without an answer yet."""
        return len(self._calls)

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
        """Writes what is ready."""
        assert self._transport is not None
        data = self._connection.data_to_send()
        if data:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, DataReceived):
                stream = event.stream_id
                self._answers[stream] = self._answers.get(stream, b"") + event.data
            elif isinstance(event, TrailersReceived | ResponseReceived):
                for name, value in event.headers:
                    if name == b"grpc-status":
                        self._status[event.stream_id] = int(value)
            elif isinstance(event, StreamClosed | StreamReset):
                self._end(event.stream_id)
        self.flush()

    def _end(self, stream: int) -> None:
        number = self._calls.pop(stream, None)
        if number is not None:
            answer = self._answers.pop(stream, b"")[5:]
            self._done(number, self._status.pop(stream, UNAVAILABLE), answer)

    def connection_lost(self, error: Exception | None) -> None:
        for stream in list(self._calls):
            self._end(stream)
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(target: str, path: str, done: Done, tls: ssl.SSLContext | None, seconds: float = 5.0) -> Channel:
    """A channel to HOST:PORT. Raises OSError or TimeoutError."""
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    _, channel = await asyncio.wait_for(
        loop.create_connection(
            lambda: Channel(target, path, done, "https" if tls else "http"), host.strip("[]"), int(port), ssl=tls
        ),
        seconds,
    )
    return channel


def now_ns() -> int:
    """The clock of all latencies."""
    return time.perf_counter_ns()
