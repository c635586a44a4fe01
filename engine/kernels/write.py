"""What leaves a batch: requests to the store, log entries and answers, as bytes.

Everything constant (names, heads of commands) is made once by `engine.columns` and copied from buffers here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels import arena as a
from engine.kernels import messages as c
from engine.kernels.compiled import inlined, kernel, part
from engine.kernels.fill import (
    ATTRIBUTE,
    BOOL,
    FEATURE,
    INCOMPLETE,
    INTEGER,
    MISSING,
    NUMBER,
    OCCURRED,
    STALE,
    TEXT,
    WINDOW,
)  # fmt: skip
from engine.kernels.put import (
    move,
    pack_array,
    pack_double,
    pack_integer,
    pack_map,
    pack_text,
    put,
    put_bulk_decimal,
    put_decimal,
    put_head,
    put_hex,
    put_varint,
    put_word,
    varint_size,
)  # fmt: skip
from engine.kernels.records import keep_answer, record_room, write_record

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
U8 = NDArray[np.uint8]

_U = np.uint64
BUCKETS = 4096  # as identity.BUCKETS
DIGEST_TEXT = 22  # 16 bytes in base 64
KEY_ROOM = 96  # of a key beside the prefix, with its head
SEND, NO_MESSAGE = 1, 2
OUTRANKED = 44
DECISION = 1  # kind of a log entry, as in state.log
ENTRY_ROOM = 512  # of an entry beside what it names and reads
_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8).copy()
# The fields of an entry from `variant` to `terms` where nothing was drawn.
_NOTHING_DRAWN = np.frombuffer(bytes.fromhex("a0a0a000a09000000000c2c29000a0"), np.uint8).copy()
_EXTENSION = np.array([0, 0, 0, 0, 1, 4, 2, 3])  # codes of state.log by type


class Store(NamedTuple):
    """What requests to the store are made of: the beginnings of commands, in RESP, and what follows a stream's key."""

    prefix: U8  # of every key
    add: U8  # *5 XADD
    at_end: U8  # '*' and 'd', between the stream's key and the entry
    set: U8  # *3 SET
    set_for: U8  # *5 SET
    life: U8  # PX
    begin: U8  # MULTI
    end: U8  # EXEC


class Labels(NamedTuple):
    """Names in `names`, as spans, and what conditions read."""

    names: U8
    messages: I64  # (M, 2)
    variants: I64  # (V, 2)
    policies: I64  # (M, 2): empty where there is none
    kinds: I64  # (T, 2): event types
    revision: I64  # (2,)
    missing: I64  # (3, 2): what stands for a value by state
    paths: I64  # (P, 2)
    reads_at: I64  # (M + 1,)
    reads: I64  # inputs that a message's conditions read
    inputs: I64  # (P, 3): source, type, where the currency is: a row of `units`, or -1
    places: I64  # (T, P): where an input is, by event type
    units: I64  # (.., 2)
    reasons: I64  # (STAGES, 8): reasons by stage and code
    attribution_s: I64  # (M,)
    terms: I64  # (M, 2): on which a decision is learnt from, empty where there is no policy
    longest: tuple[int, int, int, int, int]  # bytes at most: of a message, a variant, a path, a unit, of terms


class Batch(NamedTuple):
    """What is written of a batch beside what was chosen; by event."""

    ids: I64  # (events, 4): spans of event and customer id in `data`
    kinds: NDArray[np.int32]
    content: U64
    profile_version: U64
    reasons: I64
    bodies: U8  # the answers' bytes
    body: I64  # (events, 2): spans in `bodies`
    segments: U8  # the customers' segments, where a policy goes by them
    segment: I64  # (events, 2): spans in `segments`
    reports: U8  # what their policies report by, as MessagePack
    reported: I64  # (events, 2): spans in `reports`
    measures: U8  # what the events add to KPIs, as MessagePack
    measured: I64  # (events, 2): spans in `measures`
    versions: U64  # of the records to be written


