"""What is written of profiles that a bank sent: the transaction for the store, log entries, and the answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels import puts as p
from engine.kernels.arena import FINE, LEFT
from engine.kernels.canonical import TEXT
from engine.kernels.compiled import kernel, part
from engine.kernels.consent import read_signed, read_size
from engine.kernels.packing import pack
from engine.kernels.profiles import _LAYOUT, _SIZES
from engine.kernels.put import pack_array, pack_integer, pack_text, put, put_varint, put_word, varint_size
from engine.kernels.rewrite import (
    AS_OF,
    DIGIT,
    NEW_AT,
    NEW_N,
    SHORT,
    TEXT_AT,
    TEXT_END,
    TO_BEGIN,
    TO_END,
    VALUE,
    merge_cells,
    open_cells,
    record_state,
)  # fmt: skip
from engine.kernels.write import KEY_ROOM, _bulk_behind, _put_bucket_log, _put_key, _put_word5

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_I, _U = np.int64, np.uint64
_ENTRY = 3  # kind of a log entry, as in state.log
_FAR_MS = 4_000_000_000_000  # years after 2096 are left to Python
_AHEAD_MS = 300_000  # as step.take.AHEAD_MS_MAX


class Words(NamedTuple):
    """Names of features as MessagePack has them: bytes, and spans by feature."""

    bytes: U8
    spans: I64  # (F, 2)


@kernel
def read_command(rows, store, puts, out):  # type: ignore[no-untyped-def]
    """A WATCH and an MGET of profile and record of these rows' customers; `out` has room for 64 bytes and four keys
    a row. Returns the length."""
    at = _put_word5(out, 0, 42, 1 + 2 * len(rows), 87, 65, 84, 67, 72)
    for turn in range(2):
        if turn:
            at = _put_word5(out, at, 42, 1 + 2 * len(rows), 77, 71, 69, 84, 0)
        for n in range(len(rows)):
            at = _put_key(out, at, store, puts, rows[n], 112, _U(0))
            at = _put_key(out, at, store, puts, rows[n], 114, _U(0))
    return at


@kernel
def puts_room(rows, spans, layouts, layout, declared, puts, store, words):  # type: ignore[no-untyped-def]
    """Bytes that `write_puts` needs at most."""
    room = _I(256)
    for n in range(len(rows)):
        i = rows[n]
        s = layout[i]
        room += 6 * (len(store.prefix) + KEY_ROOM) + 768 + spans[i, 1] - spans[i, 0]
        room += layouts.spans[s, TO_END] - layouts.spans[s, TO_BEGIN] + 24 * layouts.spans[s, NEW_N]
        room += 2 * _entry_room(i, words, puts)
        if puts.contact[i, 0] >= 0:
            room += 2 * (puts.contact[i, 1] - puts.contact[i, 0]) + 32 * p.MAX_CONSENTS
        for f in range(puts.given.shape[1]):
            if puts.given[i, f] and declared.types[f] == TEXT:
                room += puts.cells[i, f, 1] - puts.cells[i, f, 0]
    return room


@kernel
def write_puts(  # type: ignore[no-untyped-def]
    rows, data, held, spans, store_ms, layouts, layout, declared, words, store, versions, old, new, said, puts, out,
    total,
):  # fmt: skip
    """Writes the transaction that commits these rows, but those that turn out to be LEFT; returns its length.

    data, held     what was sent, and what the store holds
    old, new       (cells, SCRATCH): scratch; said (MAX_CONSENTS, SAID) likewise
    total (1,)     how many commands lie within MULTI and EXEC
    """
    at = put(out, 0, store.begin, 0, len(store.begin))
    total[0] = 0
    for n in range(len(rows)):
        i = rows[n]
        if puts.status[i] != FINE:
            continue
        end = _write_put(
            i, data, held, spans, store_ms, layouts, layout[i], declared, words, store, versions[i], old, new, said,
            puts, out, at,
        )  # fmt: skip
        if end < 0:
            puts.status[i] = LEFT
        else:
            at, total[0] = end, total[0] + 2
    return put(out, at, store.end, 0, len(store.end))


@part
def _write_put(  # type: ignore[no-untyped-def]
    i, data, held, spans, store_ms, layouts, s, declared, words, store, version, old, new, said, puts, out, at
):
    """The two commands that commit row i, its log entry and its profile; -1: left."""
    last_ms, opted = record_state(held, spans[i, 2], spans[i, 3])
    now_ms = max(_I(store_ms), last_ms)
    if last_ms < 0 or now_ms > _FAR_MS:
        return _I(-1)
    contact, stop = open_cells(held, spans[i, 0], spans[i, 1], s, layouts, old), spans[i, 1]
    if contact < 0 or not merge_cells(i, s, now_ms, layouts, declared, puts, old, new):
        return _I(-1)
    # both strings are written further on and moved up to their lengths; the profile first, which may not succeed
    entry = at + 2 * (len(store.prefix) + KEY_ROOM) + 128
    blob = entry + 128 + _entry_room(i, words, puts)
    end = _write_cells(blob, i, s, version, data, held, layouts, declared, puts, old, new, out)
    consents = _I(0)
    if puts.contact[i, 0] >= 0:
        end, consents = _write_contact(end, i, now_ms, opted, contact, stop, data, held, declared, said, puts, out)
        if end < 0:
            return _I(-1)
    elif contact < stop:
        end = put(out, end, held, contact, stop)
    else:
        out[end] = 0
        end += 1
    at = put(out, at, store.add, 0, len(store.add))
    at = _put_bucket_log(out, at, store, puts, i)
    at = put(out, at, store.at_end, 0, len(store.at_end))
    stop = _write_entry(entry, i, now_ms, version, consents, data, words, said, puts, out)
    at = _bulk_behind(out, at, entry, stop)
    at = put(out, at, store.set, 0, len(store.set))
    at = _put_key(out, at, store, puts, i, 112, _U(0))
    return _bulk_behind(out, at, blob, end)


@part
def _entry_room(i, words, puts):  # type: ignore[no-untyped-def]
    """Bytes of a log entry, at most."""
    room = _I(64)
    for f in range(puts.given.shape[1]):
        if puts.given[i, f]:
            room += words.spans[f, 1] - words.spans[f, 0]
    if puts.contact[i, 0] >= 0:
        room += puts.contact[i, 1] - puts.contact[i, 0] + 32 * p.MAX_CONSENTS
    return room


@part
def _write_cells(  # type: ignore[no-untyped-def]
    at, i, s, version, data, held, layouts, declared, puts, old, new, out
):
    """The profile's bytes up to its contact section."""
    begin, end = layouts.spans[s, TO_BEGIN], layouts.spans[s, TO_END]
    first, count = layouts.spans[s, NEW_AT], layouts.spans[s, NEW_N]
    at = put_word(out, at, version)
    out[at], out[at + 1], out[at + 2] = _LAYOUT, (end - begin) & 255, (end - begin) >> 8
    at = put(out, at + 3, layouts.sections, begin, end)
    at = pack(new, 0, count, AS_OF, False, out, at)
    for t in range(0, count, 2):
        out[at] = new[t, DIGIT] << 4 | (new[t + 1, DIGIT] if t + 1 < count else 0)
        at += 1
    for t in range(count):
        digit = new[t, DIGIT]
        size = _SIZES[digit]
        f, c = layouts.new[first + t, 0], layouts.new[first + t, 1]
        if f >= 0 and puts.given[i, f]:
            value = new[t, VALUE]
            for k in range(size):
                out[at + k] = (value >> (8 * k)) & 255
            at += size
        elif digit:
            at = put(out, at, held, old[c, VALUE], old[c, VALUE] + size)
    for t in range(count):
        if new[t, DIGIT] < SHORT:
            continue
        f, c = layouts.new[first + t, 0], layouts.new[first + t, 1]
        if f >= 0 and puts.given[i, f]:
            at = put(out, at, data, puts.cells[i, f, 0], puts.cells[i, f, 1])
        else:
            at = put(out, at, held, old[c, TEXT_AT], old[c, TEXT_END])
    return at


