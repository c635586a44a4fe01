"""Entries of the log taken apart into columns: MessagePack against the fields that a kind of entry has.

A field is a number, a text, anything (its bytes), or a list of such, each item one value or an array of them. The
twin is `engine.state.log.decode`: an entry in which anything is otherwise than usual is ODD, and left to that.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compiled import inlined, kernel, part
from engine.kernels.utf8 import valid_utf8

# Rows of a field: WHAT, lowest and highest number, and of a list: its place among lists, its first part, its parts
# (0: an item is one value and no array). Parts are rows of the same kind.
WHAT, LOW, HIGH, LIST_AT, FIRST, PARTS = range(6)
INTEGER, UNSIGNED, DOUBLE, BOOLEAN, TEXT, ANYTHING, LIST = range(7)
FINE, ODD = 0, 1

_EXACT = 1 << 53  # integers up to here are doubles
_INT_MAX = np.uint64((1 << 63) - 1)


@inlined
def _big(data, at, size):  # type: ignore[no-untyped-def]
    """An unsigned integer, big endian."""
    bits = np.uint64(0)
    for k in range(size):
        bits = (bits << np.uint64(8)) | np.uint64(data[at + k])
    return bits


@inlined
def _length(data, at, end, tag, short, mask, tag8, tag16):  # type: ignore[no-untyped-def]
    """How long a text or list is, by its first byte `tag`, and where it begins; -1: it is none, or cut off."""
    if tag & ~mask & 0xFF == short:
        return tag & mask, at + 1
    size = 0
    if tag == tag8 and tag8:
        size = 1
    elif tag == tag16:
        size = 2
    elif tag == tag16 + 1:
        size = 4
    if size == 0 or at + 1 + size > end:
        return -1, at
    return np.int64(_big(data, at + 1, size)), at + 1 + size


@inlined
def text(data, at, end):  # type: ignore[no-untyped-def]
    """A text's length, and where it begins; -1: there is none."""
    if at >= end:
        return -1, at
    length, at = _length(data, at, end, np.int64(data[at]), 0xA0, 0x1F, 0xD9, 0xDA)
    return (length, at) if length <= end - at else (-1, at)


@inlined
def array(data, at, end):  # type: ignore[no-untyped-def]
    """How many items a list has, and where they begin; -1: there is none."""
    if at >= end:
        return -1, at
    return _length(data, at, end, np.int64(data[at]), 0x90, 0x0F, 0, 0xDC)


@part
def _passed(data, at, end):  # type: ignore[no-untyped-def]
    """The place behind a value of any kind; -1: it is cut off, or none."""
    left = np.int64(1)
    while left:
        left -= 1
        if at >= end:
            return -1
        tag = np.int64(data[at])
        size = 0
        if tag <= 0x7F or tag >= 0xE0 or tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
            at += 1
        elif tag <= 0x8F:
            left += 2 * (tag & 0x0F)
            at += 1
        elif tag <= 0x9F:
            left += tag & 0x0F
            at += 1
        elif tag <= 0xBF:
            at += 1 + (tag & 0x1F)
        elif tag == 0xCA or tag == 0xCE or tag == 0xD2:
            at += 5
        elif tag == 0xCB or tag == 0xCF or tag == 0xD3:
            at += 9
        elif tag == 0xCC or tag == 0xD0:
            at += 2
        elif tag == 0xCD or tag == 0xD1:
            at += 3
        elif 0xD4 <= tag <= 0xD8:  # extensions of 1, 2, 4, 8, 16 bytes
            at += 2 + (1 << (tag - 0xD4))
        else:
            extension = 1 if 0xC7 <= tag <= 0xC9 else 0
            if extension:
                size = 1 << int(tag - 0xC7)
            elif 0xC4 <= tag <= 0xC6:
                size = 1 << int(tag - 0xC4)
            elif 0xD9 <= tag <= 0xDB:
                size = 1 << int(tag - 0xD9)
            elif tag >= 0xDC:
                size = 2 if tag == 0xDC or tag == 0xDE else 4
            if size == 0 or at + 1 + size > end:
                return -1
            count = np.int64(_big(data, at + 1, size))
            at += 1 + size
            if tag >= 0xDC:
                left += count * (2 if tag >= 0xDE else 1)
                if left > end - at:  # each takes a byte
                    return -1
            else:
                at += extension + count
        if at > end:
            return -1
    return at


