"""The contact section of a profile in kernels: consent, blocked channels, preferred hours.

The section's layout is told in `state.profile`, the twin is `contact.consent`. `contact_fits` looks a section
over, once, when its profile is read; the others are for sections that it passed, and check no more. An empty
span is no section: nothing is known, nothing is blocked. Names to look for are spans of `names`, a buffer of
UTF-8 that the caller keeps; equal names are equal bytes.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.arena import OPT_AT, OPT_N
from engine.kernels.compiled import kernel, part
from engine.kernels.utf8 import valid_utf8

_U = np.uint64
_WORD_MAX = 1 << 20  # bytes of a word, entries of a list: what is more is left to Python

# Answers of `consent`, with the reason and the cause that `stopped_by_consent` gives.
ALLOWED = 0
SAID_STOP = 1  # OPTED_OUT, "the customer said stop"
WITHDRAWN = 2  # OPTED_OUT, "consent was withdrawn"
NOT_GIVEN = 3  # NO_CONSENT, "no consent for '<purpose>' was given"
TOPIC_BLOCKED = 4  # TOPIC_BLOCKED, "the customer blocked the topic"

EVERYTHING = 0  # the purpose of an opt-out from all


@kernel
def read_varint(data, at, end):  # type: ignore[no-untyped-def]
    """The LEB128 varint at `at` as uint64, and where it ends: -1 where it is cut or has more than 64 bits."""
    value, shift = _U(0), _U(0)
    while at < end:
        byte = _U(data[at])
        at += 1
        if shift == _U(63) and byte > _U(1):
            return _U(0), np.int64(-1)
        value |= (byte & _U(127)) << shift
        if byte < _U(128):
            return value, np.int64(at)
        shift += _U(7)
    return _U(0), np.int64(-1)


@kernel
def read_signed(data, at, end):  # type: ignore[no-untyped-def]
    """The same of a signed (zigzag) varint, as int64."""
    value, at = read_varint(data, at, end)
    return np.int64((value >> _U(1)) ^ (_U(0) - (value & _U(1)))), at


@kernel
def read_size(data, at, end):  # type: ignore[no-untyped-def]
    """The same of a length or a count, as int64; -1 as the place where it is too large to be one."""
    value, at = read_varint(data, at, end)
    if value > _U(_WORD_MAX):
        return np.int64(0), np.int64(-1)
    return np.int64(value), at


@part
def _words_fit(data, at, end, count):  # type: ignore[no-untyped-def]
    """Where `count` words end, -1 where they do not fit or are no UTF-8."""
    for _ in range(count):
        size, at = read_size(data, at, end)
        if at < 0 or size > end - at or not valid_utf8(data, at, at + size):
            return np.int64(-1)
        at += size
    return np.int64(at)


@kernel
def contact_fits(data, begin, end):  # type: ignore[no-untyped-def]
    """Whether data[begin:end] is a contact section that these kernels can read, to its last byte."""
    at = np.int64(begin)
    for _ in range(2):  # preferred hours
        _value, at = read_varint(data, at, end)
        if at < 0:
            return False
    count, at = read_size(data, at, end)
    if at < 0:
        return False
    for _ in range(count):
        if at >= end or data[at] > 1:
            return False
        _value, at = read_varint(data, at + 1, end)
        if at < 0:
            return False
        at = _words_fit(data, at, end, 3)
        if at < 0:
            return False
    for _ in range(2):  # topics, channels
        count, at = read_size(data, at, end)
        if at < 0:
            return False
        at = _words_fit(data, at, end, count)
        if at < 0:
            return False
    return at == end


@part
def _same(data, at, size, names, begin, end):  # type: ignore[no-untyped-def]
    if size != end - begin:
        return False
    differ = np.uint8(0)
    for k in range(size):
        differ |= np.uint8(data[at + k] ^ names[begin + k])
    return differ == 0


@part
def _find_word(data, at, end, names, begin, stop):  # type: ignore[no-untyped-def]
    """Whether a list of words holds a name, and where the list ends."""
    count, at = read_size(data, at, end)
    found = False
    for _ in range(count):
        size, at = read_size(data, at, end)
        found |= _same(data, at, size, names, begin, stop)
        at += size
    return found, at


@kernel
def preferred(data, begin, end):  # type: ignore[no-untyped-def]
    """Preferred hours, minutes of the customer's day: from, to; -1 and -1 where there are none."""
    if begin >= end:
        return np.int64(-1), np.int64(-1)
    start, at = read_signed(data, begin, end)
    stop, at = read_signed(data, at, end)
    return start, stop


