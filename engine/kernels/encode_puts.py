"""Profiles from columns to the bytes of PutProfilesRequests: what `tact load` sends. The way back is `kernels.puts`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.canonical import BOOL, INTEGER, MONEY, NUMBER, TEXT, TIME
from engine.kernels.compiled import kernel, part
from engine.kernels.put import put, put_varint, put_word, varint_size

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_I, _U = np.int64, np.uint64
ROW_ROOM, CELL_ROOM = 96, 40  # bytes of a profile, and of a value, beside names and texts


class Heads(NamedTuple):
    """Of each of F columns: its type as in `canonical` (any other: texts hold whole Values), and spans in `bytes`."""

    kinds: NDArray[np.int8]
    bytes: U8
    names: I64  # (F, 2): the name, as the key of a map's entry
    units: I64  # (F, 2): of money the currency


class Rows(NamedTuple):
    """N profiles. Cells as in `requests.Requests`, with spans of `texts`."""

    texts: U8
    ids: I64  # (N, 2)
    given: U8  # (N, F)
    cells: I64  # (N, F, 2)
    contact: I64  # (N, 2): a serialized ContactPreferences; begin -1: absent
    skip: U8  # (N,): 1 where nothing is to be written


@part
def _put_value(out, at, kind, first, second, begin, end, rows, heads):  # type: ignore[no-untyped-def]
    """A Value; `begin` and `end`: of its currency."""
    if kind == NUMBER:
        out[at] = 0x19
        return put_word(out, at + 1, _U(first))
    if kind in (BOOL, INTEGER):
        out[at] = 0x08 if kind == BOOL else 0x10
        return put_varint(out, at + 1, _U(first))
    if kind == TEXT:
        out[at] = 0x22
        return put(out, put_varint(out, at + 1, _U(second - first)), rows.texts, first, second)
    if kind != TIME and kind != MONEY:
        return put(out, at, rows.texts, first, second)
    size = at + 1  # it is below 128
    at += 2
    if kind == TIME:
        out[size - 1] = 0x2A
        if first:
            out[at] = 0x08
            at = put_varint(out, at + 1, _U(first))
        if second:
            out[at] = 0x10
            at = put_varint(out, at + 1, _U(second))
    else:
        out[size - 1] = 0x32
        if first < 0 and second > 0:  # both of one sign
            first, second = first + 1, second - 1_000_000_000
        out[at], out[at + 1] = 0x0A, end - begin
        at = put(out, at + 2, heads.bytes, begin, end)
        if first:
            out[at] = 0x10
            at = put_varint(out, at + 1, _U(first))
        if second:
            out[at] = 0x18
            at = put_varint(out, at + 1, _U(second))
    out[size] = at - size - 1
    return at


@part
def _put_behind(out, at, tag, begin, end):  # type: ignore[no-untyped-def]
    """Moves [begin, end) of `out` up to `at`, with its tag and length ahead."""
    out[at] = tag
    return put(out, put_varint(out, at + 1, _U(end - begin)), out, begin, end)


@part
def _put_feature(out, at, i, f, rows, heads):  # type: ignore[no-untyped-def]
    """An entry of the map of features; its two lengths take a byte each, or what is behind them is moved."""
    entry = at + 2
    stop = put(out, entry, heads.bytes, heads.names[f, 0], heads.names[f, 1])
    value = stop + 2
    last = _put_value(
        out, value, heads.kinds[f], rows.cells[i, f, 0], rows.cells[i, f, 1], heads.units[f, 0], heads.units[f, 1],
        rows, heads,
    )  # fmt: skip
    if last - entry < 128:
        out[at], out[at + 1], out[stop], out[stop + 1] = 0x12, last - entry, 0x12, last - value
        return last
    size = last - value
    last = _shift(out, value, last, varint_size(_U(size)) - 1)
    out[stop] = 0x12
    put_varint(out, stop + 1, _U(size))
    size = last - entry
    last = _shift(out, entry, last, varint_size(_U(size)) - 1)
    out[at] = 0x12
    put_varint(out, at + 1, _U(size))
    return last


@part
def _shift(out, begin, end, by):  # type: ignore[no-untyped-def]
    """Moves [begin, end) of `out` so many bytes on; the new end."""
    if by:
        for k in range(end - begin):
            out[end - 1 - k + by] = out[end - 1 - k]
    return end + by


@kernel
def encode_puts(rows, heads, out, ends):  # type: ignore[no-untyped-def]
    """Writes the rows as fields of a PutProfilesRequest, one behind another; `ends` (N,): where each one ends."""
    at = _I(0)
    for i in range(len(ends)):
        if rows.skip[i]:
            ends[i] = at
            continue
        begin = at + 16
        end = begin
        out[end] = 0x0A
        size = rows.ids[i, 1] - rows.ids[i, 0]
        end = put(out, put_varint(out, end + 1, _U(size)), rows.texts, rows.ids[i, 0], rows.ids[i, 1])
        for f in range(len(heads.kinds)):
            if not rows.given[i, f]:
                continue
            end = _put_feature(out, end, i, f, rows, heads)
        if rows.contact[i, 0] >= 0:
            out[end] = 0x22
            size = rows.contact[i, 1] - rows.contact[i, 0]
            end = put(out, put_varint(out, end + 1, _U(size)), rows.texts, rows.contact[i, 0], rows.contact[i, 1])
        at = _put_behind(out, at, 0x0A, begin, end)
        ends[i] = at
    return at
