"""Compact columns of integers, and a reader that never runs over the end of a blob.

A column is stored by frame of reference (Zukowski et al., ICDE 2006): its minimum once, then the
distances from it in the fewest bytes that hold the largest.

    byte 0      length of the minimum (high nibble), width of a distance (low nibble)
    minimum     0 to 13 bytes, signed, little endian
    distances   width 0, 1, 2, 3, 4, 5, 6, 8 or 12 bytes each; a constant column has width 0

Where byte 0 is 7, all values are multiples of 10^7 (money in billionths, times in nanoseconds), and a
column of the quotients follows.

A column of doubles begins with a byte: 0, they follow as f64; 1, all are whole hundredths (money),
and a column of these follows. The number of values is the caller's to keep.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from engine.errors import TactError

MAX_COUNT = 65535  # values in a column, sections' entries: what a u16 holds


class CorruptBlob(TactError):
    """Stored bytes that are no profile, record or log entry of a layout this version reads."""


_CODES = {2: "H", 4: "I", 8: "Q"}
_PARTS = {3: ("HB", 16), 5: ("IB", 32), 6: ("IH", 32), 12: ("QI", 64)}  # low and high part, bits of the low one
_SCALED = 7  # as byte 0; no width
_SCALE = 10_000_000
_SCALED_FROM = 1 << 32  # smaller values gain too little
_HUNDREDTHS_MAX = float(1 << 53)


def pack_ints(values: Sequence[int]) -> bytes:
    """One column. All values must lie in one 96-bit range, signed or unsigned."""
    if not values:
        return b"\0"
    low, high = min(values), max(values)
    large = high >= _SCALED_FROM or low <= -_SCALED_FROM
    if large and values[0] % _SCALE == 0 and not any(v % _SCALE for v in values):
        quotients = [v // _SCALE for v in values]
        return bytes((_SCALED,)) + _pack_column(quotients, low // _SCALE, high // _SCALE)
    return _pack_column(values, low, high)


def _pack_column(values: Sequence[int], low: int, high: int) -> bytes:
    span = high - low
    size = (low.bit_length() + 8) >> 3 if low else 0
    width = (span.bit_length() + 7) >> 3
    if size > 13 or width > 12:
        raise ValueError(f"{low} .. {high} do not lie in one 96-bit range")
    if width > 6:
        width = 8 if width <= 8 else 12
    head = bytes((size << 4 | width,)) + low.to_bytes(size, "little", signed=True)
    if width == 0:
        return head
    distances = [v - low for v in values] if low else values
    if width == 1:
        return head + bytes(distances)
    if width in _PARTS:
        return head + b"".join([d.to_bytes(width, "little") for d in distances])
    return head + struct.pack(f"<{len(values)}{_CODES[width]}", *distances)


def whole_hundredths(value: float) -> int | None:
    """The number of hundredths a double stands for, where that gives back the very same double."""
    hundredths = value * 100
    if not -_HUNDREDTHS_MAX < hundredths < _HUNDREDTHS_MAX:  # infinities and NaN too
        return None
    n = round(hundredths)
    return n if n / 100 == value and (n or math.copysign(1, value) > 0) else None


def pack_floats(values: Sequence[float]) -> bytes:
    """One column of doubles."""
    hundredths = []
    for value in values:
        n = whole_hundredths(value)
        if n is None:
            return struct.pack(f"<B{len(values)}d", 0, *values)
        hundredths.append(n)
    return b"\1" + pack_ints(hundredths)


class Reader:
    """Takes a blob apart from front to back. Every method raises CorruptBlob where bytes are missing."""

    __slots__ = ("data", "pos", "what")

    def __init__(self, data: bytes, what: str, pos: int = 0) -> None:
        self.data = data
        self.what = what
        self.pos = pos

    def skip(self, count: int) -> int:
        """Moves on by `count` bytes that must be there; where they begin."""
        start = self.pos
        if start + count > len(self.data):
            raise CorruptBlob(f"{self.what} of {len(self.data)} bytes ends too early: {count} more at {start}")
        self.pos = start + count
        return start

    def take(self, count: int) -> bytes:
        start = self.skip(count)
        return self.data[start : start + count]

    def u8(self) -> int:
        return self.data[self.skip(1)]

    def number(self, size: int) -> int:
        """An unsigned integer of `size` bytes, little endian."""
        return int.from_bytes(self.take(size), "little")

    def ints(self, count: int) -> Sequence[int]:
        """One column of `count` values."""
        if self.pos < len(self.data) and self.data[self.pos] == _SCALED:
            self.pos += 1
            return [v * _SCALE for v in self._column(count)]
        return self._column(count)

    def _column(self, count: int) -> Sequence[int]:
        data, at = self.data, self.pos
        head = data[at] if at < len(data) else 0
        size, width = head >> 4, head & 15
        start = at + 1 + size
        self.skip(1 + size + width * count)
        low = int.from_bytes(data[at + 1 : start], "little", signed=True) if size else 0
        if width == 0:
            return [low] * count
        if width == 1:
            found: Sequence[int] = data[start : self.pos]
        elif width in _CODES:
            found = struct.unpack_from(f"<{count}{_CODES[width]}", data, start)
        elif width in _PARTS:
            codes, bits = _PARTS[width]
            parts = struct.unpack_from("<" + codes * count, data, start)
            found = [a | b << bits for a, b in zip(parts[::2], parts[1::2], strict=True)]
        else:
            raise CorruptBlob(f"{self.what}: a column of width {width} at {start}")
        return [low + d for d in found] if low else list(found)

    def floats(self, count: int) -> list[float]:
        """One column of `count` doubles."""
        if self.u8():
            return [n / 100 for n in self.ints(count)]
        return list(struct.unpack_from(f"<{count}d", self.data, self.skip(8 * count)))

    def end(self) -> None:
        """Raises CorruptBlob where bytes are left over."""
        if self.pos != len(self.data):
            raise CorruptBlob(f"{self.what} has {len(self.data) - self.pos} bytes too many")
