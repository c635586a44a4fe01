"""Bytes of requests that stay here until somebody takes them: counted per stream, per connection, and in all."""

from __future__ import annotations

from engine.transport import Code, RpcError, error_info
from engine.transport.http2.shared import Shared
from engine.transport.http2.stream import Stream


class Held:
    """One connection's."""

    __slots__ = ("_bytes", "_shared")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._bytes = 0

    def hold(self, stream: Stream, size: int) -> None:
        """Counts bytes that stay here. Raises RpcError where there are too many."""
        stream.held += size
        self._bytes += size
        self._shared.held += size
        limits = self._shared.limits
        if self._bytes > limits.buffered_bytes or self._shared.held > limits.buffered_bytes_all:
            what = "too many bytes of requests are under way"
            raise RpcError(Code.RESOURCE_EXHAUSTED, what, [error_info("OVERLOADED")])

    def release(self, stream: Stream, size: int) -> None:
        """These bytes are here no more."""
        size = min(size, stream.held)
        stream.held -= size
        self._bytes -= size
        self._shared.held -= size