@part
def _consents(data, begin, end):  # type: ignore[no-untyped-def]
    """How many consents there are, and where they begin."""
    _start, at = read_signed(data, begin, end)
    _stop, at = read_signed(data, at, end)
    return read_size(data, at, end)


@part
def _next_consent(data, at, end, names, begin, stop):  # type: ignore[no-untyped-def]
    """Of the consent at `at`: whether it is for the purpose names[begin:stop], its flags and time; where it ends."""
    flags = np.int64(data[at])
    changed_ms, at = read_signed(data, at + 1, end)
    size, at = read_size(data, at, end)
    same = _same(data, at, size, names, begin, stop)
    at += size
    for _ in range(2):
        size, at = read_size(data, at, end)
        at += size
    return same, flags, changed_ms, at


@kernel
def opted_out_ms(records, i, purpose):  # type: ignore[no-untyped-def]
    """When the customer of event i said stop, to a purpose (the hash's bits as int64) or everything; -1: never.

    records  an arena.Records
    """
    own, everything = np.int64(-1), np.int64(-1)
    first = records.rec[i, OPT_AT]
    for row in range(first, first + records.rec[i, OPT_N]):
        if records.opts[row, 0] == purpose:
            own = records.opts[row, 1]
        elif records.opts[row, 0] == EVERYTHING:
            everything = records.opts[row, 1]
    return max(own, everything, np.int64(-1))


@kernel
def consent(  # type: ignore[no-untyped-def]
    data, begin, end, names, purpose_begin, purpose_end, required, stopped_ms, topic_begin, topic_end
):
    """Whether consent allows a message: ALLOWED, or the first of the codes above that forbids it.

    data[begin:end]                    the contact section
    names[purpose_begin:purpose_end]   the purpose's name
    required                           whether the purpose is one that needs consent
    stopped_ms                         `opted_out_ms` of the purpose
    names[topic_begin:topic_end]       the message's topic; empty where it has none
    """
    held, granted_ms = False, np.int64(-1)
    withdrawn = False
    at = np.int64(end)
    if begin < end:
        count, at = _consents(data, begin, end)
        for _ in range(count):
            same, flags, changed_ms, at = _next_consent(data, at, end, names, purpose_begin, purpose_end)
            if same and not held:  # the first one counts
                held = True
                if flags & 1:
                    granted_ms = changed_ms
                else:
                    withdrawn = True
    if stopped_ms >= 0 and granted_ms <= stopped_ms:
        return SAID_STOP
    if withdrawn:
        return WITHDRAWN
    if required and granted_ms < 0:
        return NOT_GIVEN
    if topic_begin < topic_end and at < end:
        blocked, at = _find_word(data, at, end, names, topic_begin, topic_end)
        if blocked:
            return TOPIC_BLOCKED
    return ALLOWED


@kernel
def blocks_channel(data, begin, end, names, channel_begin, channel_end):  # type: ignore[no-untyped-def]
    """Whether the customer blocked the channel names[channel_begin:channel_end]."""
    if begin >= end:
        return False
    count, at = _consents(data, begin, end)
    for _ in range(count):
        _found, _flags, _ms, at = _next_consent(data, at, end, names, 0, 0)
    _blocked, at = _find_word(data, at, end, names, 0, 0)  # topics
    blocked, at = _find_word(data, at, end, names, channel_begin, channel_end)
    return blocked
