"""Bodies of answers: the pieces that never change, and between them what does. See `engine.columns.bodies`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels import messages as c
from engine.kernels.compiled import inlined, kernel, part
from engine.kernels.put import move, put, put_varint, put_word

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_U = np.uint64
WHOLE, REFUSAL, MESSAGE = range(3)
# Columns of `Pieces.rows`: the kind, spans of the pieces, and the limit of a refusal.
KIND, FIRST, SECOND, THIRD, FOURTH, LIMIT = 0, 1, 3, 5, 7, 9
PIECE = 10
CHANGING = 208  # bytes of what changes in a message or refusal, and of the lengths around, at most


class Pieces(NamedTuple):
    """What answers are made of. A body that is WHOLE is its first piece.

    Of a REFUSAL: outcome and reason; details ahead of the count; those behind the time; the rest.
    Of a MESSAGE: what is ahead of the text; text, slots and replies (begin -1: they change); sender to product; policy.
    """

    bytes: U8
    rows: I64  # (.., PIECE)
    revision: I64  # (2,): the last field of a message


@part
def _put_moment(out, at, tag, ms):  # type: ignore[no-untyped-def]
    """A Timestamp field, none for 0; not before 1970. `tag`: of one or two bytes, little endian."""
    if ms == 0:
        return at
    if tag > 255:
        out[at] = tag & 255
        at += 1
        tag >>= 8
    out[at] = tag
    length, at = at + 1, at + 2
    if ms >= 1000:
        out[at] = 0x08
        at = put_varint(out, at + 1, _U(ms // 1000))
    if ms % 1000:
        out[at] = 0x10
        at = put_varint(out, at + 1, _U(ms % 1000 * 1_000_000))
    out[length] = at - length - 1
    return at


@part
def _put_number(out, at, tag, value):  # type: ignore[no-untyped-def]
    """A field of two bytes' tag (little endian) with a varint, none for 0."""
    if value == 0:
        return at
    out[at], out[at + 1] = tag & 255, tag >> 8
    return put_varint(out, at + 2, _U(value))


@part
def _put_double(out, at, tag, bits):  # type: ignore[no-untyped-def]
    """A field of two bytes' tag with a double by its bits, none for 0."""
    if bits == _U(0):
        return at
    out[at], out[at + 1] = tag & 255, tag >> 8
    return put_word(out, at + 2, bits)


@part
def _behind(out, at, begin, end):  # type: ignore[no-untyped-def]
    """Moves [begin, end) of `out` up to `at`, with its length as a varint ahead."""
    return move(out, put_varint(out, at, _U(end - begin)), begin, end)


@part
def _put_refusal(out, at, piece, count, frees, pieces):  # type: ignore[no-untyped-def]
    """A Decision that says why nothing is said."""
    rows, source = pieces.rows, pieces.bytes
    at = put(out, at, source, rows[piece, FIRST], rows[piece, FIRST + 1])
    out[at] = 0x32  # details
    begin = at + 16
    end = put(out, begin, source, rows[piece, SECOND], rows[piece, SECOND + 1])
    if count:
        out[end] = 0x60
        end = put_varint(out, end + 1, _U(count))
    if rows[piece, LIMIT]:
        out[end] = 0x68
        end = put_varint(out, end + 1, _U(rows[piece, LIMIT]))
    end = _put_moment(out, end, 0x72, frees)
    end = put(out, end, source, rows[piece, THIRD], rows[piece, THIRD + 1])
    at = _behind(out, at + 1, begin, end)
    return put(out, at, source, rows[piece, FOURTH], rows[piece, FOURTH + 1])


@inlined
def _put_message(out, at, i, piece, begin, end, texts, chosen, given, pieces):  # type: ignore[no-untyped-def]
    """A Decision that sends."""
    rows, source, row = pieces.rows, pieces.bytes, chosen.rows[i]
    at = put(out, at, source, rows[piece, FIRST], rows[piece, FIRST + 1])
    if rows[piece, SECOND] < 0:
        at = put(out, at, texts, begin, end)
    else:
        at = put(out, at, source, rows[piece, SECOND], rows[piece, SECOND + 1])
    at = put(out, at, source, rows[piece, THIRD], rows[piece, THIRD + 1])
    at = _put_moment(out, at, 0x01A2, row[c.AT_MS])
    at = _put_moment(out, at, 0x01AA, row[c.SEND_BEFORE])
    at = _put_moment(out, at, 0x01B2, row[c.REPORT_BY])
    at = _put_number(out, at, 0x01B8, row[c.IS_DEFERRED])
    shares = (row[c.MESSAGE_SHARE] / c.SHARE_UNIT) * (row[c.VARIANT_SHARE] / c.SHARE_UNIT)
    at = _put_double(out, at, 0x01D1, np.float64(chosen.ranks[i]).view(np.uint64))
    at = _put_double(out, at, 0x01D9, np.float64(shares).view(np.uint64))
    at = _put_number(out, at, 0x01E0, row[c.MESSAGE_SHARE])
    at = _put_number(out, at, 0x01E8, row[c.VARIANT_SHARE])
    at = put(out, at, source, rows[piece, FOURTH], rows[piece, FOURTH + 1])
    if not row[c.IS_STICKY]:
        at = _put_number(out, at, 0x01F8, max(np.int64(0), given.shares[row[c.SHARES], c.SHARE_VERSION]))
    return put(out, at, source, pieces.revision[0], pieces.revision[1])


@kernel
def bodies_room(events, piece, text, pieces):  # type: ignore[no-untyped-def]
    """Bytes that `write_bodies` needs at most."""
    room = np.int64(0)
    for n in range(len(events)):
        i = events[n]
        for k in range(FIRST, LIMIT, 2):
            room += max(np.int64(0), pieces.rows[piece[i], k + 1] - pieces.rows[piece[i], k])
        room += CHANGING + text[i, 1] - text[i, 0] + pieces.revision[1] - pieces.revision[0]
    return room


@kernel
def write_bodies(events, piece, text, texts, chosen, given, pieces, out, body):  # type: ignore[no-untyped-def]
    """Writes what is kept of the answers to these events, one behind another; returns where they end.

    piece (events,)    the row of `pieces` of each; text (events, 2) what changes of its text, a span of `texts`
    body (events, 2)   where each one is then, in `out`
    """
    at = np.int64(0)
    for n in range(len(events)):
        i = events[n]
        body[i, 0] = at
        kind = pieces.rows[piece[i], KIND]
        if kind == WHOLE:
            at = put(out, at, pieces.bytes, pieces.rows[piece[i], FIRST], pieces.rows[piece[i], FIRST + 1])
        else:
            out[at] = 0x0A
            begin = at + 16
            if kind == REFUSAL:
                count, frees = chosen.rows[i, c.STOP_COUNT], chosen.rows[i, c.STOP_FREES]
                end = _put_refusal(out, begin, piece[i], count, frees, pieces)
            else:
                end = _put_message(out, begin, i, piece[i], text[i, 0], text[i, 1], texts, chosen, given, pieces)
            at = _behind(out, at + 1, begin, end)
        body[i, 1] = at
    return at