@inlined
def _integer(data, at, end):  # type: ignore[no-untyped-def]
    """An integer's 64 bits, whether they have no sign, and the place behind it; -1: there is none."""
    if at >= end:
        return np.uint64(0), False, -1
    tag = np.int64(data[at])
    if tag <= 0x7F:
        return np.uint64(tag), False, at + 1
    if tag >= 0xE0:
        return np.uint64(tag - 256), False, at + 1
    if 0xCC <= tag <= 0xCF:
        size = 1 << (tag - 0xCC)
        if at + 1 + size > end:
            return np.uint64(0), False, -1
        bits = _big(data, at + 1, size)
        return bits, bits > _INT_MAX, at + 1 + size
    if 0xD0 <= tag <= 0xD3:
        size = 1 << (tag - 0xD0)
        if at + 1 + size > end:
            return np.uint64(0), False, -1
        shift = np.int64(64 - 8 * size)
        return np.uint64((np.int64(_big(data, at + 1, size)) << shift) >> shift), False, at + 1 + size
    return np.uint64(0), False, -1


@inlined
def _value(data, at, end, what, low, high):  # type: ignore[no-untyped-def]
    """One value that is no list: its two cells, and the place behind it; -1: it is not what is expected."""
    if what <= UNSIGNED:
        bits, large, behind = _integer(data, at, end)
        value = np.int64(bits)
        if what == INTEGER and (large or value < low or value > high):
            behind = -1
        if what == UNSIGNED and not large and value < 0:
            behind = -1
        return value, np.int64(0), behind
    if what == DOUBLE:
        if at + 9 <= end and data[at] == 0xCB:
            return np.int64(_big(data, at + 1, 8)), np.int64(0), at + 9
        bits, large, behind = _integer(data, at, end)
        value = np.int64(bits)
        if large or value > _EXACT or value < -_EXACT:
            behind = -1
        return np.float64(value).view(np.int64), np.int64(0), behind
    if what == BOOLEAN:
        there = at < end and (data[at] == 0xC2 or data[at] == 0xC3)
        return np.int64(there and data[at] == 0xC3), np.int64(0), at + 1 if there else -1
    if what == TEXT:
        length, begin = text(data, at, end)
        if length >= 0 and valid_utf8(data, begin, begin + length):
            return begin, begin + length, begin + length
        return np.int64(0), np.int64(0), -1
    behind = _passed(data, at, end)
    return at, behind, behind


@part
def _items(data, at, end, of, first, parts, fields, items, used):  # type: ignore[no-untyped-def]
    """A list's items behind those that are `used`; the place behind it, -1 as `_value`, -2: no more room."""
    count, at = array(data, at, end)
    if count < 0:
        return -1
    if used[of] + count > items.shape[1]:
        return -2 if count <= end - at else -1  # each takes a byte
    for k in range(used[of], used[of] + count):
        if parts:
            found, at = array(data, at, end)
            if found != parts:
                return -1
        for p in range(first, first + max(parts, 1)):
            one, other, at = _value(data, at, end, fields[p, WHAT], fields[p, LOW], fields[p, HIGH])
            if at < 0:
                return -1
            items[p, k, 0], items[p, k, 1] = one, other
    used[of] += count
    return at


@kernel
def shred(data, spans, fields, parts, least, cells, ends, items, used, status):  # type: ignore[no-untyped-def]
    """Entries' bytes behind their heads into columns; -1, or the row at which `items` was full.

    data: uint8; spans (rows, 2): where each entry's fields are. fields, parts (.., 6): see above; `least`: so many
    fields must be there, the others are zeros and empty lists. cells (fields, rows, 2): a number, 0 or 1, a double's
    bits; of texts and of anything where they begin and end, 0 and 0 for none. ends (lists, rows): how many items of a
    list all rows up to this one have. items (parts, room, 2): as cells, by item. used (lists): items so far.
    status (rows): FINE or ODD; an ODD row has no items, and cells of no meaning.
    """
    for row in range(spans.shape[0]):
        end = spans[row, 1]
        count, at = array(data, spans[row, 0], end)
        fine = least <= count <= fields.shape[0]
        if fine:
            for f in range(count):
                what = fields[f, WHAT]
                if what == LIST:
                    of = fields[f, LIST_AT]
                    at = _items(data, at, end, of, fields[f, FIRST], fields[f, PARTS], parts, items, used)
                else:
                    one, other, at = _value(data, at, end, what, fields[f, LOW], fields[f, HIGH])
                    cells[f, row, 0], cells[f, row, 1] = one, other
                if at == -2:
                    return row
                if at < 0:
                    break
            fine = at == end
        if not fine:
            status[row] = ODD
            for of in range(used.shape[0]):
                used[of] = ends[of, row - 1] if row else np.int64(0)
        for of in range(used.shape[0]):
            ends[of, row] = used[of]
    return -1


@kernel
def gather(data, begins, ends, offsets, out):  # type: ignore[no-untyped-def]
    """Spans of `data` one behind another in `out`; offsets (int32, one more than spans): where each begins there."""
    at = 0
    offsets[0] = 0
    for row in range(begins.shape[0]):
        begin = np.uint64(begins[row])
        to, size = np.uint64(at), ends[row] - begins[row]
        for k in range(np.uint64(size)):
            out[to + k] = data[begin + k]
        at += size
        offsets[row + 1] = at
    return at
