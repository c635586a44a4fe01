"""The record's bytes: what the engine keeps of one customer.

    offset  size
    0       8      version, random; compared by the commit script
    8       1      layout, 1
    9       8      last_ms, signed
    17      8      since_ms, signed
    25      ..     sections: tag (u8), size (u32), payload; left out where empty

    tag  payload (each begins with its number of entries, u16; a column is as in packing)
    1    windows: columns key, since_ms, last_used_ms, 2 x buckets + is_float; then per window: first bucket
         (column of one), column of steps between buckets, column of values
    2    touches: number of distinct names (u16), the names (u64 each), 1 where send_before and
         report_by are kept as distance from at (0: none), then one column per field of Touch; fields
         that hold a name hold its place in the list of names
    3    opt-outs: columns purpose, when
    4    assignments: columns policy, message, variant, share
    5    answers: columns event, fingerprint, at, size of body; then the bodies
    6    answers that have keys of their own: columns event, until

Other tags are a newer version's: carried in `Record.unknown` byte for byte, so that two versions can
run side by side. Constant columns cost two bytes, so a touch of few messages takes about 30.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain

from engine.state.model import Answer, Record, Touch, WindowState
from engine.state.packing import MAX_COUNT, CorruptBlob, Reader, pack_floats, pack_ints

LAYOUT = 1
VERSION_SIZE = 8
_HEAD = struct.Struct("<8sBqq")
_SECTION = struct.Struct("<BI")
_WINDOWS, _TOUCHES, _OPT_OUTS, _ASSIGNMENTS, _ANSWERS, _SPILLED = 1, 2, 3, 4, 5, 6
_KNOWN = frozenset((_WINDOWS, _TOUCHES, _OPT_OUTS, _ASSIGNMENTS, _ANSWERS, _SPILLED))
_NAMES = slice(3, 12)  # Touch's fields that hold names: message .. policy
_AT, _SEND_BEFORE, _REPORT_BY = 0, 13, 14


def _count(entries: Sequence[object]) -> bytes:
    if len(entries) > MAX_COUNT:
        raise ValueError(f"{len(entries)} entries in one section of a record, more than {MAX_COUNT}")
    return len(entries).to_bytes(2, "little")


def _pack_windows(windows: dict[int, WindowState]) -> bytes:
    states = list(windows.values())
    shapes = [len(w.buckets) << 1 | w.is_float for w in states]
    parts = [
        _count(states),
        pack_ints(list(windows)),
        pack_ints([w.since_ms for w in states]),
        pack_ints([w.last_used_ms for w in states]),
        pack_ints(shapes),
    ]
    for w in states:
        if len(w.buckets) != len(w.values) or len(w.buckets) > MAX_COUNT:
            raise ValueError(f"a window of {len(w.buckets)} buckets and {len(w.values)} values")
        if not w.buckets:
            continue
        parts.append(pack_ints(w.buckets[:1]))
        parts.append(pack_ints([b - a for a, b in zip(w.buckets, w.buckets[1:], strict=False)]))
        if w.is_float:
            parts.append(pack_floats(w.values))
        else:
            parts.append(pack_ints(w.values))  # type: ignore[arg-type]
    return b"".join(parts)


def _unpack_windows(reader: Reader) -> dict[int, WindowState]:
    count = reader.number(2)
    keys, since, used, shapes = (reader.ints(count) for _ in range(4))
    windows: dict[int, WindowState] = {}
    for key, since_ms, last_used_ms, shape in zip(keys, since, used, shapes, strict=True):
        size, is_float = shape >> 1, bool(shape & 1)
        state = WindowState(is_float, since_ms=since_ms, last_used_ms=last_used_ms)
        if not 0 <= size <= MAX_COUNT:
            raise CorruptBlob(f"a record's window of {size} buckets")
        if size:
            bucket = reader.ints(1)[0]
            state.buckets = [bucket, *[bucket := bucket + step for step in reader.ints(size - 1)]]
            if is_float:
                state.values = reader.floats(size)
            else:
                state.values = list(reader.ints(size))
        windows[key] = state
    return windows


def _pack_touches(touches: Sequence[Touch]) -> bytes:
    columns: list[Sequence[int]] = list(zip(*touches, strict=True))
    names = {name: place for place, name in enumerate(dict.fromkeys(chain(*columns[_NAMES])))}
    columns[_NAMES] = [list(map(names.__getitem__, c)) for c in columns[_NAMES]]
    at = columns[_AT]
    relative = all(
        not due or due > t for c in (_SEND_BEFORE, _REPORT_BY) for due, t in zip(columns[c], at, strict=True)
    )
    if relative:
        for c in (_SEND_BEFORE, _REPORT_BY):
            columns[c] = [due and due - t for due, t in zip(columns[c], at, strict=True)]
    table = struct.pack(f"<H{len(names)}QB", len(names), *names, relative)
    return b"".join((_count(touches), table, *map(pack_ints, columns)))


def _unpack_touches(reader: Reader) -> list[Touch]:
    count = reader.number(2)
    size = reader.number(2)
    names = struct.unpack_from(f"<{size}Q", reader.data, reader.skip(8 * size))
    relative = reader.u8()
    columns = [reader.ints(count) for _ in Touch._fields]
    try:
        columns[_NAMES] = [list(map(names.__getitem__, c)) for c in columns[_NAMES]]
    except IndexError:
        raise CorruptBlob("a record's touch names what its list of names does not hold") from None
    if relative:
        at = columns[_AT]
        for c in (_SEND_BEFORE, _REPORT_BY):
            columns[c] = [wait and wait + t for wait, t in zip(columns[c], at, strict=True)]
    return list(map(Touch, *columns))


def _pack_answers(answers: Sequence[Answer]) -> bytes:
    events, prints, at, bodies = zip(*answers, strict=True)
    sizes = [len(b) for b in bodies]
    columns = (pack_ints(events), pack_ints(prints), pack_ints(at), pack_ints(sizes))
    return b"".join((_count(answers), *columns, *bodies))


def _unpack_answers(reader: Reader) -> list[Answer]:
    count = reader.number(2)
    events, prints, at, sizes = (reader.ints(count) for _ in range(4))
    return list(map(Answer, events, prints, at, map(reader.take, sizes)))


def _pack_table(rows: Sequence[tuple[int, ...]]) -> bytes:
    return b"".join((_count(rows), *[pack_ints(c) for c in zip(*rows, strict=True)]))


def _unpack_columns(reader: Reader, width: int) -> list[Sequence[int]]:
    count = reader.number(2)
    return [reader.ints(count) for _ in range(width)]


def encode(record: Record) -> bytes:
    """The record's bytes. Raises ValueError where `version` is not 8 bytes or something does not fit."""
    if len(record.version) != VERSION_SIZE:
        raise ValueError(f"a stored record needs a version of 8 bytes, not {len(record.version)}")
    sections: list[tuple[int, bytes]] = []
    if record.windows:
        sections.append((_WINDOWS, _pack_windows(record.windows)))
    if record.touches:
        sections.append((_TOUCHES, _pack_touches(record.touches)))
    if record.opt_outs:
        sections.append((_OPT_OUTS, _pack_table(list(record.opt_outs.items()))))
    if record.assignments:
        rows = [(*key, *value) for key, value in record.assignments.items()]
        sections.append((_ASSIGNMENTS, _pack_table(rows)))
    if record.answers:
        sections.append((_ANSWERS, _pack_answers(record.answers)))
    if record.spilled:
        sections.append((_SPILLED, _pack_table(list(record.spilled.items()))))
    if any(tag in _KNOWN for tag, _ in record.unknown):
        raise ValueError("a section of a known tag among the unknown ones")
    parts = [_HEAD.pack(record.version, LAYOUT, record.last_ms, record.since_ms)]
    for tag, payload in (*sections, *record.unknown):
        parts.append(_SECTION.pack(tag, len(payload)))
        parts.append(payload)
    return b"".join(parts)


