"""What a call's header says, read once for all calls that came with the same one.

A client sends the same header with nearly every call, but for its timeout: that is read apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.transport import Method
from engine.transport.http2.limits import Limits
from engine.transport.http2.wire import Headers, Metadata, check_metadata, header_size, unimplemented

TIMEOUT = b"grpc-timeout"
_KNOWN_MAX = 1024  # headers kept; ..
_KNOWN_BYTES = 1024  # .. none above this size
_TIMEOUT_ROOM = 64  # of a timeout that can be read, as HTTP/2 counts
_CONTENT = b"application/grpc"


class NotGrpc(Exception):
    """A request that is none of gRPC's; `status` is HTTP's."""

    def __init__(self, status: bytes) -> None:
        super().__init__(f"HTTP status {status.decode()}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """Of a call that may begin."""

    method: Method
    metadata: Metadata
    gzip: bool  # the caller's messages
    reply_gzip: bool


class Heads:
    """Those of one server. `known` may be asked first, by the header without its timeout."""

    def __init__(self, methods: Mapping[bytes, Method], limits: Limits) -> None:
        self.known: dict[Headers, Head] = {}
        self._methods = methods
        self._limits = limits

    def read(self, headers: Headers, timeout: bytes | None) -> Head:
        """Reads a header, given without its timeout. Raises NotGrpc, RpcError."""
        limits = self._limits
        fields = dict(headers)
        kind = fields.get(b"content-type", b"")
        if kind != _CONTENT and not kind.startswith((_CONTENT + b"+", _CONTENT + b";")):
            raise NotGrpc(b"415")
        if fields[b":method"] != b"POST":
            raise NotGrpc(b"405")
        whole = headers if timeout is None else (*headers, (TIMEOUT, timeout))
        check_metadata(whole, limits.header_bytes, limits.header_fields)
        method = self._methods.get(fields[b":path"])
        if method is None:
            raise unimplemented(f"no method {fields[b':path'].decode('latin-1')} is served")
        encoding = fields.get(b"grpc-encoding", b"identity")
        if encoding not in (b"identity", b"gzip"):
            raise unimplemented(f"grpc-encoding: found '{encoding.decode('latin-1')}', expected identity or gzip")
        gzip = encoding == b"gzip"
        head = Head(method, Metadata(headers), gzip, gzip and b"gzip" in fields.get(b"grpc-accept-encoding", b""))
        size = header_size(headers) + _TIMEOUT_ROOM
        if size <= min(_KNOWN_BYTES, limits.header_bytes) and len(headers) < limits.header_fields:
            if len(self.known) >= _KNOWN_MAX:
                self.known.clear()
            self.known[headers] = head
        return head
