"""One HTTP/2 connection: bytes to calls and answers to bytes, by libnghttp2 inside an asyncio protocol.

All unary calls that arrive together are handed over in one turn of the loop, and all answers of a turn
leave in one write: batches form on their own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from typing import Any

from ngh2 import Configuration, ConnectionProtocolError, DenialOfServiceError, ErrorCode, NGH2Error, Role, Setting
from ngh2 import Connection as Session
from ngh2.events import (
    ConnectionClosed,
    DataReceived,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    SettingsReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

from engine.transport import Bidi, Call, Code, RpcError, Unary, deadline_exceeded, error_info, going_away
from engine.transport.http2.credit import Credit
from engine.transport.http2.messages import PREFIX, Message, Reader, pack, unpack
from engine.transport.http2.shared import Shared
from engine.transport.http2.stream import Requests, Stream
from engine.transport.http2.wire import (
    OK,
    RESPONSE,
    RESPONSE_GZIP,
    Headers,
    Metadata,
    header_size,
    status_headers,
    timeout_s,
)

logger = logging.getLogger(__name__)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REFUSAL_TEXT = b"This port speaks gRPC, over HTTP/2 only.\n"
_REFUSAL = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(_REFUSAL_TEXT), _REFUSAL_TEXT)
)
_CHUNK = 256 << 10  # bytes per write; more is framed only once that is on its way
_PACK_ABOVE = 512  # smaller answers do not gain from gzip
_KEEPALIVE, _DRAIN = b"tactlive", b"tactstop"  # what our PINGs carry
_DRAIN_S = 1.0  # for the peer to answer the drain's PING
_NO_RESET_LIMIT = (1 << 40, 1 << 40)  # ours counts resets against answered calls


class Connection(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._limits = limits = shared.limits
        self._h2 = Session(
            Role.SERVER,
            Configuration(
                auto_window_update=False,
                max_inbound_header_list_size=limits.header_bytes_hard,
                max_inbound_header_count=limits.header_fields_hard,
                stream_reset_rate_limit=_NO_RESET_LIMIT,
            ),
        )
        self._streams: dict[int, Stream] = {}
        self._early: list[int] = []  # answered before the caller had sent everything
        self._writers: dict[int, asyncio.Future[None]] = {}  # streaming handlers that wait for room
        self._running = 0  # handlers under way, those of streams that are gone included
        self._held = 0
        self._last = 0  # the newest stream
        self._credit = Credit(limits.control_burst, limits.control_per_s, shared.now_s)
        self._first = b""  # until the preface is whole
        self._greeted = False
        self._receiving = False
        self._flush_due = False
        self._paused_s: float | None = None
        self._closing_s: float | None = None
        self._drain_s: float | None = None
        self._last_said = False  # the final GOAWAY
        self._made_s = self._heard_s = self._active_s = shared.now_s
        self._pinged_s: float | None = None
        self._age_s = limits.age_s * random.uniform(0.9, 1.1)

    # ---- asyncio's side ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        shared = self._shared
        shared.connections.add(self)
        shared.idle.clear()
        self._peer = _peer(transport.get_extra_info("peername"))
        transport.set_write_buffer_limits(_CHUNK)  # type: ignore[attr-defined]
        if len(shared.connections) > self._limits.connections:
            self._abort("there are too many connections")
            return
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._refuse("its TLS handshake did not ask for h2 (ALPN)")

    def data_received(self, data: bytes) -> None:
        if self._closing_s is not None:
            return
        self._heard_s = self._shared.now_s
        if not self._greeted:
            data = self._greet(data)
        if not data:
            return
        self._receiving = True
        try:
            self._h2.receive_data(data)
            self._take(self._h2.events())
        except DenialOfServiceError as error:
            self._cut(ErrorCode.ENHANCE_YOUR_CALM, str(error))
        except ConnectionProtocolError as error:
            self._cut(ErrorCode.PROTOCOL_ERROR, str(error))
        except NGH2Error as error:
            logger.exception("%s: HTTP/2 failed", self._peer)
            self._cut(ErrorCode.INTERNAL_ERROR, str(error))
        finally:
            self._receiving = False
        self._flush()

    def pause_writing(self) -> None:
        self._paused_s = self._shared.now_s

    def resume_writing(self) -> None:
        self._paused_s = None
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing_s = self._shared.now_s
        for stream in list(self._streams.values()):
            self._forget(stream)
        self._streams.clear()
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.idle.set()

    # ---- the beginning ----------------------------------------------------------------------------

    def _greet(self, data: bytes) -> bytes:
        """Waits for the client's preface; returns what may be read as HTTP/2."""
        self._first += data
        if self._first[: len(_PREFACE)] != _PREFACE[: len(self._first)]:
            self._refuse("it does not speak HTTP/2")
            return b""
        if len(self._first) < len(_PREFACE):
            return b""
        self._greeted = True
        limits = self._limits
        self._h2.initiate_connection(
            {
                Setting.MAX_CONCURRENT_STREAMS: limits.streams,
                Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
                Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
                Setting.ENABLE_PUSH: 0,
            }
        )
        # What a connection holds is bounded by what its streams may send; its own window never closes.
        self._h2.set_local_window_size(max(1 << 30, limits.stream_window * limits.streams))
        data, self._first = self._first, b""
        return data

    def _refuse(self, why: str) -> None:
        """Says in HTTP/1.1 what is spoken here: to a client that speaks something else, or garbage."""
        logger.info("%s: refused, %s", self._peer, why)
        if not self._first or self._first[:1].isalpha():
            self._transport.write(_REFUSAL)
        self._close()

    # ---- what came --------------------------------------------------------------------------------

    def _take(self, events: list[Any]) -> None:
        """Takes what happened; unary calls that are whole begin together, after everything else."""
        ready: list[Stream] = []
        control = 0
        for event in events:
            kind = type(event)
            if kind is DataReceived:
                stream = self._streams.get(event.stream_id)
                if stream is None or stream.ended:
                    self.acknowledge(event.stream_id, len(event.data))
                elif stream.requests is None:
                    self._unary_data(stream, event.data, event.end_stream, ready)
                else:
                    self._bidi_data(stream, stream.requests, event.data, event.end_stream)
                if not event.data and not event.end_stream:
                    control += 1
            elif kind is RequestReceived:
                self._open(event.stream_id, event.headers, event.end_stream)
            elif kind is StreamClosed:
                closed = self._streams.pop(event.stream_id, None)
                if closed is not None:
                    self._forget(closed)
            elif kind is TrailersReceived:
                stream = self._streams.get(event.stream_id)
                if stream is not None and not stream.ended:
                    self._requested(stream, ready)
            elif kind is PingAcknowledged:
                if event.opaque_data == _DRAIN:
                    self._say_last()
            elif kind is ConnectionClosed:
                self._close()
            elif kind in (StreamReset, PingReceived, SettingsReceived, WindowUpdated):
                control += 1
        if control and not self._credit.spend(control, self._shared.now_s):
            self._cut(ErrorCode.ENHANCE_YOUR_CALM, "too many pings, resets or empty frames")
            return
        for stream in ready:
            if not stream.gone and not stream.ended:
                self._begin_unary(stream)

    def _open(self, number: int, headers: Headers, complete: bool) -> None:
        shared = self._shared
        self._last = number
        self._active_s = shared.now_s
        stream = self._streams[number] = Stream(self, number, shared.now_s)
        if self._running >= 2 * self._limits.streams:  # HTTP/2 counts no streams that were reset; their work may go on
            self._reset(stream, ErrorCode.REFUSED_STREAM)
            return
        if header_size(headers) > self._limits.header_bytes or len(headers) > self._limits.header_fields:
            limits = self._limits
            what = f"metadata: at most {limits.header_bytes} bytes and {limits.header_fields} fields are taken"
            self.fail(stream, RpcError(Code.RESOURCE_EXHAUSTED, what, [error_info("METADATA_TOO_LARGE")]))
            return
        fields = dict(headers)
        kind = fields.get(b"content-type", b"")
        if kind != b"application/grpc" and not kind.startswith((b"application/grpc+", b"application/grpc;")):
            self._fail_http(stream, b"415")
            return
        if fields[b":method"] != b"POST":
            self._fail_http(stream, b"405")
            return
        method = shared.methods.get(fields[b":path"])
        if method is None:
            what = f"no method {fields[b':path'].decode('latin-1')} is served"
            self.fail(stream, RpcError(Code.UNIMPLEMENTED, what, [error_info("UNIMPLEMENTED")]))
            return
        encoding = fields.get(b"grpc-encoding", b"identity")
        if encoding != b"identity":
            if encoding != b"gzip":
                what = f"grpc-encoding: found '{encoding.decode('latin-1')}', expected identity or gzip"
                self.fail(stream, RpcError(Code.UNIMPLEMENTED, what, [error_info("UNIMPLEMENTED")]))
                return
            stream.gzip = True
            stream.reply_gzip = b"gzip" in fields.get(b"grpc-accept-encoding", b"")
        stream.method = method
        stream.call = call = Call(None, Metadata(headers), self._peer)
        timeout = fields.get(b"grpc-timeout")
        if timeout is not None:
            try:
                now_s = time.monotonic()
                call.deadline_s = now_s + timeout_s(timeout)
            except RpcError as error:
                self.fail(stream, error)
                return
            shared.deadlines.add(stream, call.deadline_s, now_s)
        if isinstance(method, Bidi):
            self._begin_bidi(stream, method)
            if complete and stream.requests is not None:
                stream.complete = True
                stream.requests.end()
        elif complete:
            self._cardinality(stream, 0)

    def _unary_data(self, stream: Stream, data: bytes, complete: bool, ready: list[Stream]) -> None:
        self.acknowledge(stream.number, len(data))
        if complete and stream.reader is None and data[:5] == PREFIX.pack(0, max(0, len(data) - PREFIX.size)):
            stream.request = Message(False, data[PREFIX.size :])  # as nearly all do: one frame, one message
            stream.complete = True
            ready.append(stream)
            return
        if stream.reader is None:
            stream.reader = Reader(self._limits.message_bytes)
        if not self._hold(stream, len(data)):
            return
        try:
            for message in stream.reader.feed(data):
                if stream.request is not None:
                    self._cardinality(stream, 2)
                    return
                stream.request = message
        except RpcError as error:
            self.fail(stream, error)
            return
        if complete:
            self._requested(stream, ready)

    def _bidi_data(self, stream: Stream, requests: Requests, data: bytes, complete: bool) -> None:
        reader = stream.reader
        if reader is None:
            reader = stream.reader = Reader(self._limits.message_bytes)
        if not self._hold(stream, len(data)):
            self.acknowledge(stream.number, len(data))
            return
        # Bytes of a message that is not whole must not fill the window: it might never become whole.
        # So they are acknowledged as they come, and those of whole messages as these are read.
        acknowledged, left = reader.partial, len(data)
        try:
            for message in reader.feed(data):
                size = PREFIX.size + len(message.body) - acknowledged
                requests.put(message, size)
                left -= size
                acknowledged = 0
        except RpcError as error:
            self.fail(stream, error)
        self.acknowledge(stream.number, left)
        if complete and not stream.ended:
            self._requested(stream, [])

    def _requested(self, stream: Stream, ready: list[Stream]) -> None:
        """The caller has sent everything."""
        stream.complete = True
        if stream.reader is not None and stream.reader.partial:
            self.fail(stream, RpcError(Code.INTERNAL, "the request ends inside a message"))
        elif stream.requests is not None:
            stream.requests.end()
        elif stream.request is None:
            self._cardinality(stream, 0)
        else:
            ready.append(stream)

    def _cardinality(self, stream: Stream, found: int) -> None:
        what = f"a unary call with {found or 'no'} messages: expected one"
        self.fail(stream, RpcError(Code.UNIMPLEMENTED, what, [error_info("UNIMPLEMENTED")]))

    # ---- what is held -----------------------------------------------------------------------------

    def _hold(self, stream: Stream, size: int) -> bool:
        """Counts bytes that stay here; ends the call where there are too many."""
        stream.held += size
        self._held += size
        self._shared.held += size
        if self._held <= self._limits.buffered_bytes and self._shared.held <= self._limits.buffered_bytes_all:
            return True
        what = "too many bytes of requests are under way"
        self.fail(stream, RpcError(Code.RESOURCE_EXHAUSTED, what, [error_info("OVERLOADED")]))
        return False

    def release(self, stream: Stream, size: int) -> None:
        """These bytes are here no more."""
        size = min(size, stream.held)
        stream.held -= size
        self._held -= size
        self._shared.held -= size

    def acknowledge(self, number: int, size: int) -> None:
        """Lets the caller send as many bytes more."""
        if size > 0 and self._closing_s is None:
            try:
                self._h2.acknowledge_received_data(size, number)
            except NGH2Error:
                return
            self._flush_soon()

    def _forget(self, stream: Stream) -> None:
        """The stream is gone."""
        stream.gone = True
        stream.let_go()
        self.release(stream, stream.held)
        writer = self._writers.pop(stream.number, None)
        if writer is not None:
            writer.cancel()

    # ---- calls ------------------------------------------------------------------------------------

    def _begin_unary(self, stream: Stream) -> None:
        assert isinstance(stream.method, Unary)
        assert stream.request is not None
        request, stream.request, stream.reader = stream.request, None, None
        try:
            if request.compressed:
                body = unpack(request, stream.gzip, self._limits.message_bytes)
                if not self._hold(stream, len(body)):
                    return
            else:
                body = request.body
            work = asyncio.ensure_future(stream.method.handler(body, stream.call))
        except RpcError as error:
            self.fail(stream, error)
            return
        except Exception as error:
            self._broken(stream, error)
            return
        self._running += 1
        stream.work = work
        if work.done():
            self._unary_done(stream, work)
        else:
            work.add_done_callback(partial(self._unary_done, stream))

    def _unary_done(self, stream: Stream, work: asyncio.Future[bytes]) -> None:
        self._running -= 1
        if work.cancelled():
            if not stream.ended and not stream.gone:
                self.fail(stream, RpcError(Code.CANCELLED, "the call was cancelled"))
            return
        error = work.exception()  # looked at also where nobody waits any more
        if stream.ended or stream.gone:
            return
        if error is None:
            self._answer(stream, work.result())
        elif isinstance(error, RpcError):
            self.fail(stream, error)
        else:
            self._broken(stream, error)

    def _answer(self, stream: Stream, body: bytes) -> None:
        """The one answer of a unary call."""
        h2, number = self._h2, stream.number
        gzip = stream.reply_gzip and len(body) > _PACK_ABOVE
        try:
            h2.send_response(number, RESPONSE_GZIP if gzip else RESPONSE)
            h2.send_data(number, pack(body, gzip))
            h2.send_trailers(number, OK)
        except NGH2Error:  # reset meanwhile
            return
        self._end(stream)

    def _begin_bidi(self, stream: Stream, method: Bidi) -> None:
        stream.requests = Requests(stream, self._limits.message_bytes)
        self._running += 1
        stream.work = asyncio.ensure_future(self._run_bidi(stream, stream.requests, method))
        stream.work.add_done_callback(self._bidi_done)

    def _bidi_done(self, work: asyncio.Future[Any]) -> None:
        self._running -= 1
        if not work.cancelled():
            work.exception()

    async def _run_bidi(self, stream: Stream, requests: Requests, method: Bidi) -> None:
        answers = method.handler(requests, stream.call)
        try:
            async for body in answers:
                if stream.ended or stream.gone:
                    return
                await self._send(stream, body)
            if not stream.ended and not stream.gone:
                self._send_head(stream)
                self._h2.send_trailers(stream.number, OK)
                self._end(stream)
        except RpcError as error:
            self.fail(stream, error)
        except NGH2Error:  # reset meanwhile
            return
        except asyncio.CancelledError:
            self.fail(stream, RpcError(Code.CANCELLED, "the call was cancelled"))
        except Exception as error:
            self._broken(stream, error)
        finally:
            await answers.aclose()  # type: ignore[attr-defined]

    def _send_head(self, stream: Stream) -> None:
        if not stream.answering:
            stream.answering = True
            self._h2.send_response(stream.number, RESPONSE_GZIP if stream.reply_gzip else RESPONSE)

    async def _send(self, stream: Stream, body: bytes) -> None:
        """Sends one answer; waits where the caller does not read."""
        self._send_head(stream)
        self._h2.send_data(stream.number, pack(body, stream.reply_gzip and len(body) > _PACK_ABOVE))
        self._credit.earn(4)
        self._flush_soon()
        if self._h2.queued_body_size(stream.number) > self._limits.stream_unsent_bytes:
            self._stalling(stream)
            self._writers[stream.number] = room = asyncio.get_running_loop().create_future()
            await room
            stream.stalled_s = None

    # ---- how calls end ----------------------------------------------------------------------------

    def fail(self, stream: Stream, error: RpcError) -> None:
        """Ends a call with this status, unless it has ended."""
        if stream.ended or stream.gone or self._closing_s is not None:
            return
        fields = status_headers(error)
        try:
            if stream.answering:
                self._h2.send_trailers(stream.number, fields)
            else:
                self._h2.send_response(stream.number, [*RESPONSE, *fields], end_stream=True)
        except NGH2Error:  # reset meanwhile
            return
        self._end(stream)

    def expire(self, stream: Stream) -> None:
        """The call's deadline is over."""
        stream.cancel_deadline = None
        self.fail(stream, deadline_exceeded(started=stream.work is not None))

    def _fail_http(self, stream: Stream, status: bytes) -> None:
        try:
            self._h2.send_response(stream.number, [(b":status", status)], end_stream=True)
        except NGH2Error:  # reset meanwhile
            return
        self._end(stream)

    def _broken(self, stream: Stream, error: BaseException) -> None:
        path = stream.method.path if stream.method is not None else ""
        logger.error("the handler of %s broke its promise to raise RpcError only", path, exc_info=error)
        self.fail(stream, RpcError(Code.INTERNAL, "internal error"))

    def _end(self, stream: Stream) -> None:
        stream.ended = True
        stream.let_go()
        self.release(stream, stream.held)
        self._credit.earn(4)
        if not stream.complete:
            self._early.append(stream.number)
        self._stalling(stream)
        self._flush_soon()

    def _stalling(self, stream: Stream) -> None:
        stream.unsent = self._h2.queued_body_size(stream.number)
        stream.stalled_s = self._shared.now_s

    def _reset(self, stream: Stream, code: ErrorCode) -> None:
        stream.ended = True
        stream.let_go()
        try:
            self._h2.reset_stream(stream.number, code)
        except NGH2Error:
            return
        self._flush_soon()

    # ---- what goes out ----------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        """One write per turn of the loop, however many answers it has."""
        if not self._flush_due and not self._receiving:
            self._flush_due = True
            self._shared.loop.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self._flush_due = False
        self._flush()

    def _flush(self) -> None:
        h2 = self._h2
        while self._closing_s is None and self._paused_s is None:
            try:
                out = h2.data_to_send(_CHUNK)
            except NGH2Error as error:
                self._cut(ErrorCode.INTERNAL_ERROR, str(error))
                return
            if out:
                self._credit.earn(len(out) >> 10)
                self._transport.write(out)
            events = h2.events()
            if events:
                self._take(events)
            if len(out) < _CHUNK and not self._settle():
                break
        if h2.queued_body_size() > self._limits.unsent_bytes:
            self._abort("it does not read its answers")

    def _settle(self) -> bool:
        """After everything that can go is out: resets what was answered early, wakes writers. Whether there is more."""
        h2, more = self._h2, False
        if self._early:
            waiting = [n for n in self._early if n in self._streams]
            self._early = [n for n in waiting if h2.queued_body_size(n)]
            for number in waiting:
                if number not in self._early:
                    h2.reset_stream(number, ErrorCode.NO_ERROR)  # what the caller still sends is not wanted
                    more = True
        if self._writers:
            half = self._limits.stream_unsent_bytes // 2
            for number in [n for n in self._writers if h2.queued_body_size(n) <= half]:
                room = self._writers.pop(number)
                if not room.done():
                    room.set_result(None)
        return more

    # ---- time -------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Looks after everything that must not last: called every second."""
        limits = self._limits
        if self._closing_s is not None:
            if now_s - self._closing_s > limits.close_s:
                self._transport.abort()
        elif not self._greeted:
            if now_s - self._made_s > limits.handshake_s:
                self._abort("it said nothing")
        elif self._paused_s is not None and now_s - self._paused_s > limits.stall_s:
            self._abort("it does not read")
        elif self._alive(now_s):
            self._tick_streams(now_s)
            if self._streams:
                self._active_s = now_s
            if self._drain_s is not None:
                if now_s - self._drain_s > _DRAIN_S:
                    self._say_last()
            elif now_s - self._active_s > limits.idle_s or now_s - self._made_s > self._age_s:
                self.drain()

    def _alive(self, now_s: float) -> bool:
        """Sends PINGs into silence; ends the connection of a peer that is dead."""
        if self._pinged_s is not None and self._heard_s >= self._pinged_s:
            self._pinged_s = None
        if self._pinged_s is not None:
            if now_s - self._pinged_s > self._limits.ping_timeout_s:
                self._abort("it does not answer a PING")
                return False
        elif now_s - self._heard_s > self._limits.ping_every_s:
            self._pinged_s = now_s
            self._h2.ping(_KEEPALIVE)
            self._flush_soon()
        return True

    def _tick_streams(self, now_s: float) -> None:
        limits = self._limits
        for stream in list(self._streams.values()):
            if stream.stalled_s is not None:
                unsent = self._h2.queued_body_size(stream.number)
                if unsent < stream.unsent:
                    stream.unsent, stream.stalled_s = unsent, now_s
                elif now_s - stream.stalled_s > limits.stall_s:
                    self._reset(stream, ErrorCode.CANCEL)
            elif not stream.complete and stream.requests is None and now_s - stream.opened_s > limits.request_s:
                what = f"the request was not here to its end within {limits.request_s:g} s"
                self.fail(stream, RpcError(Code.DEADLINE_EXCEEDED, what, [error_info("DEADLINE_EXCEEDED")]))

    # ---- the end ----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Ends in good order: the peer is told, calls that cross with that are still taken, all of them finish."""
        if self._closing_s is not None or self._drain_s is not None:
            return
        self._drain_s = self._shared.now_s
        if not self._greeted:
            self._close()
            return
        self._h2.send_shutdown_notice()
        self._h2.ping(_DRAIN)  # answered after everything the peer had sent before it knew
        self._flush_soon()

    def _say_last(self) -> None:
        """The final GOAWAY; the connection closes with its last stream."""
        if self._drain_s is not None and not self._last_said and self._closing_s is None:
            self._last_said = True
            self._h2.send_goaway()
            self._flush_soon()

    def give_up(self) -> None:
        """Ends at once: calls under way are UNAVAILABLE."""
        for stream in list(self._streams.values()):
            self.fail(stream, going_away())
        self._flush()
        self._cut(ErrorCode.NO_ERROR, "the server is going away")

    def _cut(self, code: ErrorCode, why: str) -> None:
        """Ends the connection with a GOAWAY that says why."""
        if self._closing_s is not None:
            return
        if code is not ErrorCode.NO_ERROR:
            logger.warning("%s: connection ended, %s", self._peer, why)
        if self._greeted and self._paused_s is None:  # else it might end up inside another frame
            self._transport.write(_goaway(self._last, code, why.encode()[:200]))
        self._close()

    def abort(self) -> None:
        """Ends at once, without a word."""
        self._transport.abort()

    def _abort(self, why: str) -> None:
        if self._closing_s is None:
            logger.info("%s: connection dropped, %s", self._peer, why)
            self._closing_s = self._shared.now_s
            self._transport.abort()

    def _close(self) -> None:
        if self._closing_s is None:
            self._closing_s = self._shared.now_s
            self._transport.close()


def _goaway(last: int, code: ErrorCode, why: bytes) -> bytes:
    """A GOAWAY frame, for a session that has failed and cannot make one itself."""
    size = 8 + len(why)
    return b"".join(
        (size.to_bytes(3, "big"), b"\x07\0", bytes(4), last.to_bytes(4, "big"), int(code).to_bytes(4, "big"), why)
    )


def _peer(address: Any) -> str:
    """The peer as grpc names it."""
    if not isinstance(address, tuple):
        return "unknown"
    return f"ipv6:[{address[0]}]:{address[1]}" if ":" in address[0] else f"ipv4:{address[0]}:{address[1]}"
