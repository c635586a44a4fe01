"""The profile's bytes: what the bank wrote of one customer.

    offset  size
    0       8      version, random; compared by the commit script
    8       1      layout, 1
    9       2      size of the schema section
    11      ..     schema: 0 or 1 (deflated), then: n cells (u16), n type bytes, names and then the
                   currencies of the cells that are money, all joined by NUL
    ..      ..     as_of of each cell, ms: one column (see packing)
    ..      ..     how each value is kept, a hex digit each (see _KEPT), two to a byte
    ..      ..     the values in the order of the names
    ..      4      size of the texts, then the texts
    ..      4      size of the contact section (0: none), then a JSON array: [[purpose, granted,
                   changed_at_ms, source, wording_version], ..], blocked topics, blocked channels,
                   preferred from, preferred to

Every cell carries its name and type, so features are added, removed and re-typed without rewriting.
Names are sorted, so customers with the same features share the schema section byte for byte: it is
packed and unpacked once per set of features, and deflated, which halves the profile. (Hashes of names
are not stored: they follow from the names, and 40 of them would cost 320 bytes.) Values take the fewest
bytes that give back the very same value.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import orjson

from engine.compiler.nodes import Type
from engine.state.model import Cell, ConsentEntry, Contact, Profile
from engine.state.packing import MAX_COUNT, CorruptBlob, Reader, pack_ints, whole_hundredths

LAYOUT = 1
VERSION_SIZE = 8
_SCHEMA_LIMIT = 1 << 22  # bytes of an inflated schema section: a deflate bomb ends here
_TYPES = (
    Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.DURATION, Type.DATE, Type.MONEY, Type.TEXTS,
)  # fmt: skip
_TEXTUAL = (Type.TEXT, Type.TEXTS)
_CODE_OF_TYPE = {t: i for i, t in enumerate(_TYPES)}

# How a value is kept, by hex digit: its code in `struct`. 1 to 4: integers, times, durations, dates, and
# money in whole hundredths; 5 to b: numbers as f64, f32, hundredths (7, 8) and whole ones (9 to b);
# c: bool; d: whole seconds of a time or a duration; e and f: the length of a text, of other money in
# digits, or of texts as a JSON array.
_KEPT = str.maketrans("0123456789abcdef", "xbhiqdfhibhi?IBI")
_SECOND_NS = 1_000_000_000
_INT64 = 1 << 63
_HUNDREDTH = 10_000_000  # billionths, in which money is counted


def new_version() -> bytes:
    """8 random bytes, never all zero. Random, because a counter would repeat after data loss."""
    while not any(version := os.urandom(VERSION_SIZE)):
        pass
    return version


class _Schema(NamedTuple):
    names: tuple[str, ...]
    types: tuple[Type, ...]
    units: tuple[str, ...]
    money: tuple[int, ...]  # which cells
    texts: tuple[int, ...]


def _digit_of_whole(n: int, digits: str) -> str:
    """The digit for an integer of 1, 2 or 4 bytes, "" where it needs more."""
    for digit, limit in zip(digits, (1 << 7, 1 << 15, 1 << 31), strict=True):
        if -limit <= n < limit:
            return digit
    return ""


def _keep_number(value: float) -> tuple[str, object]:
    if value.is_integer() and (value or math.copysign(1, value) > 0):
        if digit := _digit_of_whole(int(value), "9ab"):
            return digit, int(value)
    elif (n := whole_hundredths(value)) is not None and (digit := _digit_of_whole(n, "778")):
        return digit, n
    with suppress(OverflowError):
        if struct.unpack("<f", struct.pack("<f", value))[0] == value:
            return "6", value
    return "5", value


def _keep(cell: Cell) -> tuple[str, object]:
    """How a cell's value is kept: the digit, and what is packed under it."""
    kind, value = cell.type, cell.value
    if kind == Type.NUMBER:
        return _keep_number(float(value))  # type: ignore[arg-type]
    if kind in _TEXTUAL:
        return _keep_text(cell)
    if kind == Type.BOOL:
        return "c", bool(value)
    whole = int(value)  # type: ignore[call-overload]
    if kind == Type.MONEY:
        hundredths, rest = divmod(whole, _HUNDREDTH)
        if rest or not -_INT64 <= hundredths < _INT64:
            return _keep_text(cell)
        whole = hundredths
    seconds, rest = divmod(whole, _SECOND_NS)
    if digit := _digit_of_whole(whole, "123"):
        return digit, whole
    if kind in (Type.TIME, Type.DURATION) and not rest and 0 <= seconds < 1 << 32:
        return "d", seconds
    return "4", whole


def _text(cell: Cell) -> bytes:
    """What is kept as a text: a text, texts, money that is no number of hundredths."""
    return orjson.dumps(cell.value) if cell.type == Type.TEXTS else str(cell.value).encode()


def _keep_text(cell: Cell) -> tuple[str, int]:
    size = len(_text(cell))
    return ("e" if size < 256 else "f"), size