class Kept(NamedTuple):
    """How long answers are kept, and how many in a record."""

    answer_ms: int
    answers: int


@part
def _turned(word):  # type: ignore[no-untyped-def]
    """The word whose bytes are these, the other way round."""
    turned = _U(0)
    for k in range(_U(8)):
        turned = (turned << _U(8)) | ((word >> (_U(8) * k)) & _U(255))
    return turned


@inlined
def _put_digest(out, at, low, high):  # type: ignore[no-untyped-def]
    """16 bytes, two words, in base 64 without padding."""
    first, second, to = _turned(low), _turned(high), _U(at)
    for k in range(_U(10)):
        out[to + k] = _ALPHABET[(first >> (_U(58) - _U(6) * k)) & _U(63)]
    out[to + _U(10)] = _ALPHABET[((first & _U(15)) << _U(2)) | (second >> _U(62))]
    for k in range(_U(10)):
        out[to + _U(11) + k] = _ALPHABET[(second >> (_U(56) - _U(6) * k)) & _U(63)]
    out[to + _U(21)] = _ALPHABET[(second & _U(3)) << _U(4)]
    return at + DIGEST_TEXT


@part
def _decimals(value):  # type: ignore[no-untyped-def]
    return 1 if value < 10 else 2 if value < 100 else 3 if value < 1000 else 4


@inlined
def _put_key(out, at, store, customers, i, letter, event):  # type: ignore[no-untyped-def]
    """A key of event i's customer, as a string of a command: p, r, or a and an event's hash."""
    low, high = customers.customer[i, 0], customers.customer[i, 1]
    bucket = np.int64(low & _U(BUCKETS - 1))
    size = len(store.prefix) + 1 + _decimals(bucket) + 3 + DIGEST_TEXT
    if letter == 97:
        size += 17
    at = put(out, put_head(out, at, 36, size), store.prefix, 0, len(store.prefix))
    out[at] = 123
    at = put_decimal(out, at + 1, bucket)
    out[at], out[at + 1], out[at + 2] = 125, letter, 58
    at = _put_digest(out, at + 3, low, high)
    if letter == 97:
        out[at] = 58
        at = put_hex(out, at + 1, event, 16)
    out[at], out[at + 1] = 13, 10
    return at + 2


@inlined
def _put_bucket_log(out, at, store, customers, i):  # type: ignore[no-untyped-def]
    """The key of the log stream of event i's bucket, as a string of a command."""
    bucket = np.int64(customers.customer[i, 0] & _U(BUCKETS - 1))
    size = len(store.prefix) + 5 + _decimals(bucket)
    at = put(out, put_head(out, at, 36, size), store.prefix, 0, len(store.prefix))
    out[at] = 123
    at = put_decimal(out, at + 1, bucket)
    out[at], out[at + 1], out[at + 2], out[at + 3], out[at + 4], out[at + 5] = 125, 108, 111, 103, 13, 10
    return at + 6


@part
def _put_word5(out, at, mark, size, a0, a1, a2, a3, a4):  # type: ignore[no-untyped-def]
    """The head of a command of `size` strings whose name has five letters, the last of them 0 where it has four."""
    letters = 5 if a4 else 4
    at = put_head(out, put_head(out, at, mark, size), 36, letters)
    out[at], out[at + 1], out[at + 2], out[at + 3] = a0, a1, a2, a3
    at += 4
    if a4:
        out[at] = a4
        at += 1
    out[at], out[at + 1] = 13, 10
    return at + 2


@kernel
def read_command(events, store, customers, out):  # type: ignore[no-untyped-def]
    """A WATCH of profile and record of each of these events, and one MGET of both and the spilled answer.

    events (n,)  their numbers; `out` has room for 64 bytes and five keys an event. Returns the length.
    """
    at = _put_word5(out, 0, 42, 1 + 2 * len(events), 87, 65, 84, 67, 72)
    for n in range(len(events)):
        i = events[n]
        at = _put_key(out, at, store, customers, i, 112, customers.event[i])
        at = _put_key(out, at, store, customers, i, 114, customers.event[i])
    at = _put_word5(out, at, 42, 1 + 3 * len(events), 77, 71, 69, 84, 0)
    for n in range(len(events)):
        i = events[n]
        at = _put_key(out, at, store, customers, i, 112, customers.event[i])
        at = _put_key(out, at, store, customers, i, 114, customers.event[i])
        at = _put_key(out, at, store, customers, i, 97, customers.event[i])
    return at


