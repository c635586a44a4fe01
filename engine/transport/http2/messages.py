"""gRPC messages inside a body: a flag, a length of four bytes, the bytes; identity or gzip."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from engine.transport import Code, RpcError, error_info

PREFIX = struct.Struct(">BI")
_GZIP = 31  # zlib's word for: gzip header, the largest window


class Message(NamedTuple):
    """One message as it came."""

    compressed: bool
    body: bytes


class Reader:
    """Cuts one stream's body into messages. `partial`: bytes of the message that is not whole yet."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def partial(self) -> int:
        """Bytes held of the message that has not ended."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that end in `data`. Raises RpcError: too large, or not gRPC."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= PREFIX.size:
            flag, length = PREFIX.unpack_from(self._buffer, at)
            if flag > 1:
                raise RpcError(Code.INTERNAL, f"a message begins with {flag}: expected 0, or 1 where it is compressed")
            if length > self._limit:
                raise too_large(length, self._limit)
            end = at + PREFIX.size + length
            if end > len(self._buffer):
                break
            yield Message(bool(flag), bytes(self._buffer[at + PREFIX.size : end]))
            at = end
        del self._buffer[:at]


def too_large(size: int, limit: int) -> RpcError:
    """A message above the limit."""
    return RpcError(
        Code.RESOURCE_EXHAUSTED,
        f"a message of {size} bytes: at most {limit} are taken",
        [error_info("MESSAGE_TOO_LARGE", limit_bytes=str(limit))],
    )


def unpack(message: Message, gzip: bool, limit: int) -> bytes:
    """The message's own bytes. Raises RpcError where it cannot be read, or is larger than `limit`."""
    if not message.compressed:
        return message.body
    if not gzip:
        raise RpcError(Code.INTERNAL, "a compressed message in a call without grpc-encoding")
    inflater = zlib.decompressobj(_GZIP)
    try:
        body = inflater.decompress(message.body, limit + 1)
    except zlib.error as error:
        raise RpcError(Code.INTERNAL, f"a message that is not gzip: {error}") from None
    if len(body) > limit:
        raise too_large(len(body), limit)
    if not inflater.eof:
        raise RpcError(Code.INTERNAL, "a message that is not gzip to its end")
    return body


def pack(body: bytes, gzip: bool) -> bytes:
    """A message as it goes out."""
    if not gzip:
        return PREFIX.pack(0, len(body)) + body
    deflater = zlib.compressobj(level=1, wbits=_GZIP)
    packed = deflater.compress(body) + deflater.flush()
    return PREFIX.pack(1, len(packed)) + packed
