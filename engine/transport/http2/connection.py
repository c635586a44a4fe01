"""One HTTP/2 connection: libnghttp2 inside an asyncio protocol.

All unary calls that arrive together are handed over in one turn of the loop, and all answers of a turn
leave in one write: batches form on their own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
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

from engine.transport.http2.calls import Calls
from engine.transport.http2.credit import Credit
from engine.transport.http2.shared import Shared
from engine.transport.http2.stream import Stream

logger = logging.getLogger(__name__)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REFUSAL_TEXT = b"This port speaks gRPC, over HTTP/2 only.\n"
_REFUSAL = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(_REFUSAL_TEXT), _REFUSAL_TEXT)
)
_CHUNK = 256 << 10  # bytes per write; more is framed only once that is on its way
_SLICE = 64 << 10  # bytes taken at once: a flood is noticed before all of a large read is parsed
_KEEPALIVE, _DRAIN = b"tactlive", b"tactstop"  # what our PINGs carry
_DRAIN_S = 1.0  # for the peer to answer the drain's PING
_NO_RESET_LIMIT = (1 << 40, 1 << 40)  # ours counts resets against answered calls
_EARNED = 4.0  # tokens per answer
_NONE: frozenset[int] = frozenset()
_CONTROL = frozenset((StreamReset, PingReceived, SettingsReceived, WindowUpdated))


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
        self._credit = Credit(limits.control_burst, limits.control_per_s, shared.now_s)
        self._calls = Calls(self._h2, shared, self._flush_soon)
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

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        shared = self._shared
        shared.connections.add(self)
        shared.idle.clear()
        self._calls.peer = self._peer = _peer(transport.get_extra_info("peername"))
        transport.set_write_buffer_limits(_CHUNK)
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
            for at in range(0, len(data), _SLICE):
                self._h2.receive_data(data if len(data) <= _SLICE else data[at : at + _SLICE])
                self._take(self._h2.events())
                if self._closing_s is not None:
                    return
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
        self._calls.closed_all()
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
        self._h2.set_local_window_size(min((1 << 31) - 1, max(1 << 30, limits.stream_window * limits.streams)))
        data, self._first = self._first, b""
        return data

    def _refuse(self, why: str) -> None:
        """Says in HTTP/1.1 what is spoken here: to a client that speaks something else, or garbage."""
        logger.info("%s: refused, %s", self._peer, why)
        if not self._first or self._first[:1].isalpha():
            self._transport.write(_REFUSAL)
        self._close()

    # ---- what comes -------------------------------------------------------------------------------

    def _take(self, events: list[Any]) -> None:
        """Takes what happened; unary calls that are whole begin together, after everything else."""
        calls = self._calls
        ready: list[Stream] = []
        control = 0
        # Opened and reset in one read: not looked at. Each would cost 25 us, and a rapid reset has thousands.
        kinds = list(map(type, events))
        gone = {e.stream_id for e in events if type(e) is StreamReset} if StreamReset in kinds else _NONE
        for kind, event in zip(kinds, events, strict=True):
            if kind is DataReceived:
                if not event.data and not event.end_stream:
                    control += 1
                else:
                    calls.data(event.stream_id, event.data, event.end_stream, ready)
            elif kind is RequestReceived:
                self._active_s = self._shared.now_s
                if event.stream_id in gone:
                    calls.last = event.stream_id
                else:
                    calls.open(event.stream_id, event.headers, event.end_stream)
            elif kind is StreamClosed:
                calls.closed(event.stream_id)
            elif kind is TrailersReceived:
                calls.complete(event.stream_id, ready)
            elif kind is PingAcknowledged:
                if event.opaque_data == _DRAIN:
                    self._say_last()
            elif kind is ConnectionClosed:
                self._finish()
            elif kind in _CONTROL:
                control += 1
        if control and not self._credit.spend(control, self._shared.now_s):
            self._cut(ErrorCode.ENHANCE_YOUR_CALM, "too many pings, resets or empty frames")
        elif ready:
            calls.begin(ready)

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
                self._credit.earn(len(out) / 1024 + _EARNED * self._calls.answered)
                self._calls.answered = 0
                self._transport.write(out)
            events = h2.events()
            if events:
                self._take(events)
            if len(out) < _CHUNK:
                if self._closing_s is None:
                    self._calls.settle()
                break
        if h2.queued_body_size() > self._limits.unsent_bytes:
            self._abort("it does not read its answers")

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
            self._calls.tick(now_s)
            if self._calls:
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
            with suppress(NGH2Error):  # the peer has ended it meanwhile
                self._h2.send_goaway()
            self._flush_soon()

    def give_up(self) -> None:
        """Ends at once: calls under way are UNAVAILABLE."""
        if self._closing_s is not None:  # all is said; the peer has not closed its side
            self._transport.abort()
            return
        self._calls.fail_all()
        self._flush()
        self._cut(ErrorCode.NO_ERROR, "the server is going away")

    def abort(self) -> None:
        """Ends at once, without a word."""
        self._transport.abort()

    def _cut(self, code: ErrorCode, why: str) -> None:
        """Ends the connection with a GOAWAY that says why."""
        if self._closing_s is not None:
            return
        if code is not ErrorCode.NO_ERROR:
            logger.warning("%s: connection ended, %s", self._peer, why)
        if self._greeted and self._paused_s is None:  # else it might end up inside another frame
            self._transport.write(_goaway(self._calls.last, code, why.encode()[:200]))
        self._close()

    def _abort(self, why: str) -> None:
        if self._closing_s is None:
            logger.info("%s: connection dropped, %s", self._peer, why)
            self._closing_s = self._shared.now_s
            self._transport.abort()

    def _finish(self) -> None:
        """All is said: ends our side, and lets the peer end its own.

        Closed at once, a socket answers what the peer still sends (a WINDOW_UPDATE, the PING's answer) with a reset,
        and what has not reached the peer by then is lost. A peer that stalls has `close_s`.
        """
        if self._closing_s is None and self._transport.can_write_eof():
            self._closing_s = self._shared.now_s
            self._transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        if self._closing_s is None:
            self._closing_s = self._shared.now_s
            self._transport.close()


def _goaway(last: int, code: ErrorCode, why: bytes) -> bytes:
    """A GOAWAY frame, for a session that has failed and cannot make one itself."""
    return b"".join(
        (
            (8 + len(why)).to_bytes(3, "big"),
            b"\x07\0\0\0\0\0",
            last.to_bytes(4, "big"),
            int(code).to_bytes(4, "big"),
            why,
        )
    )


def _peer(address: Any) -> str:
    """The peer as grpc names it."""
    if not isinstance(address, tuple):
        return "unknown"
    return f"ipv6:[{address[0]}]:{address[1]}" if ":" in address[0] else f"ipv4:{address[0]}:{address[1]}"