# ---- log entries ----------------------------------------------------------------------------------


@inlined
def _pack_value(out, at, i, p, kind, labels, inputs, data):  # type: ignore[no-untyped-def]
    """The value of an input of event i."""
    source, type_, place = labels.inputs[p, 0], labels.inputs[p, 1], labels.places[kind, p]
    state, first, second = np.int64(3), np.int64(0), np.int64(0)
    if source == FEATURE:
        state = np.int64(inputs.states[i, place])
        first, second = inputs.features[i, place, 0], inputs.features[i, place, 1]
    elif source == ATTRIBUTE:
        state = np.int64(3 if inputs.sent[i, place] else 0)
        first, second = inputs.attributes[i, place, 0], inputs.attributes[i, place, 1]
    elif source == WINDOW:
        state = np.int64(inputs.kept[i, place])
        first, second = inputs.windows[i, place, 0], inputs.windows[i, place, 1]
    elif source == OCCURRED:
        first, second = inputs.occurred[i, 0], inputs.occurred[i, 1]
    else:
        return pack_text(out, at, labels.names, labels.kinds[kind, 0], labels.kinds[kind, 1])
    if state in (MISSING, STALE) or (source == WINDOW and state == INCOMPLETE):
        word = 2 if source == WINDOW and state else state
        return pack_text(out, at, labels.names, labels.missing[word, 0], labels.missing[word, 1])
    if type_ == BOOL:
        out[at] = 0xC3 if first else 0xC2
        return at + 1
    if type_ == INTEGER:
        return pack_integer(out, at, first)
    if type_ == NUMBER:
        return pack_double(out, at, first)
    if type_ == TEXT:
        return pack_text(out, at, data, first, second)
    unit = labels.inputs[p, 2]
    begin, end = (labels.units[unit, 0], labels.units[unit, 1]) if unit >= 0 else (0, 0)
    out[at], out[at + 1], out[at + 2] = 0xC7, 16 + end - begin, _EXTENSION[type_]
    at = put_word(out, put_word(out, at + 3, _U(first)), _U(second))
    return put(out, at, labels.names, begin, end)


@inlined
def _pack_values(out, at, i, kind, labels, inputs, data, chosen, marks):  # type: ignore[no-untyped-def]
    """What the conditions of the messages that were looked at read, each input once."""
    rows = chosen.rows
    first, looked_at = rows[i, c.SEEN_AT], rows[i, c.FITS] + rows[i, c.STOPS]
    count = 0
    for k in range(first, first + looked_at):
        m = chosen.seen[k, c.SEEN_MESSAGE]
        for r in range(labels.reads_at[m], labels.reads_at[m + 1]):
            p = labels.reads[r]
            if marks[0, p] != i:
                marks[0, p] = i
                marks[1, count] = p
                count += 1
    at = pack_map(out, at, count)
    for k in range(count):
        p = marks[1, k]
        at = pack_text(out, at, labels.names, labels.paths[p, 0], labels.paths[p, 1])
        at = _pack_value(out, at, i, p, kind, labels, inputs, data)
    return at


