"""Requests of a batch from their bytes to columns: the wire format of protobuf, checked against the schema.

What service.codec and service.values do for one request in Python. What is not quite usual is left to them, and
so is all that is wrong: they have the words for it. Whatever could be written in more ways than one is read in
one only: every field comes once and every varint is as short as can be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.kernels.arena import FINE, LEFT
from engine.kernels.blake2b import digest
from engine.kernels.canonical import BOOL, INTEGER, MONEY, NUMBER, TEXT, TIME, canonical
from engine.kernels.compiled import part
from engine.kernels.names import Names, find
from engine.kernels.operations import TIME_MAX_S, TIME_MIN_S
from engine.kernels.utf8 import valid_utf8

_U = np.uint64
_I = np.int64

MAX_ID, MAX_TEXT, MAX_ATTRIBUTES = 256, 16 << 10, 64
_BILLION = 1_000_000_000
_EXACT = 1 << 53  # a double holds every integer up to this
_INT64_MIN = -(1 << 63)
_CANONICAL = 64 << 10  # bytes of an event's canonical form


class Schema(NamedTuple):
    """What an event may be, see columns.requests. `A`: the most attributes that any type has.

    Attributes are numbered within their type, in the order of their names.
    """

    kinds: Names  # event types, in the order of RuleSet.events
    names: Names  # of attributes, of all types
    currencies: Names
    numbers: NDArray[np.int32]  # (kinds, names): the number of the type's attribute of that name, -1 for none
    types: NDArray[np.int8]  # (kinds, A): the codes in `canonical`
    units: NDArray[np.int32]  # (kinds, A): of money the currency
    heads: NDArray[np.uint8]  # what canonical forms begin with, see identity.fingerprint
    kind_heads: NDArray[np.int64]  # (kinds, 2): span in `heads` of the type's name
    attribute_heads: NDArray[np.int64]  # (kinds, A, 2): of the attribute's name, and what is the same for all values
    customer: NDArray[np.uint64]  # starts of the hashes, see blake2b
    event: NDArray[np.uint64]
    content: NDArray[np.uint64]


class Requests(NamedTuple):
    """The requests of a batch of N. Of one that is LEFT `kind` is -1, and the rest means nothing.

    Cells: a flag is 0 or 1; an integer itself; a number the bits of the double; a text its span in `data`; a time
    seconds, rounded down, and nanoseconds; money units, rounded down, and billionths. Not given: what was there.
    """

    status: NDArray[np.int8]  # (N,): FINE, LEFT
    kind: NDArray[np.int32]  # (N,): the event type
    ids: NDArray[np.int64]  # (N, 4): spans in `data` of event_id and customer_id
    occurred: NDArray[np.int64]  # (N, 3): 1 where occurred_at is given, its seconds and nanoseconds; else zeros
    customer: NDArray[np.uint64]  # (N, 2): the digest of identity.customer_key as little-endian words
    event: NDArray[np.uint64]  # (N,): identity.event_hash
    content: NDArray[np.uint64]  # (N,): codec.content_fingerprint
    cells: NDArray[np.int64]  # (N, A, 2)
    given: NDArray[np.uint8]  # (N, A): 1 where the attribute is given


@njit(cache=True, error_model="numpy", nogil=True)
def read_requests(data, starts, schema, out):  # type: ignore[no-untyped-def]
    """Fills `out` from serialized DecideRequests, and returns how many are LEFT.

    data: uint8, read only. Request i is data[starts[i] : starts[i + 1]], starts of int64. At most one message is
    asked for by what is accepted, and it is no dry run.
    """
    return _read_requests(data, starts, schema, out, np.empty(_CANONICAL, np.uint8), np.empty(8, np.uint64))


# Neither this nor what it calls counts references to arrays (which the caller holds): counting those of `schema`
# and `out` at every call took half of the time, 1.2 of 2.3 us per event.
@part
def _read_requests(data, starts, schema, out, scratch, hashed):  # type: ignore[no-untyped-def]
    """`read_requests`, with room for a canonical form and a digest."""
    left = 0
    for i in range(len(starts) - 1):
        begin, end = starts[i], starts[i + 1]
        for a in range(out.given.shape[1]):
            out.given[i, a] = 0
        for k in range(3):
            out.occurred[i, k] = 0
        fine = 0 <= begin <= end <= len(data) and _read_request(data, begin, end, i, schema, out)
        size = canonical(data, i, schema, out, scratch) if fine else -1
        if size < 0:
            out.status[i], out.kind[i] = LEFT, -1
            left += 1
            continue
        out.status[i] = FINE
        digest(schema.event, data, out.ids[i, 0], out.ids[i, 1], hashed)
        out.event[i] = hashed[0]
        digest(schema.customer, data, out.ids[i, 2], out.ids[i, 3], hashed)
        out.customer[i, 0], out.customer[i, 1] = hashed[0], hashed[1]
        digest(schema.content, scratch, 0, size, hashed)
        out.content[i] = hashed[0]
    return left


# The wire format. A place of -1 says that it is not as it should be. All fields that are known have numbers
# below 16, so that a tag is one byte: number * 8 + 0 (varint), 1 (eight bytes) or 2 (length and bytes).


@part
def _varint(data, at, end):  # type: ignore[no-untyped-def]
    """A varint's value as uint64, and the place behind it."""
    value = _U(0)
    for k in range(min(end - at, 10)):
        byte = _U(data[at + k])
        value |= (byte & _U(0x7F)) << _U(7 * k)
        if byte < _U(0x80):
            if (byte == _U(0) and k > 0) or (byte > _U(1) and k == 9):  # longer than it need be; beyond 64 bits
                break
            return value, at + k + 1
    return value, _I(-1)


