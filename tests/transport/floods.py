"""What attackers send, ready-made: each ends its connection."""

from __future__ import annotations

import struct

from tests.transport import raw
from tests.transport.raw import END_HEADERS, END_STREAM, block, fields, frame, message


def _rapid_reset(count: int) -> bytes:
    begin = block(fields("Sleep"))
    return b"".join(
        frame(raw.HEADERS, END_HEADERS, n, begin)
        + frame(raw.DATA, END_STREAM, n, message(b""))
        + frame(raw.RST_STREAM, 0, n, struct.pack(">I", raw.CANCEL))
        for n in range(1, 2 * count, 2)
    )


_BEGIN = frame(raw.HEADERS, END_HEADERS, 1, block(fields()))
FLOODS = {
    "rapid reset": _rapid_reset(5000),
    "ping": frame(raw.PING, payload=bytes(8)) * 20_000,
    "settings": frame(raw.SETTINGS, payload=struct.pack(">HI", 4, 1 << 20)) * 20_000,
    "empty data": _BEGIN + frame(raw.DATA, 0, 1) * 20_000,
    "window": frame(raw.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 20_000,
    "continuation": frame(raw.HEADERS, 0, 1, block(fields()))
    + frame(raw.CONTINUATION, 0, 1, block([(b"a", b"b")])) * 100,
    "empty continuation": frame(raw.HEADERS, 0, 1, block(fields())) + frame(raw.CONTINUATION, 0, 1) * 20_000,
    "header size": frame(raw.HEADERS, 0, 1, block(fields()))
    + b"".join(frame(raw.CONTINUATION, 0, 1, block([(b"x", b"v" * 16_000)])) for _ in range(9)),
    "header fields": frame(raw.HEADERS, END_HEADERS, 1, block(fields()) + block([(b"a", b"")]) * 1100),
    # a value of 4,000 bytes is put into the table once, and then named by one byte 60 times
    "header bomb": frame(
        raw.HEADERS, END_HEADERS, 1, block(fields()) + b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 60
    ),
}