@inlined
def _pack_seen(out, at, i, reason, labels, chosen):  # type: ignore[no-untyped-def]
    """The messages that were looked at: name, what stopped it, rank, share."""
    rows, seen = chosen.rows, chosen.seen
    first, count = rows[i, c.SEEN_AT], rows[i, c.FITS] + rows[i, c.STOPS] + rows[i, c.OUTRANKED]
    at = pack_array(out, at, count)
    for k in range(first, first + count):
        m, stage = seen[k, c.SEEN_MESSAGE], seen[k, c.SEEN_STAGE]
        stopped = np.int64(OUTRANKED)
        if stage == 0:
            stopped = np.int64(0)
        elif 0 < stage < c.PAUSE:
            stopped = reason
        elif stage > 0:
            stopped = labels.reasons[stage, seen[k, c.SEEN_CODE]]
        at = pack_text(out, pack_array(out, at, 4), labels.names, labels.messages[m, 0], labels.messages[m, 1])
        at = pack_double(out, pack_integer(out, at, stopped), seen[k, c.SEEN_RANK])
        at = pack_integer(out, at, seen[k, c.SEEN_SHARE])
    return at


@inlined
def _pack_chosen(out, at, i, m, batch, labels, chosen, messages, given, sends):  # type: ignore[no-untyped-def]
    """The fields of an entry behind `message`, of a decision that was drawn."""
    rows = chosen.rows
    first = messages.table[m, c.VARIANT_AT]
    variant = first + rows[i, c.VARIANT_NO]
    channel = rows[i, c.CHANNEL_ROW]
    at = pack_text(out, at, labels.names, labels.variants[variant, 0], labels.variants[variant, 1])
    at = pack_text(out, at, messages.names, messages.channels[channel, 3], messages.channels[channel, 4])
    at = pack_text(out, at, labels.names, labels.policies[m, 0], labels.policies[m, 1])
    version = np.int64(0) if rows[i, c.IS_STICKY] else given.shares[rows[i, c.SHARES], c.SHARE_VERSION]
    at = pack_integer(out, at, max(np.int64(0), version))
    at = pack_text(out, at, batch.segments, batch.segment[i, 0], batch.segment[i, 1])
    fit, count = rows[i, c.FITTING], 0
    for v in range(first, messages.table[m, c.VARIANT_END]):
        count += (fit >> (v - first)) & 1
    at = pack_array(out, at, count)
    for v in range(first, messages.table[m, c.VARIANT_END]):
        if not (fit >> (v - first)) & 1:
            continue
        at = pack_text(out, pack_array(out, at, 2), labels.names, labels.variants[v, 0], labels.variants[v, 1])
        at = pack_integer(out, at, chosen.shares[i, v - first])
    at = pack_integer(out, pack_integer(out, at, rows[i, c.U_MESSAGE]), rows[i, c.U_VARIANT])
    at = pack_integer(out, at, rows[i, c.AT_MS])
    at = pack_integer(out, at, labels.attribution_s[m] if sends else 0)
    out[at], out[at + 1] = 0xC2 if sends else 0xC3, 0xC3 if rows[i, c.IS_STICKY] else 0xC2
    looked_at = messages.table[m, c.CONTEXT_END] - messages.table[m, c.CONTEXT_AT]
    looked_at += 1 if looked_at else 0
    at = pack_array(out, at + 2, looked_at)
    for k in range(looked_at):
        at = pack_integer(out, at, chosen.contexts[i, k])
    out[at] = 0  # about nothing
    return pack_text(out, at + 1, labels.names, labels.terms[m, 0], labels.terms[m, 1])


@inlined
def _learnt(i, chosen):  # type: ignore[no-untyped-def]
    """Of how many messages that were looked at a rank was made of what they have learnt."""
    first, count = chosen.rows[i, c.SEEN_AT], 0
    for k in range(first, first + chosen.rows[i, c.FITS] + chosen.rows[i, c.STOPS]):
        count += chosen.seen[k, c.SEEN_ROW] >= 0
    return count


@inlined
def _fields(i, status, learnt, batch, chosen, given):  # type: ignore[no-untyped-def]
    """How many fields an entry has behind its head: it is cut after the last that may be none of the defaults."""
    if learnt:
        return 28
    if batch.measured[i, 1] > batch.measured[i, 0]:
        return 26
    if status not in (c.SENDS, c.HELD_OUT):
        return 8
    if batch.reported[i, 1] > batch.reported[i, 0]:
        return 25
    row = chosen.rows[i]
    return 23 if row[c.IS_STICKY] or given.shares[row[c.SHARES], c.SHARE_VERSION] >= 0 else 24


