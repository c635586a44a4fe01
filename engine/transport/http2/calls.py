"""The calls of one connection: from header and body to a handler, and from its answer to frames."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ngh2 import Connection as Session
from ngh2 import ErrorCode, NGH2Error

from engine.transport import Bidi, Code, RpcError, Unary, cancelled, deadline_exceeded, error_info, going_away
from engine.transport.http2.heads import TIMEOUT, Head, NotGrpc
from engine.transport.http2.held import Held
from engine.transport.http2.messages import PREFIX, Message, Reader, pack, unpack
from engine.transport.http2.shared import Shared
from engine.transport.http2.stream import Requests, Stream
from engine.transport.http2.wire import (
    OK,
    RESPONSE,
    RESPONSE_GZIP,
    Headers,
    cardinality,
    status_headers,
    timeout_s,
)

logger = logging.getLogger(__name__)

_PACK_ABOVE = 512  # smaller answers do not gain from gzip
_prefix = PREFIX.pack


class Calls:
    """`flush_soon` is called whenever there may be something to send."""

    def __init__(self, session: Session, shared: Shared, flush_soon: Callable[[], None]) -> None:
        self._h2 = session
        self._shared = shared
        self._limits = shared.limits
        self._flush_soon = flush_soon
        self._streams: dict[int, Stream] = {}
        self._early: list[int] = []  # answered before the caller had sent everything
        self._writers: dict[int, asyncio.Future[None]] = {}  # streaming handlers that wait for room
        self._running = 0  # handlers under way, those of streams that are gone included
        self.held = Held(shared)
        self.peer = ""
        self.last = 0  # the newest stream
        self.answered = 0  # answers since somebody set this to 0
        self._timeout_at = 1 << 30  # the field of a header that is its timeout, as far as known

    def __len__(self) -> int:
        """How many calls are under way."""
        return len(self._streams)

    # ---- requests ---------------------------------------------------------------------------------

    def open(self, number: int, headers: Headers, complete: bool) -> None:
        """A call's header has come; `complete`: and nothing else will."""
        self.last = number
        shared = self._shared
        stream = self._streams[number] = Stream(self, number, shared.now_s, complete, self.peer)
        if self._running >= 2 * self._limits.streams:  # HTTP/2 forgets streams that were reset; their work may go on
            self.reset(stream, ErrorCode.REFUSED_STREAM)
            return
        timeout, at = None, self._timeout_at
        if at < len(headers) and headers[at][0] == TIMEOUT:
            timeout, headers = headers[at][1], headers[:at] + headers[at + 1 :]
        try:
            head = shared.heads.known.get(headers)
            if head is None:
                headers, timeout = self._without_timeout(headers, timeout)
                head = shared.heads.read(headers, timeout)
            self._begin(stream, head, timeout)
        except RpcError as error:
            self.fail(stream, error)
        except NotGrpc as error:
            self._respond(stream, [(b":status", error.status)])

    def _without_timeout(self, headers: Headers, timeout: bytes | None) -> tuple[Headers, bytes | None]:
        """A header's timeout apart, which will stand where it stands here in the headers to come."""
        for at, (name, value) in enumerate(headers):
            if name == TIMEOUT:
                timeout, self._timeout_at = value, at
        return tuple([field for field in headers if field[0] != TIMEOUT]), timeout

    def _begin(self, stream: Stream, head: Head, timeout: bytes | None) -> None:
        stream.head = head
        stream.metadata = head.metadata
        if timeout is not None:
            now_s = time.monotonic()
            stream.deadline_s = deadline_s = now_s + timeout_s(timeout)
            stream.due = self._shared.deadlines.add(stream, deadline_s, now_s)
        method = head.method
        if isinstance(method, Bidi):
            self._begin_bidi(stream, method)
        elif method.gate is not None and (refusal := method.gate(stream)) is not None:
            self.fail(stream, refusal)
        elif stream.complete:
            raise cardinality(0)

    def data(self, number: int, data: bytes, complete: bool, ready: list[Stream]) -> None:
        """A part of a call's body. Unary calls that are whole with it are added to `ready`."""
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            self.acknowledge(number, len(data))
            return
        reader = stream.reader
        if stream.requests is None:
            self.acknowledge(number, len(data))
            if complete and reader is None and len(data) >= 5 and data[:5] == _prefix(0, len(data) - 5):
                stream.request = data[5:]  # as nearly all do: one frame, one message
                stream.complete = True
                ready.append(stream)
                return
        if reader is None:
            reader = stream.reader = Reader(self._limits.message_bytes)
        try:
            if stream.requests is None:
                self._unary_data(stream, reader, data)
            else:
                self._bidi_data(stream, stream.requests, reader, data)
        except RpcError as error:
            self.fail(stream, error)
        if complete:
            self.complete(number, ready)

    def _unary_data(self, stream: Stream, reader: Reader, data: bytes) -> None:
        self.held.hold(stream, len(data))
        for message in reader.feed(data):
            if stream.request is not None:
                raise cardinality(2)
            stream.packed, stream.request = message

    def _bidi_data(self, stream: Stream, requests: Requests, reader: Reader, data: bytes) -> None:
        # Bytes of a message that is not whole must not fill the window: it might never become whole.
        # So they are acknowledged as they come, and those of whole messages as these are read.
        acknowledged, left = reader.partial, len(data)
        try:
            self.held.hold(stream, len(data))
            for message in reader.feed(data):
                size = PREFIX.size + len(message.body) - acknowledged
                requests.put(message, size)
                left -= size
                acknowledged = 0
        finally:
            self.acknowledge(stream.number, left)

    def complete(self, number: int, ready: list[Stream]) -> None:
        """The caller has sent everything."""
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return
        stream.complete = True
        if stream.reader is not None and stream.reader.partial:
            self.fail(stream, RpcError(Code.INTERNAL, "the request ends inside a message"))
        elif stream.requests is not None:
            stream.requests.end()
        elif stream.request is None:
            self.fail(stream, cardinality(0))
        else:
            ready.append(stream)

    def acknowledge(self, number: int, size: int) -> None:
        """Lets the caller send as many bytes more."""
        if size > 0:
            try:
                self._h2.acknowledge_received_data(size, number)
            except NGH2Error:  # the session is over
                return
            self._flush_soon()

    # ---- handlers ---------------------------------------------------------------------------------

    def begin(self, ready: list[Stream]) -> None:
        """Hands unary calls over, together: batches form on their own."""
        for stream in ready:
            if not stream.ended:
                try:
                    self._begin_unary(stream)
                except RpcError as error:
                    self.fail(stream, error)
                except Exception as error:
                    self._broken(stream, error)

    def _begin_unary(self, stream: Stream) -> None:
        head, request = stream.head, stream.request
        assert head is not None
        assert request is not None
        stream.request = stream.reader = None
        if stream.packed:
            request = unpack(Message(True, request), head.gzip, self._limits.message_bytes)
            self.held.hold(stream, len(request))
        method = head.method
        assert isinstance(method, Unary)
        stream.begun = True
        if method.begin is not None:
            method.begin(request, stream, stream)
            return
        work = stream.work = asyncio.ensure_future(method.handler(request, stream))
        self._running += 1
        if work.done():
            self._unary_done(stream, work)
        else:
            work.add_done_callback(partial(self._unary_done, stream))

    def _unary_done(self, stream: Stream, work: asyncio.Future[bytes]) -> None:
        self._running -= 1
        error = None if work.cancelled() else work.exception()  # looked at also where nobody waits any more
        if stream.ended:
            return
        if work.cancelled():
            self.fail(stream, cancelled())
        elif error is None:
            self.answer(stream, work.result())
        elif isinstance(error, RpcError):
            self.fail(stream, error)
        else:
            self._broken(stream, error)

    def answer(self, stream: Stream, body: bytes) -> None:
        """The one answer of a unary call that has not ended."""
        h2, number = self._h2, stream.number
        fields: Headers = RESPONSE
        if len(body) > _PACK_ABOVE and stream.head is not None and stream.head.reply_gzip:
            fields, body = RESPONSE_GZIP, pack(body, gzip=True)
        else:
            body = _prefix(0, len(body)) + body
        try:
            h2.send_response(number, fields)
            h2.send_data(number, body)
            h2.send_trailers(number, OK)
        except NGH2Error:  # reset meanwhile
            return
        self._end(stream, len(body))

    def _begin_bidi(self, stream: Stream, method: Bidi) -> None:
        stream.begun = True
        stream.requests = Requests(stream, self._limits.message_bytes)
        if stream.complete:
            stream.requests.end()
        self._running += 1
        stream.work = asyncio.ensure_future(self._run_bidi(stream, stream.requests, method))
        stream.work.add_done_callback(self._bidi_done)

    def _bidi_done(self, work: asyncio.Future[Any]) -> None:
        self._running -= 1
        if not work.cancelled() and work.exception() is not None:
            logger.error("a stream failed", exc_info=work.exception())

    async def _run_bidi(self, stream: Stream, requests: Requests, method: Bidi) -> None:
        answers = method.handler(requests, stream)
        try:
            async for body in answers:
                await self._send(stream, body)
            self._send_head(stream)
            self._h2.send_trailers(stream.number, OK)
            self._end(stream)
        except RpcError as error:
            self.fail(stream, error)
        except NGH2Error:  # ended or reset meanwhile
            return
        except asyncio.CancelledError:
            self.fail(stream, cancelled())
        except Exception as error:
            self._broken(stream, error)
        finally:
            await answers.aclose()  # type: ignore[attr-defined]

    def _send_head(self, stream: Stream) -> None:
        if not stream.answering:
            stream.answering = True
            self._h2.send_response(stream.number, RESPONSE_GZIP if self._packs(stream) else RESPONSE)

    def _packs(self, stream: Stream) -> bool:
        return stream.head is not None and stream.head.reply_gzip

    async def _send(self, stream: Stream, body: bytes) -> None:
        """Sends one answer; waits where the caller does not read."""
        self._send_head(stream)
        self._h2.send_data(stream.number, pack(body, self._packs(stream) and len(body) > _PACK_ABOVE))
        self.answered += 1
        self._flush_soon()
        if self._h2.queued_body_size(stream.number) > self._limits.stream_unsent_bytes:
            self._stalling(stream)
            self._writers[stream.number] = room = asyncio.get_running_loop().create_future()
            await room
            stream.stalled_s = None

    # ---- how calls end ----------------------------------------------------------------------------

    def fail(self, stream: Stream, error: RpcError) -> None:
        """Ends a call with this status, unless it has ended."""
        if stream.ended:
            return
        fields = status_headers(error)
        if stream.answering:
            try:
                self._h2.send_trailers(stream.number, fields)
            except NGH2Error:  # reset meanwhile
                return
            self._end(stream)
        else:
            self._respond(stream, [*RESPONSE, *fields])

    def _respond(self, stream: Stream, fields: list[tuple[bytes, bytes]]) -> None:
        """Ends a call with a header and nothing else."""
        try:
            self._h2.send_response(stream.number, fields, end_stream=True)
        except NGH2Error:  # reset meanwhile
            return
        self._end(stream, 0)

    def expire(self, stream: Stream) -> None:
        """The call's deadline is over."""
        self.fail(stream, deadline_exceeded(started=stream.begun))

    def fail_all(self) -> None:
        """What has not ended ends now: UNAVAILABLE."""
        for stream in list(self._streams.values()):
            self.fail(stream, going_away())

    def _broken(self, stream: Stream, error: BaseException) -> None:
        path = stream.head.method.path if stream.head is not None else ""
        logger.error("the handler of %s broke its promise to raise RpcError only", path, exc_info=error)
        self.fail(stream, RpcError(Code.INTERNAL, "internal error"))

    def _end(self, stream: Stream, unsent: int | None = None) -> None:
        """`unsent`: how many bytes of the answer there are at most, where that is known."""
        stream.ended = True
        stream.let_go()
        if stream.held:
            self.held.release(stream, stream.held)
        self.answered += 1
        if not stream.complete:
            self._early.append(stream.number)
        self._stalling(stream, unsent)
        self._flush_soon()

    def _stalling(self, stream: Stream, unsent: int | None = None) -> None:
        stream.unsent = self._h2.queued_body_size(stream.number) if unsent is None else unsent
        stream.stalled_s = self._shared.now_s

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Ends a call without a word."""
        stream.ended = True
        stream.let_go()
        self.held.release(stream, stream.held)
        self._reset(stream.number, code)

    def _reset(self, number: int, code: ErrorCode) -> None:
        try:
            self._h2.reset_stream(number, code)
        except NGH2Error:  # the session is over
            return
        self._flush_soon()

    def closed(self, number: int) -> None:
        """HTTP/2 has forgotten the stream."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if not stream.ended or stream.work is not None:
            stream.ended = True
            stream.let_go()
            self.held.release(stream, stream.held)
        if not self._writers:
            return
        writer = self._writers.pop(number, None)
        if writer is not None:
            writer.cancel()

    def closed_all(self) -> None:
        """The connection is gone."""
        for number in list(self._streams):
            self.closed(number)

    # ---- after a write, and with time -------------------------------------------------------------

    def settle(self) -> None:
        """After all that could go is out: resets what was answered early, wakes writers that have room again."""
        h2 = self._h2
        if self._early:
            early, self._early = self._early, []
            for number in early:
                if h2.queued_body_size(number):
                    self._early.append(number)
                elif number in self._streams:
                    self._reset(number, ErrorCode.NO_ERROR)  # what the caller still sends is not wanted
        if self._writers:
            half = self._limits.stream_unsent_bytes // 2
            for number in [n for n in self._writers if h2.queued_body_size(n) <= half]:
                room = self._writers.pop(number)
                if not room.done():
                    room.set_result(None)

    def tick(self, now_s: float) -> None:
        """Ends calls whose caller does not read, or does not come to an end."""
        limits = self._limits
        for stream in list(self._streams.values()):
            if stream.stalled_s is not None:
                unsent = self._h2.queued_body_size(stream.number)
                if unsent < stream.unsent:
                    stream.unsent, stream.stalled_s = unsent, now_s
                elif now_s - stream.stalled_s > limits.stall_s:
                    self.reset(stream, ErrorCode.CANCEL)
            elif not stream.complete and stream.requests is None and now_s - stream.opened_s > limits.request_s:
                what = f"the request was not here to its end within {limits.request_s:g} s"
                self.fail(stream, RpcError(Code.DEADLINE_EXCEEDED, what, [error_info("DEADLINE_EXCEEDED")]))
