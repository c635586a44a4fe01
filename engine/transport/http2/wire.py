"""gRPC's own part of HTTP/2: timeouts, metadata, statuses.

The wire format: PROTOCOL-HTTP2.md of the gRPC documentation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from itertools import chain
from typing import overload
from urllib.parse import quote

from engine.transport import Code, RpcError, error_info

Headers = tuple[tuple[bytes, bytes], ...]
Pair = tuple[str, str | bytes]

MAX_TRAILER_BYTES = 8000  # clients take 8 KiB of trailers unless told otherwise
_MAX_STATUS_CHARACTERS = 600
_UNITS_S = {ord("H"): 3600.0, ord("M"): 60.0, ord("S"): 1.0, ord("m"): 1e-3, ord("u"): 1e-6, ord("n"): 1e-9}
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_RESERVED = frozenset((b"te", b"content-type", b"content-length"))

CONTENT_TYPE = (b"content-type", b"application/grpc")
ACCEPTED = (b"grpc-accept-encoding", b"identity,gzip")
RESPONSE = ((b":status", b"200"), CONTENT_TYPE, ACCEPTED)
RESPONSE_GZIP = (*RESPONSE, (b"grpc-encoding", b"gzip"))
OK = ((b"grpc-status", b"0"),)


def header_size(headers: Headers) -> int:
    """The size of a header list as HTTP/2 counts it: 32 bytes more per field."""
    return sum(map(len, chain.from_iterable(headers))) + 32 * len(headers)


def check_metadata(headers: Headers, most_bytes: int, most_fields: int) -> None:
    """Raises RpcError where there is more than is taken."""
    if header_size(headers) > most_bytes or len(headers) > most_fields:
        what = f"metadata: at most {most_bytes} bytes and {most_fields} fields are taken"
        raise RpcError(Code.RESOURCE_EXHAUSTED, what, [error_info("METADATA_TOO_LARGE")])


def timeout_s(text: bytes) -> float:
    """The seconds of a `grpc-timeout`. Raises RpcError where it is none."""
    digits, unit = text[:-1], _UNITS_S.get(text[-1] if text else 0)
    if unit is None or not digits.isdigit() or len(digits) > 8:
        shown = ascii(text[:20].decode("latin-1"))
        raise RpcError(Code.INVALID_ARGUMENT, f"grpc-timeout: found {shown}, expected 1 to 8 digits and one of HMSmun")
    return int(digits) * unit


def status_headers(error: RpcError) -> list[tuple[bytes, bytes]]:
    """The trailers of a call that failed, not to be changed. Details that clients would not take are left out."""
    if isinstance(error.wire, list):
        return error.wire
    message = quote(error.message, safe=_PRINTABLE).encode()
    fields = [(b"grpc-status", b"%d" % error.code), (b"grpc-message", message)]
    details = base64.b64encode(error.status().SerializeToString()).rstrip(b"=")
    if len(message) + len(details) <= MAX_TRAILER_BYTES:
        fields.append((b"grpc-status-details-bin", details))
    elif len(message) > MAX_TRAILER_BYTES:
        fields[1] = (b"grpc-message", quote(error.message[:_MAX_STATUS_CHARACTERS], safe=_PRINTABLE).encode())
    error.wire = fields
    return fields


class Metadata(Sequence[Pair]):
    """A call's metadata, decoded where somebody looks: names as text, `-bin` values as bytes."""

    __slots__ = ("_headers", "_pairs")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._pairs: list[Pair] | None = None

    def __len__(self) -> int:
        return len(self._decoded())

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return self._decoded()[index]

    def _decoded(self) -> list[Pair]:
        if self._pairs is None:
            self._pairs = [
                pair
                for name, value in self._headers
                if not name.startswith((b":", b"grpc-")) and name not in _RESERVED
                for pair in _pairs(name.decode("latin-1"), value)
            ]
        return self._pairs


def _pairs(name: str, value: bytes) -> list[Pair]:
    if not name.endswith("-bin"):
        return [(name, value.decode("latin-1"))]
    try:  # several binary values may share a field, parted by commas; padding may be absent
        return [(name, base64.b64decode(part + b"=" * (-len(part) % 4), validate=True)) for part in value.split(b",")]
    except binascii.Error:
        raise RpcError(Code.INVALID_ARGUMENT, f"metadata {name}: expected base64") from None


def unimplemented(what: str) -> RpcError:
    """What this server does not do."""
    return RpcError(Code.UNIMPLEMENTED, what, [error_info("UNIMPLEMENTED")])


def cardinality(found: int) -> RpcError:
    """A unary call with another number of messages than one."""
    return unimplemented(f"a unary call with {found or 'no'} messages: expected one")