@inlined
def _pack_rest(out, at, i, fields, learnt, batch, chosen, given):  # type: ignore[no-untyped-def]
    """The fields of an entry from `assignment` on, as many as it has."""
    rows = chosen.rows
    if fields >= 24:
        drawn = rows[i, c.STATUS] in (c.SENDS, c.HELD_OUT) and not rows[i, c.IS_STICKY]
        out[at] = max(np.int64(0), -given.shares[rows[i, c.SHARES], c.SHARE_VERSION]) if drawn else 0
        at += 1
    if fields >= 25:
        out[at] = 0x80
        begin, end = batch.reported[i, 0], batch.reported[i, 1]
        at = put(out, at, batch.reports, begin, end) if end > begin else at + 1
    if fields >= 26:
        out[at] = 0x90
        begin, end = batch.measured[i, 0], batch.measured[i, 1]
        at = put(out, at, batch.measures, begin, end) if end > begin else at + 1
    if fields >= 28:
        out[at] = 0xA0  # the best was taken
        at = _pack_ranks(out, at + 1, i, learnt, chosen, given)
    return at


@inlined
def _pack_ranks(out, at, i, learnt, chosen, given):  # type: ignore[no-untyped-def]
    """What the ranks of messages were made of that rank by what they have learnt."""
    first, values = chosen.rows[i, c.SEEN_AT], chosen.seen[:, c.SEEN_VALUE].view(np.float64)
    at = pack_array(out, at, learnt)
    for k in range(first, first + chosen.rows[i, c.FITS] + chosen.rows[i, c.STOPS]):
        row = chosen.seen[k, c.SEEN_ROW]
        if row < 0:
            continue
        at = pack_integer(out, pack_array(out, at, 10), k - first)
        at = put(out, at, given.rate_texts, given.rate_spans[row, 0], given.rate_spans[row, 1])
        at = pack_double(out, at, np.float64(values[k] * given.rates[row, 0]).view(np.int64))
        at = put(out, at, given.rate_texts, given.rate_spans[row, 1], given.rate_spans[row, 2])
    return at


@inlined
def _entry(out, at, i, batch, labels, chosen, messages, given, inputs, customers, records, data, marks):  # type: ignore[no-untyped-def]
    """The log entry of event i: see state.log."""
    rows, kind = chosen.rows, batch.kinds[i]
    status, m = rows[i, c.STATUS], rows[i, c.MESSAGE]
    sends, drawn = status == c.SENDS, status in (c.SENDS, c.HELD_OUT)
    out[at] = DECISION
    at = put_word(out, at + 1, _U(customers.now_ms[i]))
    at = put_word(out, put_word(out, at, customers.customer[i, 0]), customers.customer[i, 1])
    at = put_word(out, put_word(out, at, customers.event[i]), batch.content[i])
    at = put_word(out, put_word(out, at, _U(records.rec[i, a.VERSION])), batch.profile_version[i])
    learnt = _learnt(i, chosen) if status != c.NO_RULE else 0
    fields = _fields(i, status, learnt, batch, chosen, given)
    at = pack_array(out, at, fields)
    at = pack_text(out, at, labels.names, labels.kinds[kind, 0], labels.kinds[kind, 1])
    at = pack_text(out, at, labels.names, labels.revision[0], labels.revision[1])
    out[at], out[at + 1], out[at + 2] = SEND if sends else NO_MESSAGE, batch.reasons[i], 0
    at = _pack_values(out, at + 3, i, kind, labels, inputs, data, chosen, marks)
    at = _pack_seen(out, at, i, batch.reasons[i], labels, chosen)
    if status == c.NO_RULE:
        out[at] = 0xA0
        at += 1
    else:
        at = pack_text(out, at, labels.names, labels.messages[m, 0], labels.messages[m, 1])
    if drawn:
        at = _pack_chosen(out, at, i, m, batch, labels, chosen, messages, given, sends)
    elif fields > 8:
        at = put(out, at, _NOTHING_DRAWN, 0, len(_NOTHING_DRAWN))
    return _pack_rest(out, at, i, fields, learnt, batch, chosen, given)


