"""The profile's bytes: what the bank wrote of one customer.

    offset  size
    0       8      version, random; compared by the commit script
    8       1      layout, 2
    9       2      size of the schema section
    11      ..     schema: 0 or 1 (deflated), then: n cells (u16), n type bytes, names and then the
                   currencies of the cells that are money, all joined by NUL
    ..      ..     as_of of each cell, ms: one column (see packing)
    ..      ..     how each value is kept, a hex digit each (see _KEPT), two to a byte
    ..      ..     the values in the order of the names
    ..      ..     the texts, end to end: their lengths are among the values
    ..      1..    size of the contact section (0: none), a varint, then the section

    The contact section is made of varints (LEB128, signed ones zigzag: 0, -1, 1, -2, ..) and words, each a
    varint with its length and UTF-8:

    preferred from, preferred to     signed
    number of consents, then of each:
        flags                        one byte; 1: granted, 2: of a topic or channel alone
        changed_at_ms                signed
        purpose, source, wording_version
        topic, channel               where flag 2 is set; kernels leave such a profile to Python
    number of blocked topics, then these; the same of blocked channels

Every cell carries its name and type, so features are added, removed and re-typed without rewriting.
Names are sorted, and features that are declared but not written have a cell without a value (digit 0): so all
customers written under one rule set share the schema section byte for byte. It is packed and unpacked once
per set of names, and deflated, which halves the profile. (Hashes of names
are not stored: they follow from the names, and 40 of them would cost 320 bytes.) Values take the fewest
bytes that give back the very same value. `engine.kernels.profiles` reads these bytes as well.

Layout 1 is read but no longer written. It has the size of the texts ahead of them and that of the contact
section in four bytes each, and the section as a JSON array: [[purpose, granted, changed_at_ms, source,
wording_version], ..], topics, channels, from, to. A profile with one consent took 37 bytes more.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import orjson

from engine.compiler.nodes import Type
from engine.state.model import Cell, ConsentEntry, Contact, Profile
from engine.state.packing import MAX_COUNT, CorruptBlob, Reader, pack_ints, whole_hundredths

LAYOUT = 2
_LAYOUT_JSON = 1  # its contact section is a JSON array
VERSION_SIZE = 8
_SCHEMA_LIMIT = 1 << 22  # bytes of an inflated schema section: a deflate bomb ends here
TYPES = (
    Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.DURATION, Type.DATE, Type.MONEY, Type.TEXTS,
)  # fmt: skip
_TEXTUAL = (Type.TEXT, Type.TEXTS)
_CODE_OF_TYPE = {t: i for i, t in enumerate(TYPES)}

# How a value is kept, by hex digit: its code in `struct`. 0: there is none; 1 to 4: integers, times, durations,
# dates, and money in whole hundredths; 5 to b: numbers as f64, f32, hundredths (7, 8) and whole ones (9 to b);
# c: bool; d: whole seconds of a time or a duration; e and f: the length of a text, of other money or a far
# time in digits, or of texts as a JSON array.
_KEPT: dict[int, int | None] = {**str.maketrans("123456789abcdef", "bhiqdfhibhi?IBI"), ord("0"): None}
_NO_VALUE = object()
_SECOND_NS = 1_000_000_000
_INT64 = 1 << 63
_HUNDREDTH = 10_000_000  # billionths, in which money is counted


def new_version() -> bytes:
    """8 random bytes, never all zero. Random, because a counter would repeat after data loss."""
    while not any(version := os.urandom(VERSION_SIZE)):
        pass
    return version


class ProfileSchema(NamedTuple):
    """What a schema section says: name, type and currency ("" but for money) of each cell, in order."""

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
    if value is _NO_VALUE:
        return "0", value
    if kind == Type.NUMBER:
        return _keep_number(float(value))  # type: ignore[arg-type]
    if kind in _TEXTUAL:
        return _keep_text(cell)
    if kind == Type.BOOL:
        return "c", bool(value)
    whole = int(value)  # type: ignore[call-overload]
    if kind == Type.MONEY:
        hundredths, rest = divmod(whole, _HUNDREDTH)
        if rest:
            return _keep_text(cell)
        whole = hundredths
    if kind in (Type.TIME, Type.MONEY) and not -_INT64 <= whole < _INT64:  # a time after 2262
        return _keep_text(cell)
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


def _read_values(reader: Reader, schema: ProfileSchema, layout: int) -> list[object]:
    count = len(schema.names)
    kept = reader.take((count + 1) // 2).hex()[:count]
    form = struct.Struct("<" + kept.translate(_KEPT))
    values = list(form.unpack_from(reader.data, reader.skip(form.size)))
    if "0" in kept:
        there = iter(values)
        values = [_NO_VALUE if digit == "0" else next(there) for digit in kept]
    heap = Reader(reader.take(reader.number(4)), "a profile's texts") if layout == _LAYOUT_JSON else reader
    for i, digit in enumerate(kept):
        if digit in "789abdef":
            if digit in "78":
                values[i] /= 100
            elif digit in "9ab":
                values[i] = float(values[i])
            elif digit == "d":
                values[i] *= _SECOND_NS
            else:
                text = heap.take(values[i]).decode()
                values[i] = text if schema.types[i] in _TEXTUAL else int(text)
    if heap is not reader:
        heap.end()
    for i in schema.money:
        if values[i] is _NO_VALUE:
            continue
        if kept[i] not in "ef":
            values[i] *= _HUNDREDTH
    for i in schema.texts:
        if values[i] is _NO_VALUE:
            continue
        values[i] = tuple(map(str, orjson.loads(values[i])))
    return values


@lru_cache(maxsize=1024)
def pack_schema(names: tuple[str, ...], types: tuple[str, ...], units: tuple[str, ...]) -> bytes:
    """A schema section; `units`: the currencies of the money cells. Raises ValueError where they are too many."""
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
def unpack_schema(section: bytes) -> ProfileSchema:
    """What a schema section says. Raises CorruptBlob."""
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
        types = tuple(TYPES[c] for c in codes)
    except (UnicodeDecodeError, IndexError) as e:
        raise CorruptBlob(f"a profile's schema section: {e}") from None
    money = tuple(i for i, kind in enumerate(types) if kind is Type.MONEY)
    if len(words) != count + len(money) or len(set(words[:count])) != count:
        raise CorruptBlob(f"a profile's schema section has {len(words)} names and currencies for {count} cells")
    units = [""] * count
    for i, unit in zip(money, words[count:], strict=True):
        units[i] = unit
    texts = tuple(i for i, kind in enumerate(types) if kind is Type.TEXTS)
    return ProfileSchema(words[:count], types, tuple(units), money, texts)


def schema_section(blob: bytes) -> bytes:
    """The schema section of a profile's bytes, b"" where they are too short to hold it."""
    at = VERSION_SIZE + 3
    size = int.from_bytes(blob[at - 2 : at], "little")
    return blob[at : at + size] if len(blob) >= at + size else b""


