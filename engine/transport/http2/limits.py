"""What one HTTP/2 server takes from its peers. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from engine.transport import MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything has a limit; what happens at each is said beside it."""

    connections: int = 10_000  # the next one is closed at once
    streams: int = 1000  # under way on one connection; the next call is refused, clients try it again
    message_bytes: int = MAX_MESSAGE_BYTES  # a request above: RESOURCE_EXHAUSTED
    header_bytes: int = 16 << 10  # as HTTP/2 counts (32 more per field); above: RESOURCE_EXHAUSTED
    header_fields: int = 128  # the same
    header_bytes_hard: int = 128 << 10  # the connection ends: what is above is not even read
    header_fields_hard: int = 1024  # the same
    stream_window: int = 256 << 10  # what a caller may send to a handler that does not read
    buffered_bytes: int = 64 << 20  # requests held for one connection; the call that goes above is refused
    buffered_bytes_all: int = 256 << 20  # the same, for all connections
    unsent_bytes: int = 64 << 20  # answers that one peer does not read; the connection ends
    stream_unsent_bytes: int = 256 << 10  # above, a streaming handler waits
    control_burst: int = 2000  # pings, settings, resets, empty frames at once; above: ENHANCE_YOUR_CALM
    control_per_s: float = 200.0  # the same, lasting; each answered call adds a few
    handshake_s: float = 10.0  # until the peer has said that it speaks HTTP/2
    request_s: float = 60.0  # until a unary request is here to its end: DEADLINE_EXCEEDED
    stall_s: float = 60.0  # an answer that nobody reads: its stream is reset, or the connection ends
    ping_every_s: float = 30.0  # silence before a PING
    ping_timeout_s: float = 20.0  # silence after it: the peer is dead
    idle_s: float = 900.0  # without calls: the connection is closed in good order
    age_s: float = 600.0  # of a connection, +-10 %: closed in good order, so that channels spread anew
    close_s: float = 5.0  # for the last bytes of a connection to leave, and for the peer to close its side