@part
def _span(data, at, end):  # type: ignore[no-untyped-def]
    """The bytes of a field whose length is written at a place: begin and end."""
    size, begin = _varint(data, at, end)
    if begin < 0 or size > _U(end - begin):
        return begin, _I(-1)
    return begin, begin + _I(size)


@part
def _read_request(data, begin, end, i, schema, out):  # type: ignore[no-untyped-def]
    """Whether a DecideRequest is accepted; its event goes into row i."""
    at, event_begin, event_end, asked = begin, _I(-1), _I(-1), False
    while at < end:
        tag = data[at]
        if tag == 0x0A and event_end < 0:
            event_begin, event_end = _span(data, at + 1, end)
            at = event_end
        elif tag == 0x10 and not asked:  # max_messages
            most, at = _varint(data, at + 1, end)
            asked = True
            if most > _U(1):
                return False
        else:
            return False
        if at < 0:
            return False
    return event_end >= 0 and _read_event(data, event_begin, event_end, i, schema, out)


@part
def _read_event(data, begin, end, i, schema, out):  # type: ignore[no-untyped-def]
    """An Event, its attributes in a second turn: they may come before the type."""
    at, seen, attributes, first, kind = begin, _I(0), 0, end, _I(-1)
    while at < end:
        tag = _I(data[at])
        if tag != 0x0A and tag != 0x12 and tag != 0x1A and tag != 0x22 and tag != 0x2A:
            return False
        value, value_end = _span(data, at + 1, end)
        if value_end < 0:
            return False
        if tag == 0x2A:
            attributes += 1
            first = min(first, at)
        else:
            if seen >> (tag >> 3) & 1:
                return False
            seen |= 1 << (tag >> 3)
            if tag == 0x1A:
                kind = find(schema.kinds, data, value, value_end)
            elif tag == 0x22:
                seconds, nanos = _moment(data, value, value_end)
                if nanos < 0:
                    return False
                out.occurred[i, 0], out.occurred[i, 1], out.occurred[i, 2] = 1, seconds, nanos
            else:
                if not _plain(data, value, value_end):
                    return False
                k = 0 if tag == 0x0A else 2
                out.ids[i, k], out.ids[i, k + 1] = value, value_end
        at = value_end
    if seen & 0b1110 != 0b1110 or kind < 0 or attributes > MAX_ATTRIBUTES:
        return False
    out.kind[i] = kind
    at = first
    while at < end:
        tag = data[at]
        value, at = _span(data, at + 1, end)
        if tag == 0x2A and not _read_attribute(data, value, at, i, kind, schema, out):
            return False
    return True


@part
def _plain(data, begin, end):  # type: ignore[no-untyped-def]
    """Whether an id has 1 to 256 characters, all of them ASCII that can be seen."""
    if not 0 < end - begin <= MAX_ID:
        return False
    for at in range(begin, end):  # noqa: SIM110 - numba has no `all`
        if data[at] < 0x21 or data[at] > 0x7E:
            return False
    return True