def _read_values(reader: Reader, schema: _Schema) -> list[object]:
    count = len(schema.names)
    kept = reader.take((count + 1) // 2).hex()[:count]
    form = struct.Struct("<" + kept.translate(_KEPT))
    values = list(form.unpack_from(reader.data, reader.skip(form.size)))
    if len(values) != count:
        raise CorruptBlob("a profile keeps a value in a way this version does not know")
    heap = Reader(reader.take(reader.number(4)), "a profile's texts")
    for i, digit in enumerate(kept):
        if digit in "789abdef":
            if digit in "78":
                values[i] /= 100
            elif digit in "9ab":
                values[i] = float(values[i])
            elif digit == "d":
                values[i] *= _SECOND_NS
            else:
                values[i] = heap.take(values[i]).decode()
    heap.end()
    for i in schema.money:
        values[i] = int(values[i]) if kept[i] in "ef" else values[i] * _HUNDREDTH
    for i in schema.texts:
        values[i] = tuple(map(str, orjson.loads(values[i])))
    return values


@lru_cache(maxsize=1024)
def _pack_schema(names: tuple[str, ...], types: tuple[str, ...], units: tuple[str, ...]) -> bytes:
    words = (*names, *units)
    if len(names) > MAX_COUNT or any("\0" in w for w in words):
        raise ValueError("a profile holds at most 65535 cells, and no name holds a NUL")
    plain = struct.pack("<H", len(names)) + bytes(_CODE_OF_TYPE[Type(t)] for t in types) + "\0".join(words).encode()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = squeeze.compress(plain) + squeeze.flush()
    section = b"\1" + deflated if len(deflated) < len(plain) else b"\0" + plain
    if len(section) > 65535:
        raise ValueError(f"the names of {len(names)} cells take {len(section)} bytes, more than 65535")
    return section


@lru_cache(maxsize=1024)
def _unpack_schema(section: bytes) -> _Schema:
    if not section or section[0] > 1:
        raise CorruptBlob("a profile's schema section is neither plain nor deflated")
    plain = section[1:]
    if section[0]:
        inflate = zlib.decompressobj(-15)
        try:
            plain = inflate.decompress(plain, _SCHEMA_LIMIT)
        except zlib.error as e:
            raise CorruptBlob(f"a profile's schema section cannot be inflated: {e}") from None
        if not inflate.eof or inflate.unused_data:
            raise CorruptBlob("a profile's schema section is cut or too long")
    reader = Reader(plain, "a profile's schema section")
    count = reader.number(2)
    codes = reader.take(count)
    try:
        words = tuple(plain[reader.pos :].decode().split("\0")) if count else ()
        types = tuple(_TYPES[c] for c in codes)
    except (UnicodeDecodeError, IndexError) as e:
        raise CorruptBlob(f"a profile's schema section: {e}") from None
    money = tuple(i for i, kind in enumerate(types) if kind is Type.MONEY)
    if len(words) != count + len(money) or len(set(words[:count])) != count:
        raise CorruptBlob(f"a profile's schema section has {len(words)} names and currencies for {count} cells")
    units = [""] * count
    for i, unit in zip(money, words[count:], strict=True):
        units[i] = unit
    texts = tuple(i for i, kind in enumerate(types) if kind is Type.TEXTS)
    return _Schema(words[:count], types, tuple(units), money, texts)


def _pack_contact(contact: Contact | None) -> bytes:
    if contact is None:
        return b""
    c = contact
    return orjson.dumps(
        [
            [list(e) for e in c.consents],
            c.blocked_topics,
            c.blocked_channels,
            c.preferred_from_minute,
            c.preferred_to_minute,
        ]
    )


def _unpack_contact(section: bytes) -> Contact | None:
    if not section:
        return None
    try:
        consents, topics, channels, start, stop = orjson.loads(section)
        return Contact([ConsentEntry(*c) for c in consents], list(topics), list(channels), int(start), int(stop))
    except (ValueError, TypeError) as e:
        raise CorruptBlob(f"a profile's contact section: {e}") from None


def encode(profile: Profile) -> bytes:
    """The profile's bytes. Raises ValueError where `version` is not 8 bytes or a value does not fit."""
    if len(profile.version) != VERSION_SIZE:
        raise ValueError(f"a stored profile needs a version of 8 bytes, not {len(profile.version)}")
    items = sorted(profile.cells.items())
    units = tuple(c.unit for _, c in items if c.type == Type.MONEY)
    section = _pack_schema(tuple(n for n, _ in items), tuple(str(c.type) for _, c in items), units)
    kept = [_keep(cell) for _, cell in items]
    digits = "".join([digit for digit, _ in kept])
    try:
        packed = struct.pack("<" + digits.translate(_KEPT), *[value for _, value in kept])
    except struct.error as e:
        raise ValueError(f"a cell's value does not fit its type: {e}") from None
    heap = b"".join([_text(cell) for (_, cell), digit in zip(items, digits, strict=True) if digit in "ef"])
    contact = _pack_contact(profile.contact)
    return b"".join(
        (
            profile.version,
            struct.pack("<BH", LAYOUT, len(section)),
            section,
            pack_ints([c.as_of_ms for _, c in items]),
            bytes.fromhex(digits + "0" * (len(digits) & 1)),
            packed,
            struct.pack("<I", len(heap)),
            heap,
            struct.pack("<I", len(contact)),
            contact,
        )
    )


def decode(blob: bytes) -> Profile:
    """The profile of these bytes; an empty one for b"". Raises CorruptBlob."""
    if not blob:
        return Profile()
    reader = Reader(blob, "a profile")
    version = reader.take(VERSION_SIZE)
    layout = reader.u8()
    if layout != LAYOUT:
        raise CorruptBlob(f"a profile of layout {layout}; this version reads {LAYOUT}")
    schema = _unpack_schema(reader.take(reader.number(2)))
    as_of = reader.ints(len(schema.names))
    try:
        values = _read_values(reader, schema)
    except (ValueError, TypeError) as e:
        raise CorruptBlob(f"a profile's values: {e}") from None
    contact = _unpack_contact(reader.take(reader.number(4)))
    reader.end()
    cells = dict(zip(schema.names, map(Cell, schema.types, values, as_of, schema.units), strict=True))
    return Profile(version, cells, contact)
