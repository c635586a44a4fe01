"""A client for faults: unary calls over one HTTP/2 connection, each with everything that came of it.

It tells a call that the server did not take (above the last stream of its GOAWAY, or REFUSED_STREAM) from one that was
lost, which no library does.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from google.rpc import error_details_pb2, status_pb2
from ngh2 import Configuration, Connection, ConnectionStateError, ErrorCode, Role, Setting
from ngh2.events import DataReceived, GoAwayReceived, ResponseReceived, StreamClosed, TrailersReceived

from engine.pb.tact.v1 import decision_pb2 as pb
from tests.transport.raw import message

OK, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 1, 4, 8
NOT_TAKEN, LOST = -1, -2  # beside the statuses of gRPC
DECIDE = "/tact.v1.DecisionService/Decide"
_LAST = (1 << 31) - 1  # of a GOAWAY that only gives notice
_WINDOW = 16 << 20
_lines: weakref.WeakSet[Line] = weakref.WeakSet()


@dataclass(slots=True)
class Answer:
    """What came of a call.

    `body`: of the first message, and all that followed. `details`: google.rpc.Status as it came, or nothing.
    `going`: it ended after the server had said that it goes.
    """

    status: int
    body: bytes = b""
    details: bytes = b""
    took_s: float = 0.0
    going: bool = False

    def retry_delay_ms(self) -> float | None:
        """The server's RetryInfo."""
        for detail in status_pb2.Status.FromString(self.details).details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                return info.retry_delay.ToTimedelta().total_seconds() * 1000
        return None


class Line(asyncio.Protocol):
    """One connection. `call` returns a future; cancelling that cancels the call at the server."""

    def __init__(self) -> None:
        self.going = False  # the server has said that it goes
        self.closed = asyncio.get_running_loop().create_future()
        self._h2 = Connection(Role.CLIENT, Configuration(auto_window_update=True, max_send_header_block_length=1 << 20))
        self._open: dict[int, tuple[asyncio.Future[Answer], Answer, float]] = {}
        self._last = _LAST
        self._due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection({Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: _WINDOW})
        self._h2.set_local_window_size(_WINDOW)
        self._flush()

    def call(
        self, body: bytes, path: str = DECIDE, timeout_ms: int | None = None, metadata: Any = ()
    ) -> asyncio.Future[Answer]:
        """Sends one request with the next write."""
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"faults"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *metadata,
        ]
        if timeout_ms is not None:
            fields.append((b"grpc-timeout", b"%dm" % timeout_ms))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self.going or self.closed.done():
            future.set_result(Answer(NOT_TAKEN))
            return future
        stream = self._h2.send_request(fields)
        self._h2.send_data(stream, message(body), end_stream=True)
        self._open[stream] = (future, Answer(LOST), time.perf_counter())
        future.add_done_callback(lambda f: self._cancel(stream) if f.cancelled() else None)
        self._flush_soon()
        return future

    def data_received(self, data: bytes) -> None:
        with suppress(ConnectionStateError):  # both sides have said that they end
            self._h2.receive_data(data)
        self._take()
        self._flush()

    def _take(self) -> None:
        for event in self._h2.events():
            if isinstance(event, GoAwayReceived):
                self.going, self._last = True, min(self._last, event.last_stream_id)
                continue
            stream = getattr(event, "stream_id", 0)
            if stream not in self._open:
                continue
            answer = self._open[stream][1]
            if isinstance(event, DataReceived):
                answer.body += event.data
            elif isinstance(event, ResponseReceived | TrailersReceived):
                found = dict(event.headers)
                answer.status = int(found.get(b"grpc-status", answer.status))
                packed = found.get(b"grpc-status-details-bin", b"")
                answer.details = base64.b64decode(packed + b"=" * (-len(packed) % 4))
            elif isinstance(event, StreamClosed):
                # By the server, or by libnghttp2: a GOAWAY came before the header had left.
                if event.error_code == ErrorCode.REFUSED_STREAM and answer.status == LOST:
                    answer.status = NOT_TAKEN
                self._end(stream)

    def connection_lost(self, error: Exception | None) -> None:
        for stream in list(self._open):
            self._end(stream)
        self.closed.set_result(None)

    def close(self) -> None:
        """Leaves."""
        self._transport.abort()

    def _end(self, stream: int) -> None:
        future, answer, began = self._open.pop(stream)
        if answer.status == LOST and stream > self._last:
            answer.status = NOT_TAKEN
        answer.took_s, answer.body, answer.going = time.perf_counter() - began, answer.body[5:], self.going
        if not future.done():
            future.set_result(answer)

    def _cancel(self, stream: int) -> None:
        if self._open.pop(stream, None) is not None and not self.closed.done():
            self._h2.reset_stream(stream, ErrorCode.CANCEL)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        if data := self._h2.data_to_send():
            self._transport.write(data)
        self._take()  # what could not be sent any more


async def connect(address: str, tls: ssl.SSLContext | None = None) -> Line:
    """A connection to HOST:PORT. Raises OSError."""
    host, _, port = address.rpartition(":")
    _, line = await asyncio.get_running_loop().create_connection(Line, host, int(port), ssl=tls)
    _lines.add(line)
    return line


def close_all() -> None:
    """Closes what is still open."""
    for line in list(_lines):
        line.close()


def event(number: int, customer: str = "") -> bytes:
    """A DecideRequest that the small rules send a message for."""
    made = pb.Event(event_id=f"e{number}", customer_id=customer or f"c{number % 5000}", type="deposit")
    return pb.DecideRequest(event=made).SerializeToString()


def belongs(body: bytes, number: int, customer: str = "") -> bool:
    """Whether a good answer is this event's and this customer's (I4)."""
    response = pb.DecideResponse.FromString(body)
    whose = (f"e{number}", customer or f"c{number % 5000}")
    return response.event_id == whose[0] and all((d.event_id, d.customer_id) == whose for d in response.decisions)