# ---- commits and answers ----------------------------------------------------------------------------


@inlined
def _bulk_behind(out, at, begin, end):  # type: ignore[no-untyped-def]
    """Makes what stands at [begin, end) of `out`, behind `at`, a string of a command at `at`."""
    at = move(out, put_head(out, at, 36, end - begin), begin, end)
    out[at], out[at + 1] = 13, 10
    return at + 2


@inlined
def _put_writes(  # type: ignore[no-untyped-def]
    out, at, i, moved, store, batch, labels, chosen, messages, given, inputs, customers, records, kept, data, marks
):
    """The commands that commit event i: its log entry, its record, and the answers that move out of the record."""
    first = records.rec[i, a.ANSWER_AT] - moved
    at = put(out, at, store.add, 0, len(store.add))
    at = _put_bucket_log(out, at, store, customers, i)
    at = put(out, at, store.at_end, 0, len(store.at_end))
    # a string's length stands ahead of it: written a little further on, then moved up
    end = _entry(out, at + 16, i, batch, labels, chosen, messages, given, inputs, customers, records, data, marks)
    at = _bulk_behind(out, at, at + 16, end)
    at = put(out, at, store.set, 0, len(store.set))
    at = _put_key(out, at, store, customers, i, 114, _U(0))
    since_ms = records.rec[i, a.SINCE_MS]
    since_ms = since_ms if since_ms else customers.now_ms[i]
    end = write_record(data, batch.bodies, i, records, batch.versions[i], customers.now_ms[i], since_ms, out, at + 16)
    at = _bulk_behind(out, at, at + 16, end)
    for row in range(first, first + moved):
        begin, stop = records.answers[row, a.A_BEGIN], records.answers[row, a.A_END]
        at = put(out, at, store.set_for, 0, len(store.set_for))
        at = _put_key(out, at, store, customers, i, 97, _U(records.answers[row, a.A_EVENT]))
        at = put_head(out, at, 36, 16 + stop - begin)
        at = put_word(out, at, _U(records.answers[row, a.A_PRINT]))
        at = put_word(out, at, _U(records.answers[row, a.A_AT]))
        at = put(out, at, data, begin, stop)
        out[at], out[at + 1] = 13, 10
        at = put(out, at + 2, store.life, 0, len(store.life))
        at = put_bulk_decimal(out, at, records.answers[row, a.A_AT] + kept.answer_ms - customers.now_ms[i])
    return at


@inlined
def _commit_room(events, batch, labels, chosen, given, records, store, inputs):  # type: ignore[no-untyped-def]
    """Bytes that the transaction takes at most. To be asked before the answers are kept in the records."""
    message, variant, path, unit, terms = labels.longest
    room = np.int64(1024)
    for n in range(len(events)):
        i = events[n]
        body = batch.body[i, 1] - batch.body[i, 0]
        room += record_room(i, records) + body + 64
        answers = records.rec[i, a.ANSWER_AT]
        for row in range(answers, answers + records.rec[i, a.ANSWER_N]):  # any of them may move to a key of its own
            room += records.answers[row, a.A_END] - records.answers[row, a.A_BEGIN] + 2 * KEY_ROOM + 64
        room += 6 * (len(store.prefix) + KEY_ROOM) + 128
        first, rows = chosen.rows[i, c.SEEN_AT], chosen.rows
        looked_at = rows[i, c.FITS] + rows[i, c.STOPS]
        room += ENTRY_ROOM + terms + 9 * chosen.contexts.shape[1]
        room += (looked_at + rows[i, c.OUTRANKED]) * (message + 32) + 64 * (variant + 16)
        room += batch.segment[i, 1] - batch.segment[i, 0] + batch.reported[i, 1] - batch.reported[i, 0]
        room += batch.measured[i, 1] - batch.measured[i, 0]
        for k in range(first, first + looked_at):
            m, row = chosen.seen[k, c.SEEN_MESSAGE], chosen.seen[k, c.SEEN_ROW]
            if row >= 0:
                room += given.rate_spans[row, 2] - given.rate_spans[row, 0] + 32
            room += (labels.reads_at[m + 1] - labels.reads_at[m]) * (path + unit + 64)
            for r in range(labels.reads_at[m], labels.reads_at[m + 1]):
                p = labels.reads[r]
                if labels.inputs[p, 1] == TEXT:
                    place = labels.places[batch.kinds[i], p]
                    if labels.inputs[p, 0] == FEATURE and place >= 0:
                        room += inputs.features[i, place, 1] - inputs.features[i, place, 0]
                    elif labels.inputs[p, 0] == ATTRIBUTE and place >= 0:
                        room += inputs.attributes[i, place, 1] - inputs.attributes[i, place, 0]
    return room