def _varint(value: int) -> bytes:
    """LEB128. Raises ValueError outside 0 to 2^64 - 1."""
    if 0 <= value < 128:
        return bytes((value,))
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} does not fit 64 bits")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _signed(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else ~(value << 1))


def _word(text: str) -> bytes:
    raw = text.encode()
    return _varint(len(raw)) + raw


def _words(texts: Sequence[str]) -> bytes:
    return _varint(len(texts)) + b"".join(map(_word, texts))


def _pack_contact(contact: Contact) -> bytes:
    parts = [_signed(contact.preferred_from_minute), _signed(contact.preferred_to_minute)]
    parts.append(_varint(len(contact.consents)))
    for purpose, granted, changed_at_ms, source, wording_version, *scope in contact.consents:
        narrow = any(scope)
        parts += (bytes((granted | narrow << 1,)), _signed(changed_at_ms))
        parts += (_word(purpose), _word(source), _word(wording_version))
        parts += map(_word, scope) if narrow else ()
    parts += (_words(contact.blocked_topics), _words(contact.blocked_channels))
    return b"".join(parts)


# These raise IndexError where bytes are missing, and ValueError.


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends."""
    value = data[at]
    if value < 128:
        return value, at + 1
    value &= 127
    for shift in range(7, 70, 7):
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                break
            return value, at + 1
    raise ValueError("a varint of more than 64 bits")


def _read_signed(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _read_word(data: bytes, at: int) -> tuple[str, int]:
    size, at = _read_varint(data, at)
    end = at + size
    if end > len(data):
        raise IndexError("a word is cut")
    return data[at:end].decode(), end


def _read_words(data: bytes, at: int) -> tuple[list[str], int]:
    count, at = _read_varint(data, at)
    words = []
    for _ in range(count):
        word, at = _read_word(data, at)
        words.append(word)
    return words, at


def _unpack_contact(section: bytes) -> Contact:
    start, at = _read_signed(section, 0)
    stop, at = _read_signed(section, at)
    count, at = _read_varint(section, at)
    consents = []
    for _ in range(count):
        flags = section[at]
        if flags > 3:
            raise ValueError(f"a consent with flags {flags}")
        changed_at_ms, at = _read_signed(section, at + 1)
        purpose, at = _read_word(section, at)
        source, at = _read_word(section, at)
        wording_version, at = _read_word(section, at)
        topic = channel = ""
        if flags & 2:
            topic, at = _read_word(section, at)
            channel, at = _read_word(section, at)
        consents.append(ConsentEntry(purpose, bool(flags & 1), changed_at_ms, source, wording_version, topic, channel))
    topics, at = _read_words(section, at)
    channels, at = _read_words(section, at)
    if at != len(section):
        raise ValueError(f"{len(section) - at} bytes too many")
    return Contact(consents, topics, channels, start, stop)


def _unpack_json(section: bytes) -> Contact | None:
    if not section:
        return None
    consents, topics, channels, start, stop = orjson.loads(section)
    return Contact([ConsentEntry(*c) for c in consents], list(topics), list(channels), int(start), int(stop))


def encode(profile: Profile, declared: Mapping[str, tuple[str, str]] | None = None) -> bytes:
    """The profile's bytes. `declared`: type and unit of every feature of the rule set, see above.

    Raises ValueError where `version` is not 8 bytes or a value does not fit.
    """
    if len(profile.version) != VERSION_SIZE:
        raise ValueError(f"a stored profile needs a version of 8 bytes, not {len(profile.version)}")
    cells = profile.cells
    if declared is not None:
        as_of_ms = next((c.as_of_ms for c in cells.values()), 0)  # any of the others: the column stays as small
        lacking = {n: Cell(t, _NO_VALUE, as_of_ms, u) for n, (t, u) in declared.items() if n not in cells}
        cells = {**cells, **lacking}
    items = sorted(cells.items())
    units = tuple(c.unit for _, c in items if c.type == Type.MONEY)
    section = pack_schema(tuple(n for n, _ in items), tuple(str(c.type) for _, c in items), units)
    kept = [_keep(cell) for _, cell in items]
    digits = "".join([digit for digit, _ in kept])
    try:
        packed = struct.pack("<" + digits.translate(_KEPT), *[value for _, value in kept if value is not _NO_VALUE])
    except struct.error as e:
        raise ValueError(f"a cell's value does not fit its type: {e}") from None
    heap = b"".join([_text(cell) for (_, cell), digit in zip(items, digits, strict=True) if digit in "ef"])
    contact = b"" if profile.contact is None else _pack_contact(profile.contact)
    return b"".join(
        (
            profile.version,
            struct.pack("<BH", LAYOUT, len(section)),
            section,
            pack_ints([c.as_of_ms for _, c in items]),
            bytes.fromhex(digits + "0" * (len(digits) & 1)),
            packed,
            heap,
            _varint(len(contact)),
            contact,
        )
    )


def _read_contact(reader: Reader, layout: int) -> Contact | None:
    try:
        if layout == _LAYOUT_JSON:
            return _unpack_json(reader.take(reader.number(4)))
        size, reader.pos = _read_varint(reader.data, reader.pos)
        return _unpack_contact(reader.take(size)) if size else None
    except (ValueError, TypeError, IndexError) as e:
        raise CorruptBlob(f"a profile's contact section: {e}") from None


def decode(blob: bytes) -> Profile:
    """The profile of these bytes; an empty one for b"". Raises CorruptBlob."""
    if not blob:
        return Profile()
    reader = Reader(blob, "a profile")
    version = reader.take(VERSION_SIZE)
    layout = reader.u8()
    if layout not in (_LAYOUT_JSON, LAYOUT):
        raise CorruptBlob(f"a profile of layout {layout}; this version reads {_LAYOUT_JSON} and {LAYOUT}")
    schema = unpack_schema(reader.take(reader.number(2)))
    as_of = reader.ints(len(schema.names))
    try:
        values = _read_values(reader, schema, layout)
    except (ValueError, TypeError) as e:
        raise CorruptBlob(f"a profile's values: {e}") from None
    contact = _read_contact(reader, layout)
    reader.end()
    columns = zip(schema.names, schema.types, values, as_of, schema.units, strict=True)
    cells = {name: Cell(kind, value, at, unit) for name, kind, value, at, unit in columns if value is not _NO_VALUE}
    return Profile(version, cells, contact)