# ---- contact ------------------------------------------------------------------------------------


@part
def _put_span(out, at, data, begin, end):  # type: ignore[no-untyped-def]
    """A word: its length and its bytes."""
    return put(out, put_varint(out, at, _U(end - begin)), data, begin, end)


@part
def _write_contact(  # type: ignore[no-untyped-def]
    at, i, now_ms, opted, begin, end, data, held, declared, said, puts, out
):
    """The contact section with its length, as contact.consent.merge_contact makes it of the one held at `begin`.

    Where it ends, and the number of consents; -1: the ordinary way must, as a withdrawal or a stop may have to stay.
    """
    consents, topics, channels = p.read_contact(
        data, puts.contact[i, 0], puts.contact[i, 1], now_ms + _AHEAD_MS, declared, said
    )
    if consents < 0 or opted:
        return _I(-1), consents
    size, was = _I(0), begin
    if begin < end:
        size, was = read_size(held, begin, end)
    body = at + 5  # behind its length
    out[body], out[body + 1] = 1, 1  # no preferred hours: -1, -1
    stop = put_varint(out, body + 2, _U(consents))
    for k in range(consents):
        at_ms = min(said[k, p.AT_MS], now_ms)
        if at_ms == 0:
            at_ms = now_ms
            if said[k, p.GRANTED] and size:
                told_ms = _told_ms(held, was, end, data, said[k, p.PURPOSE], said[k, p.PURPOSE + 1])
                at_ms = told_ms if told_ms >= 0 else now_ms
        said[k, p.AT_MS] = at_ms
        out[stop] = said[k, p.GRANTED]
        stop = put_varint(out, stop + 1, _U(at_ms) << _U(1))
        for word in (p.PURPOSE, p.SOURCE, p.WORDING):
            stop = _put_span(out, stop, data, said[k, word], said[k, word + 1])
    stop = put_varint(out, stop, _U(topics))
    for k in range(topics + channels):
        if k == topics:
            stop = put_varint(out, stop, _U(channels))
        stop = _put_span(out, stop, data, said[k, p.BLOCKED], said[k, p.BLOCKED + 1])
    if not channels:
        out[stop] = 0
        stop += 1
    if size and not _overruled(held, was, end, data, consents, said):  # what is held may stay only as it is
        if size != stop - body:
            return _I(-1), consents
        for k in range(size):
            if held[was + k] != out[body + k]:
                return _I(-1), consents
    at = put_varint(out, at, _U(stop - body))
    return put(out, at, out, body, stop), consents