def decode(blob: bytes) -> Record:
    """The record of these bytes; an empty one for b"". Raises CorruptBlob."""
    if not blob:
        return Record()
    reader = Reader(blob, "a record")
    if len(blob) > VERSION_SIZE and blob[VERSION_SIZE] != LAYOUT:
        raise CorruptBlob(f"a record of layout {blob[VERSION_SIZE]}; this version reads {LAYOUT}")
    version, _, last_ms, since_ms = _HEAD.unpack_from(blob, reader.skip(_HEAD.size))
    record = Record(version, last_ms, since_ms)
    seen: set[int] = set()
    while reader.pos < len(blob):
        tag, size = _SECTION.unpack_from(blob, reader.skip(_SECTION.size))
        payload = reader.take(size)
        if tag not in _KNOWN:
            record.unknown.append((tag, payload))
            continue
        if tag in seen:
            raise CorruptBlob(f"a record has section {tag} twice")
        seen.add(tag)
        _read_section(record, tag, Reader(payload, f"section {tag} of a record"))
    return record


def _read_section(record: Record, tag: int, reader: Reader) -> None:
    if tag == _WINDOWS:
        record.windows = _unpack_windows(reader)
    elif tag == _TOUCHES:
        record.touches = _unpack_touches(reader)
    elif tag == _OPT_OUTS:
        record.opt_outs = dict(zip(*_unpack_columns(reader, 2), strict=True))
    elif tag == _ASSIGNMENTS:
        policies, messages, variants, shares = _unpack_columns(reader, 4)
        keys = zip(policies, messages, strict=True)
        record.assignments = dict(zip(keys, zip(variants, shares, strict=True), strict=True))
    elif tag == _SPILLED:
        record.spilled = dict(zip(*_unpack_columns(reader, 2), strict=True))
    else:
        record.answers = _unpack_answers(reader)
    reader.end()