@part
def _read_attribute(data, begin, end, i, kind, schema, out):  # type: ignore[no-untyped-def]
    """An entry of the map of attributes: name and Value, in either order."""
    at, name, name_end, value, value_end = begin, _I(-1), _I(-1), _I(-1), _I(-1)
    while at < end:
        tag = data[at]
        if tag == 0x0A and name_end < 0:
            name, name_end = _span(data, at + 1, end)
            at = name_end
        elif tag == 0x12 and value_end < 0:
            value, value_end = _span(data, at + 1, end)
            at = value_end
        else:
            return False
        if at < 0:
            return False
    if name_end < 0 or value_end < 0:
        return False
    number = find(schema.names, data, name, name_end)
    a = _I(schema.numbers[kind, number]) if number >= 0 else -1
    if a < 0 or out.given[i, a] != 0:
        return False
    out.given[i, a] = 1
    return _read_value(data, value, value_end, i, a, _I(schema.types[kind, a]), schema.units[kind, a], schema, out)


@part
def _read_value(data, begin, end, i, a, declared, unit, schema, out):  # type: ignore[no-untyped-def]
    """A Value of one kind, as declared, into the cells of attribute a."""
    if begin >= end:
        return False
    tag, at = data[begin], begin + 1
    first, second = _I(0), _I(0)
    if tag == 0x08 or tag == 0x10:  # flag, integer
        value, at = _varint(data, at, end)
        first = _I(value)
        if tag == 0x08:
            if declared != BOOL or value > _U(1):
                return False
        elif declared == NUMBER and -_EXACT <= first <= _EXACT:
            first = np.float64(first).view(np.int64)
        elif declared != INTEGER:
            return False
    elif tag == 0x19:  # number
        if declared != NUMBER or end - at != 8:
            return False
        for k in range(7, -1, -1):
            first = first << 8 | _I(data[at + k])
        if first >> 52 & 0x7FF == 0x7FF:  # not finite
            return False
        at += 8
    else:
        value_begin, at = _span(data, at, end)
        if at < 0:
            return False
        if tag == 0x22 and declared == TEXT:
            if at - value_begin > MAX_TEXT or not valid_utf8(data, value_begin, at):
                return False
            first, second = value_begin, at
        elif tag == 0x2A and declared == TIME:
            first, second = _moment(data, value_begin, at)
        elif tag == 0x32 and declared == MONEY:
            first, second = _money(data, value_begin, at, unit, schema)
        else:
            return False
        if second < 0:
            return False
    if at != end:  # a second kind, or a place of -1
        return False
    out.cells[i, a, 0], out.cells[i, a, 1] = first, second
    return True


@part
def _moment(data, begin, end):  # type: ignore[no-untyped-def]
    """A Timestamp of the years 1 to 9999: seconds and nanoseconds; those are -1 where it is none."""
    at, seconds, nanos, seen = begin, _I(0), _I(0), _I(0)
    while at < end:
        tag = _I(data[at])
        if (tag != 0x08 and tag != 0x10) or seen & tag:
            return seconds, _I(-1)
        seen |= tag
        value, at = _varint(data, at + 1, end)
        if at < 0:
            return seconds, _I(-1)
        if tag == 0x08:
            seconds = _I(value)
        else:
            nanos = _I(value)
    fine = TIME_MIN_S <= seconds <= TIME_MAX_S and 0 <= nanos < _BILLION
    return seconds, nanos if fine else _I(-1)


@part
def _money(data, begin, end, unit, schema):  # type: ignore[no-untyped-def]
    """Money in a currency: units, rounded down, and billionths; those are -1 where it is none."""
    at, units, nanos, currency, seen = begin, _I(0), _I(0), _I(-1), _I(0)
    while at < end:
        tag = _I(data[at])
        if (tag != 0x0A and tag != 0x10 and tag != 0x18) or seen >> (tag >> 3) & 1:
            return units, _I(-1)
        seen |= 1 << (tag >> 3)
        if tag == 0x0A:
            name, at = _span(data, at + 1, end)
            if at >= 0:
                currency = find(schema.currencies, data, name, at)
        else:
            value, at = _varint(data, at + 1, end)
            if tag == 0x10:
                units = _I(value)
            else:
                nanos = _I(value)
        if at < 0:
            return units, _I(-1)
    if currency < 0 or currency != unit or not -_BILLION < nanos < _BILLION or units == _INT64_MIN:
        return units, _I(-1)
    if (units < 0 and nanos > 0) or (units > 0 and nanos < 0):
        return units, _I(-1)
    return (units - 1, nanos + _BILLION) if nanos < 0 else (units, nanos)