@part
def _first_consent(held, at, end):  # type: ignore[no-untyped-def]
    """Where the consents of a contact section begin, and their number."""
    _hour, at = read_signed(held, at, end)
    _hour, at = read_signed(held, at, end)
    count, at = read_size(held, at, end)
    return at, count


@part
def _behind_words(held, at, end, count):  # type: ignore[no-untyped-def]
    for _ in range(count):
        size, at = read_size(held, at, end)
        at += size
    return at


@part
def _overruled(held, at, end, data, consents, said):  # type: ignore[no-untyped-def]
    """Whether every withdrawal that a contact section holds is followed by a later word on the same purpose."""
    at, count = _first_consent(held, at, end)
    for _ in range(count):
        granted = held[at]
        told, at = read_signed(held, at + 1, end)
        size, word = read_size(held, at, end)
        later = granted != 0
        for k in range(consents):
            if not later and size == said[k, p.PURPOSE + 1] - said[k, p.PURPOSE] and said[k, p.AT_MS] > told:
                later = _equal(held, word, data, said[k, p.PURPOSE], size)
        if not later:
            return False
        at = _behind_words(held, word + size, end, 2)
    return True


@part
def _equal(held, at, data, begin, size):  # type: ignore[no-untyped-def]
    """Whether so many bytes are the same."""
    for k in range(size):  # noqa: SIM110 - numba has no `all`
        if held[at + k] != data[begin + k]:
            return False
    return True


@part
def _told_ms(held, at, end, data, begin, stop):  # type: ignore[no-untyped-def]
    """When the purpose data[begin:stop] was consented to, as a contact section has it; -1 where it has not."""
    at, count = _first_consent(held, at, end)
    for _ in range(count):
        told, at = read_signed(held, at + 1, end)
        size, word = read_size(held, at, end)
        if size == stop - begin and _equal(held, word, data, begin, size):
            return told
        at = _behind_words(held, word + size, end, 2)
    return _I(-1)


# ---- log entry and answer ---------------------------------------------------------------------------


@part
def _write_entry(at, i, now_ms, version, consents, data, words, said, puts, out):  # type: ignore[no-untyped-def]
    """The log entry of row i: see state.log.ProfileEntry."""
    out[at] = _ENTRY
    at = put_word(out, at + 1, _U(now_ms))
    at = put_word(out, put_word(out, at, puts.customer[i, 0]), puts.customer[i, 1])
    at = put_word(out, at, version)
    written = _I(0)
    for f in range(puts.given.shape[1]):
        written += puts.given[i, f]
    contact = puts.contact[i, 0] >= 0
    at = pack_array(out, at, 4 if consents else 3 if contact else 1 if written else 0)
    if contact or written:
        at = pack_array(out, at, written)
        for f in range(puts.given.shape[1]):
            if puts.given[i, f]:
                at = put(out, at, words.bytes, words.spans[f, 0], words.spans[f, 1])
    if contact:
        out[at], out[at + 1] = 0x90, 0xC3  # nothing was removed; true
        at += 2
    if consents:
        at = pack_array(out, at, consents)
    for k in range(consents):
        out[at] = 0x95
        at = pack_text(out, at + 1, data, said[k, p.PURPOSE], said[k, p.PURPOSE + 1])
        out[at] = 0xC3 if said[k, p.GRANTED] else 0xC2
        at = pack_integer(out, at + 1, said[k, p.AT_MS])
        at = pack_text(out, at, data, said[k, p.SOURCE], said[k, p.SOURCE + 1])
        at = pack_text(out, at, data, said[k, p.WORDING], said[k, p.WORDING + 1])
    return at


@kernel
def write_results(rows, data, puts, out, ends):  # type: ignore[no-untyped-def]
    """The PutProfileResults of these rows, all stored, as fields of a PutProfilesResponse; `ends` (n,): of each."""
    at = _I(0)
    for n in range(len(rows)):
        begin, end = puts.ids[rows[n], 0], puts.ids[rows[n], 1]
        size = end - begin
        out[at] = 0x0A
        at = put_varint(out, at + 1, _U(1 + varint_size(_U(size)) + size))
        out[at] = 0x0A
        at = put(out, put_varint(out, at + 1, _U(size)), data, begin, end)
        ends[n] = at
    return at
