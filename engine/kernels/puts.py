"""Profiles that a bank writes, from protobuf to columns: what service.profile_codec does for one in Python.

Only what is plainly right is read. Everything else is LEFT to the ordinary way, which has the words for what is
wrong: what comes twice, preferred hours, features to clear, ids beyond ASCII, lists and durations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.arena import FINE, LEFT
from engine.kernels.blake2b import digest
from engine.kernels.canonical import NUMBER, OTHER
from engine.kernels.compiled import kernel, part
from engine.kernels.names import Names, find
from engine.kernels.packing import word as _word
from engine.kernels.requests import _moment, _plain, _read_value, _span, _varint

_I, _U = np.int64, np.uint64

DATE = OTHER + 1  # beside the codes of `canonical`
MAX_CONSENTS, MAX_WORD = 16, 256
_DAYS_TO_1970 = 719_468  # from 0000-03-01


class Declared(NamedTuple):
    """What a profile may hold. Features are numbered in the order of their names."""

    names: Names
    types: NDArray[np.int8]  # (F,): codes as in `canonical`, or DATE
    units: NDArray[np.int32]  # (F,): of money the currency
    currencies: Names
    purposes: Names
    channels: Names
    customer: NDArray[np.uint64]  # start of identity.customer_key's hash


class Puts(NamedTuple):
    """N profiles as they were sent. Cells as in `requests.Requests`, of a date its days since 1970."""

    status: NDArray[np.int8]  # (N,): FINE, LEFT
    customer: NDArray[np.uint64]  # (N, 2)
    ids: NDArray[np.int64]  # (N, 2): the customer's id, a span of `data`
    given: NDArray[np.uint8]  # (N, F)
    cells: NDArray[np.int64]  # (N, F, 2)
    contact: NDArray[np.int64]  # (N, 2): a span of `data`; -1: absent


@kernel
def find_items(data, spans):  # type: ignore[no-untyped-def]
    """Fills `spans` (.., 2) with where the profiles of a PutProfilesRequest lie; how many, -1: it is not plain."""
    at, count, end = _I(0), _I(0), _I(len(data))
    while at < end:
        if data[at] != 0x0A or count == len(spans):
            return _I(-1)
        begin, stop = _span(data, at + 1, end)
        if stop < 0:
            return _I(-1)
        spans[count, 0], spans[count, 1] = begin, stop
        count += 1
        at = stop
    return count


@kernel
def read_puts(data, spans, declared, hashed, out):  # type: ignore[no-untyped-def]
    """Fills `out` from the serialized Profiles at `spans`; returns how many are LEFT. hashed (8,): scratch."""
    left = 0
    for i in range(len(out.status)):
        out.contact[i, 0] = out.contact[i, 1] = -1
        out.status[i] = FINE
        for f in range(out.given.shape[1]):
            out.given[i, f] = 0
        if not _read_put(data, spans[i, 0], spans[i, 1], i, declared, out):
            out.status[i] = LEFT
            left += 1
            continue
        digest(declared.customer, data, out.ids[i, 0], out.ids[i, 1], hashed)
        out.customer[i, 0], out.customer[i, 1] = hashed[0], hashed[1]
    return left


@part
def _part(data, at, end):  # type: ignore[no-untyped-def]
    """`_span`, of which nearly all are short."""
    if at < end and data[at] < 0x80:
        begin = _I(at + 1)
        stop = begin + _I(data[at])
        return begin, stop if stop <= end else _I(-1)
    return _span(data, at, end)


@part
def _read_put(data, begin, end, i, declared, out):  # type: ignore[no-untyped-def]
    """Whether a Profile is read into row i."""
    at, named, guess = begin, False, _I(0)
    while at < end:
        tag = data[at]
        if tag != 0x0A and tag != 0x12 and tag != 0x22:
            return False
        value, stop = _part(data, at + 1, end)
        if stop < 0:
            return False
        if tag == 0x0A:
            if named or not _plain(data, value, stop):
                return False
            named = True
            out.ids[i, 0], out.ids[i, 1] = value, stop
        elif tag == 0x12:
            guess = _read_feature(data, value, stop, i, guess, declared, out)
            if guess < 0:
                return False
        else:
            if out.contact[i, 0] >= 0:
                return False
            out.contact[i, 0], out.contact[i, 1] = value, stop
        at = stop
    return named


@part
def _equal(data, begin, end, names, number):  # type: ignore[no-untyped-def]
    """Whether data[begin:end] is this name."""
    at = names.spans[number, 0]
    if names.spans[number, 1] - at != end - begin:
        return False
    for k in range(end - begin):  # noqa: SIM110 - numba has no `all`
        if names.bytes[at + k] != data[begin + k]:
            return False
    return True


@part
def _read_feature(data, begin, end, i, guess, declared, out):  # type: ignore[no-untyped-def]
    """An entry of the map of features; the number of the feature that is likely to be the next, -1: not read.

    Whoever writes them in the order of their names, or in any one order of its own, is read without a search.
    """
    at, name, name_end, value, value_end = begin, _I(-1), _I(-1), _I(-1), _I(-1)
    while at < end:
        tag = data[at]
        if tag == 0x0A and name_end < 0:
            name, name_end = _part(data, at + 1, end)
            at = name_end
        elif tag == 0x12 and value_end < 0:
            value, value_end = _part(data, at + 1, end)
            at = value_end
        else:
            return _I(-1)
        if at < 0:
            return _I(-1)
    if name_end < 0 or value_end < 0:
        return _I(-1)
    f = guess
    if f >= len(declared.types) or not _equal(data, name, name_end, declared.names, f):
        f = find(declared.names, data, name, name_end)
    if f < 0 or out.given[i, f] != 0:
        return _I(-1)
    if declared.types[f] == NUMBER and value_end - value == 9 and data[value] == 0x19:
        bits = _word(data, value + 1)
        if bits >> _U(52) & _U(0x7FF) == _U(0x7FF):  # not finite
            return _I(-1)
        out.cells[i, f, 0], out.cells[i, f, 1] = _I(bits), 0
    elif declared.types[f] == DATE:
        if not _read_date(data, value, value_end, i, f, out):
            return _I(-1)
    elif not _read_value(data, value, value_end, i, f, _I(declared.types[f]), declared.units[f], declared, out):
        return _I(-1)
    out.given[i, f] = 1
    return f + 1


@part
def _digits(data, at, count):  # type: ignore[no-untyped-def]
    """A number of so many digits, -1 where one is none."""
    value = _I(0)
    for k in range(count):
        digit = _I(data[at + k]) - 48
        if digit < 0 or digit > 9:
            return _I(-1)
        value = value * 10 + digit
    return value


@part
def _read_date(data, begin, end, i, f, out):  # type: ignore[no-untyped-def]
    """A Value that is the text of a date such as 2026-01-31."""
    if end - begin != 12 or data[begin] != 0x22 or data[begin + 1] != 10:
        return False
    year, month, day = _digits(data, begin + 2, 4), _digits(data, begin + 7, 2), _digits(data, begin + 10, 2)
    if data[begin + 6] != 45 or data[begin + 9] != 45 or year < 1 or month < 1 or month > 12 or day < 1:
        return False
    longest = 31 if month in (1, 3, 5, 7, 8, 10, 12) else 30
    if month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if day > longest:
        return False
    shifted = year - (1 if month <= 2 else 0)  # years begin in March: the leap day is their last
    since = shifted % 400
    in_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = shifted // 400 * 146_097 + since * 365 + since // 4 - since // 100 + in_year
    out.cells[i, f, 0], out.cells[i, f, 1] = days - _DAYS_TO_1970, 0
    return True


# ---- contact ------------------------------------------------------------------------------------
# Columns of `said`. A consent's: spans of purpose, source and wording version; granted; when, ms (0: not told).
# And beside them, without regard to these: the span of a blocked topic or channel.
PURPOSE, SOURCE, WORDING, GRANTED, AT_MS, BLOCKED = 0, 2, 4, 6, 7, 8
SAID = 10


@kernel
def read_contact(data, begin, end, latest_ms, declared, said):  # type: ignore[no-untyped-def]
    """Reads ContactPreferences into `said` (MAX_CONSENTS, SAID): how many consents, blocked topics and blocked channels
    (behind the topics) there are. The first is -1 where it is not plain.

    latest_ms: how late a consent may have been given.
    """
    consents, topics, channels, at = _I(0), _I(0), _I(0), begin
    none = _I(-1)
    while at < end:
        tag = data[at]
        if tag != 0x0A and tag != 0x12 and tag != 0x1A:
            return none, none, none
        value, stop = _span(data, at + 1, end)
        if stop < 0:
            return none, none, none
        if tag == 0x0A:
            if consents == MAX_CONSENTS or not _read_consent(data, value, stop, latest_ms, declared, said, consents):
                return none, none, none
            consents += 1
        else:
            if topics + channels == MAX_CONSENTS or not _plain(data, value, stop):
                return none, none, none
            if tag == 0x12:
                if channels:  # they are kept topics first
                    return none, none, none
                topics += 1
            else:
                if find(declared.channels, data, value, stop) < 0:
                    return none, none, none
                channels += 1
            row = topics + channels - 1
            said[row, BLOCKED], said[row, BLOCKED + 1] = value, stop
        at = stop
    return consents, topics, channels


@part
def _visible(data, begin, end):  # type: ignore[no-untyped-def]
    """Whether a word is short and of ASCII."""
    if end - begin > MAX_WORD:
        return False
    for at in range(begin, end):  # noqa: SIM110
        if data[at] > 0x7F:
            return False
    return True


@part
def _read_consent(data, begin, end, latest_ms, declared, said, row):  # type: ignore[no-untyped-def]
    """A Consent into a row of `said`; each purpose once."""
    for k in range(GRANTED):
        said[row, k] = begin
    said[row, GRANTED], said[row, AT_MS] = -1, 0
    at, seen, purpose = begin, _I(0), _I(-1)
    while at < end:
        tag = _I(data[at])
        if seen >> (tag >> 3) & 1:
            return False
        seen |= 1 << (tag >> 3)
        if tag == 0x10:
            state, at = _varint(data, at + 1, end)
            if at < 0 or (state != _U(1) and state != _U(2)):
                return False
            said[row, GRANTED] = 1 if state == _U(1) else 0
            continue
        if tag != 0x0A and tag != 0x1A and tag != 0x22 and tag != 0x2A:
            return False
        value, at = _span(data, at + 1, end)
        if at < 0:
            return False
        if tag == 0x1A:
            seconds, nanos = _moment(data, value, at)
            if nanos < 0 or seconds <= 0:
                return False
            when_ms = seconds * 1000 + nanos // 1_000_000
            if when_ms > latest_ms:
                return False
            said[row, AT_MS] = when_ms
        else:
            if not _visible(data, value, at):
                return False
            k = PURPOSE if tag == 0x0A else SOURCE if tag == 0x22 else WORDING
            said[row, k], said[row, k + 1] = value, at
            if tag == 0x0A:
                purpose = find(declared.purposes, data, value, at)
    if purpose < 0 or said[row, GRANTED] < 0:
        return False
    for k in range(row):
        if said[k, PURPOSE + 1] - said[k, PURPOSE] == said[row, PURPOSE + 1] - said[row, PURPOSE] and _same(
            data, said[k, PURPOSE], said[row, PURPOSE], said[row, PURPOSE + 1] - said[row, PURPOSE]
        ):
            return False
    return True


@part
def _same(data, one, other, size):  # type: ignore[no-untyped-def]
    """Whether two spans of one buffer hold the same bytes."""
    for k in range(size):  # noqa: SIM110
        if data[one + k] != data[other + k]:
            return False
    return True