@kernel
def write_commit(  # type: ignore[no-untyped-def]
    events, store, batch, labels, chosen, messages, given, inputs, customers, records, kept, data, marks, out, total
):
    """Keeps the answers of these events and writes the transaction that commits them all; returns its length.

    Where `out` may be too short, nothing is done, and the length that it must have is returned, negative.
    events (n,)  their numbers; marks (2, inputs): scratch, -1; total (1,): how many commands lie within MULTI and EXEC
    """
    room = _commit_room(events, batch, labels, chosen, given, records, store, inputs)
    if room > len(out):
        return -room
    at = put(out, 0, store.begin, 0, len(store.begin))
    total[0] = 2 * len(events)
    for n in range(len(events)):
        i = events[n]
        moved = keep_answer(
            i, records, np.int64(customers.event[i]), np.int64(batch.content[i]), customers.now_ms[i],
            batch.body[i, 0], batch.body[i, 1], kept.answer_ms, kept.answers,
        )  # fmt: skip
        total[0] += moved
        at = _put_writes(
            out, at, i, moved, store, batch, labels, chosen, messages, given, inputs, customers, records, kept, data,
            marks,
        )  # fmt: skip
    return put(out, at, store.end, 0, len(store.end))


@kernel
def write_answers(events, batch, customers, data, out, ends):  # type: ignore[no-untyped-def]
    """The callers' `DecideResponse`s, one behind another: what is kept of each (see engine.answer), with its ids.

    ends (n,): where each one ends in `out`.
    """
    at = 0
    for n in range(len(events)):
        i = events[n]
        begin, end = batch.body[i, 0] + 1, batch.body[i, 1]
        while batch.bodies[begin] & 128:  # the length of what is kept
            begin += 1
        begin += 1
        event, customer = batch.ids[i, 1] - batch.ids[i, 0], batch.ids[i, 3] - batch.ids[i, 2]
        size = 2 + 51 + 1 + varint_size(_U(event)) + event + 1 + varint_size(_U(customer)) + customer + end - begin
        out[at] = 0x0A
        at = put_varint(out, at + 1, _U(size))
        out[at], out[at + 1] = 0x0A, 51
        at += 2
        for word in range(2):
            for k in range(8):
                byte = (customers.customer[i, word] >> _U(8 * k)) & _U(255)
                at = put_hex(out, at, byte, 2)
        out[at] = 45
        at = put_hex(out, at + 1, customers.event[i], 16)
        out[at], out[at + 1], out[at + 2] = 45, 48, 0x12
        at = put(out, put_varint(out, at + 3, _U(event)), data, batch.ids[i, 0], batch.ids[i, 1])
        out[at] = 0x1A
        at = put(out, put_varint(out, at + 1, _U(customer)), data, batch.ids[i, 2], batch.ids[i, 3])
        at = put(out, at, batch.bodies, begin, end)
        out[at] = 0x1A
        at = put(out, put_varint(out, at + 1, _U(event)), data, batch.ids[i, 0], batch.ids[i, 1])
        ends[n] = at
    return at
