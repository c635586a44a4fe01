"""HTTP/2 by hand: frames as bytes, and a small client that shows everything it is sent."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from ngh2 import Configuration, Connection, Role
from ngh2.events import DataReceived, ResponseReceived, StreamClosed, StreamReset, TrailersReceived

from tests.transport.methods import SERVICE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11
WAIT_S = 20
Fields = Sequence[tuple[bytes, bytes]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def block(fields: Fields) -> bytes:
    """A header block of literals that are never indexed (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    left, out = len(text) - 127, bytearray([127])
    while left >= 128:
        out.append(left % 128 + 128)
        left //= 128
    return bytes(out) + bytes([left]) + text


def message(body: bytes, compressed: bool = False) -> bytes:
    """A gRPC message."""
    return struct.pack(">BI", compressed, len(body)) + body


def fields(
    method: str = "Echo", *more: tuple[bytes, bytes], verb: bytes = b"POST", content_type: bytes = b"application/grpc"
) -> list[tuple[bytes, bytes]]:
    """A request's header."""
    path = method if method.startswith("/") else SERVICE + method
    return [
        (b":method", verb),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", content_type),
        *more,
    ]


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a GOAWAY or RST_STREAM."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")


class Socket:
    """Bytes and frames over a connection."""

    def __init__(self, address: tuple[str, int], receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(WAIT_S)
        self._socket.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves."""
        self._socket.close()

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Begins TLS."""
        self._socket = context.wrap_socket(self._socket, server_hostname=name)

    def send(self, data: bytes) -> bool:
        """Sends; whether the peer still takes it."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def receive(self) -> bytes:
        """Some bytes; b"" at the end."""
        try:
            return self._socket.recv(1 << 16)
        except ConnectionError:
            return b""

    def rest(self) -> bytes:
        """Everything, until the peer closes."""
        return b"".join(iter(self.receive, b""))

    def hello(self, settings: bytes = b"") -> None:
        """The client's part of the beginning."""
        self.send(PREFACE + frame(SETTINGS, payload=settings))

    def frames(self) -> Iterator[Frame]:
        """Frames as they come, until the peer closes."""
        buffer = b""
        while True:
            while len(buffer) >= 9 and len(buffer) >= 9 + (size := int.from_bytes(buffer[:3], "big")):
                kind, flags, stream = struct.unpack(">BBI", buffer[3:9])
                yield Frame(kind, flags, stream, buffer[9 : 9 + size])
                buffer = buffer[9 + size :]
            if not (data := self.receive()):
                return
            buffer += data

    def until(self, kind: int, flags: int = 0) -> Frame:
        """The next frame of this kind; others are passed over."""
        return next(f for f in self.frames() if f.kind == kind and f.flags & flags == flags)

    def goaway(self) -> int:
        """Reads to the end; the code of the last GOAWAY."""
        return [f for f in self.frames() if f.kind == GOAWAY][-1].code


@dataclass
class Result:
    """What came back for one call."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    reset: int | None = None
    closed: bool = False

    @property
    def status(self) -> int | None:
        """The gRPC status, from wherever it stands."""
        found = self.trailers.get(b"grpc-status", self.headers.get(b"grpc-status"))
        return None if found is None else int(found)

    @property
    def text(self) -> str:
        """The gRPC message."""
        return self.trailers.get(b"grpc-message", self.headers.get(b"grpc-message", b"")).decode()


class Client(Socket):
    """A whole HTTP/2 client, by libnghttp2, that keeps all it is sent."""

    def __init__(
        self, address: tuple[str, int], settings: dict[int, int] | None = None, window_updates: bool = True
    ) -> None:
        super().__init__(address)
        self.h2 = Connection(Role.CLIENT, Configuration(auto_window_update=window_updates))
        self.h2.initiate_connection(settings or {})
        self.results: dict[int, Result] = {}
        self.events: list[Any] = []
        self.open = True
        self.flush()

    def flush(self) -> None:
        """Sends what is due."""
        if data := self.h2.data_to_send():
            self.send(data)
        self._take()

    def request(
        self, method: str = "Echo", body: bytes | None = None, *more: tuple[bytes, bytes], **changed: Any
    ) -> int:
        """Begins a call; with a body that is all of it. Returns the stream."""
        stream = self.h2.send_request(fields(method, *more, **changed))
        self.results[stream] = Result()
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def wait(self, done: Callable[[], bool]) -> None:
        """Reads until it is so, or the server closes."""
        while self.open and not done():
            data = self.receive()
            self.open = bool(data)
            if data:
                self.h2.receive_data(data)
                self._take()
                self.flush()

    def result(self, stream: int) -> Result:
        """The call's end."""
        result = self.results[stream]
        self.wait(lambda: result.closed)
        return result

    def call(
        self, method: str = "Echo", body: bytes = b"\0\0\0\0\0", *more: tuple[bytes, bytes], **changed: Any
    ) -> Result:
        """A whole call."""
        return self.result(self.request(method, body, *more, **changed))

    def saw(self, kind: type) -> list[Any]:
        """The events of this kind so far."""
        return [e for e in self.events if isinstance(e, kind)]

    def _take(self) -> None:
        for event in self.h2.events():
            self.events.append(event)
            result = self.results.get(getattr(event, "stream_id", 0))
            if result is None:
                continue
            if isinstance(event, ResponseReceived):
                result.headers = dict(event.headers)
            elif isinstance(event, DataReceived):
                result.body += event.data
            elif isinstance(event, TrailersReceived):
                result.trailers = dict(event.headers)
            elif isinstance(event, StreamReset):
                result.reset = event.error_code
            elif isinstance(event, StreamClosed):
                result.closed = True
