"""Records in kernels against `engine.state.record`, to the byte; answers and touches against the step."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels import arena
from engine.kernels.arena import FINE, LEFT
from engine.kernels.records import forget, keep_answer, known_answer, read_record, record_room, write_record
from engine.state import record
from engine.state.model import Answer, Record, Touch, WindowState
from engine.state.packing import CorruptBlob, pack_ints
from engine.step import operations
from engine.step.operations import ANSWER_KEPT_MS, ANSWERS_KEPT, Change

INT64 = st.integers(-(2**63), 2**63 - 1)
HASH = st.integers(0, 2**64 - 1)
TIME = st.integers(0, 2**45)
ANY_TIME = TIME | st.integers(-(2**59), 2**59)  # two are not further apart than kernels read
FEW = st.integers(0, 4)
TOUCH = st.builds(
    Touch,
    ANY_TIME, HASH, FEW, HASH, FEW, FEW, FEW, FEW, FEW, FEW, st.just(0) | HASH, HASH, HASH,
    st.just(0) | ANY_TIME, st.just(0) | ANY_TIME, st.integers(0, 65535),
)  # fmt: skip
NEAR = st.builds(
    lambda at, event, name, wait: Touch(at, event, 0, name, name, 1, 2, 3, 0, 0, 0, 9, 7, at + wait, at + 2 * wait, 4),
    TIME, HASH, HASH, st.integers(1, 10**9),
)  # fmt: skip
BODY = st.binary(max_size=40)
INTS = (INT64, st.integers(-(2**39), 2**39).map(lambda n: n * 10**7))
FLOATS = (st.floats(), st.integers(-(10**9), 10**9).map(lambda n: n / 100))


@st.composite
def windows(draw: st.DrawFn) -> WindowState:
    buckets = draw(st.lists(st.integers(-(2**40), 2**40) | st.integers(-(2**60), 2**60), max_size=8))
    is_float = draw(st.booleans())
    value = draw(st.sampled_from(FLOATS if is_float else INTS))
    values = [draw(value) for _ in buckets]
    return WindowState(is_float, buckets, values, since_ms=draw(INT64), last_used_ms=draw(INT64))


RECORDS = st.builds(
    Record,
    st.binary(min_size=8, max_size=8),
    INT64,
    INT64,
    st.dictionaries(HASH, windows(), max_size=4),
    st.lists(TOUCH, max_size=6) | st.lists(NEAR, max_size=6),
    st.dictionaries(HASH, INT64, max_size=3),
    st.dictionaries(st.tuples(HASH, HASH), st.tuples(HASH, st.integers(0, 2**30)), max_size=3),
    st.lists(st.builds(Answer, HASH, HASH, ANY_TIME, BODY), max_size=4),
    st.just([]),
    st.dictionaries(HASH, INT64, max_size=3),
)
BEFORE, BEHIND = b"\xa5" * 3, b"\xa5" * 9
NO_BYTES = np.zeros(0, np.uint8)


def bits(value: int) -> int:
    """A hash as int64."""
    return value - 2**64 if value >= 2**63 else value


def take(blob: bytes, at: arena.Records, i: int = 0, windows: int = 2) -> tuple[int, np.ndarray]:
    data = np.frombuffer(BEFORE + blob + BEHIND, np.uint8)
    return read_record(data, len(BEFORE), len(BEFORE) + len(blob), i, at, windows), data


def give(at: arena.Records, i: int, data: np.ndarray, like: Record, bodies: np.ndarray = NO_BYTES) -> bytes:
    room = record_room(i, at)
    out = np.full(5 + room + 8, 165, np.uint8)
    version = np.uint64(int.from_bytes(like.version or bytes(8), "little"))
    end = write_record(data, bodies, i, at, version, like.last_ms, like.since_ms, out, 5)
    assert end <= 5 + room
    assert (out[:5] == 165).all()
    assert (out[5 + room :] == 165).all()
    return out[5:end].tobytes()


def check(blob: bytes) -> bool:
    """Whether the kernel took a record, after a check that it is what Python reads and writes."""
    at = arena.records(1, 2)
    before = at.used.copy()
    found, data = take(blob, at)
    if found == LEFT:
        assert (at.used == before).all()
        return False
    assert found == FINE
    wanted = record.decode(blob)
    rec = at.rec[0]
    assert int(rec[arena.VERSION]) % 2**64 == int.from_bytes(wanted.version, "little")
    assert (rec[arena.LAST_MS], rec[arena.SINCE_MS]) == (wanted.last_ms, wanted.since_ms)
    for place, content in (
        (arena.TOUCH_N, wanted.touches), (arena.OPT_N, wanted.opt_outs), (arena.ASSIGN_N, wanted.assignments),
        (arena.ANSWER_N, wanted.answers), (arena.SPILL_N, wanted.spilled), (arena.WIN_N, wanted.windows),
    ):  # fmt: skip
        assert rec[place] == len(content)
    wanted.version = wanted.version or bytes(8)
    assert give(at, 0, data, wanted) == record.encode(wanted)
    assert give(at, 0, data, wanted) == record.encode(wanted)  # writing changes nothing
    return True


@settings(max_examples=80, deadline=None)
@given(RECORDS)
def test_records_come_back_to_the_byte(wanted: Record) -> None:
    assert check(record.encode(wanted))


def test_times_too_far_apart_for_a_kernel_are_left_to_python() -> None:
    far = Touch(-(2**60), *[0] * 13, 1, 0)
    assert record.decode(blob := record.encode(Record(bytes(8), touches=[far]))).touches == [far]
    assert not check(blob)


def test_nothing_is_an_empty_record() -> None:
    assert check(b"")


@settings(max_examples=20, deadline=None)
@given(st.lists(RECORDS.map(record.encode) | st.just(b""), max_size=5), st.integers(0, 3))
def test_records_of_a_batch_do_not_touch_one_another(blobs: list[bytes], windows: int) -> None:
    data = np.frombuffer(BEFORE + b"".join(blobs) + BEHIND, np.uint8)
    at, begin = arena.records(len(blobs), windows), len(BEFORE)
    for i, blob in enumerate(blobs):
        assert read_record(data, begin, begin + len(blob), i, at, windows) == FINE
        begin += len(blob)
    for i, blob in enumerate(blobs):  # what is kept free may be written to
        rec = at.rec[i]
        at.touches[rec[arena.TOUCH_AT] + rec[arena.TOUCH_N]] = -1
        at.assigned[rec[arena.ASSIGN_AT] + rec[arena.ASSIGN_N]] = -1
        at.answers[rec[arena.ANSWER_AT] + rec[arena.ANSWER_N]] = -1
        at.spilled[rec[arena.SPILL_AT] + rec[arena.SPILL_N] :][: len(record.decode(blob).answers) + 1] = -1
        for row in range(rec[arena.WIN_AT], rec[arena.WIN_AT] + rec[arena.WIN_N]):
            at.buckets[at.wins[row, arena.W_AT] + at.wins[row, arena.W_N]] = -1
        for row in range(rec[arena.WIN_AT] + rec[arena.WIN_N], rec[arena.WIN_AT] + rec[arena.WIN_N] + windows):
            at.buckets[at.wins[row, arena.W_AT]] = at.values[at.wins[row, arena.W_AT]] = -1
            at.wins[row] = -1
    for i, blob in enumerate(blobs):
        wanted = record.decode(blob)
        wanted.version = wanted.version or bytes(8)
        assert give(at, i, data, wanted) == record.encode(wanted)


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.data())
def test_damaged_records_are_read_as_by_python_or_not_at_all(wanted: Record, data: st.DataObject) -> None:
    blob = bytearray(record.encode(wanted))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(8, len(blob) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(blob))
    check(bytes(blob[: data.draw(st.integers(0, len(blob)))]))


@settings(max_examples=10, deadline=None)
@given(RECORDS)
def test_every_truncation_is_read_as_by_python_or_not_at_all(wanted: Record) -> None:
    blob = record.encode(wanted)
    for cut in range(len(blob)):
        try:
            record.decode(blob[:cut])
        except CorruptBlob:
            assert not check(blob[:cut])
        else:
            assert check(blob[:cut])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.binary(max_size=60))
def test_sections_of_any_bytes_are_read_as_by_python_or_not_at_all(tag: int, payload: bytes) -> None:
    check(record.encode(Record(b"8 bytes!")) + struct.pack("<BI", tag, len(payload)) + payload)


def section(tag: int, count: int, *columns: list[int] | bytes) -> bytes:
    packed = b"".join(c if isinstance(c, bytes) else pack_ints(c) for c in columns)
    payload = count.to_bytes(2, "little") + packed
    return struct.pack("<BI", tag, len(payload)) + payload


@pytest.mark.parametrize(
    "tail",
    [
        section(7, 0),
        section(3, 0) + section(3, 0),
        section(3, 2, [5, 5], [1, 2]),
        section(6, 2, [5, 5], [1, 2]),
        section(4, 2, [5, 5], [6, 6], [1, 2], [1, 2]),
        section(1, 2, [5, 5], [0, 0], [0, 0], [0, 0]),
        section(1, 1, [5], [0], [0], [2], [1], [], [2**63]),
        section(1, 1, [5], [0], [0], [2], [2**62], [], [1]),
        section(1, 1, [5], [0], [0], [4], [0], [2**63 - 1], [1, 2]),
        section(1, 1, [5], [0], [0], [-2]),
        section(3, 1, [-1], [1]),
        section(3, 1, [2**64], [1]),
        section(5, 2, [1, 2], [1, 2], [1, 2], [1, -1], b"a"),
        section(5, 1, [1], [1], [2**62], [0]),
        section(2, 1, b"\1\0" + b"8 bytes!" + b"\0", *[[0]] * 3, *[[-1]] * 9, *[[0]] * 4),
    ],
)
def test_what_is_unusual_is_left(tail: bytes) -> None:
    with contextlib.suppress(CorruptBlob):
        record.decode(record.encode(Record(b"8 bytes!")) + tail)
    assert not check(record.encode(Record(b"8 bytes!")) + tail)


def touch(at_ms: int, event: int = 1, **other: int) -> Touch:
    return Touch(at_ms, event, *[0] * 14)._replace(**other)


def test_many_touches_and_names() -> None:
    touches = [touch(10**12 + k, k, message=k, about=3 * k, topic=k % 3, send_before_ms=0) for k in range(512)]
    assert check(record.encode(Record(b"8 bytes!", touches=touches)))
    assert not check(record.encode(Record(b"8 bytes!", touches=[*touches, touch(1)])))
    names = {"message": 1, "variant": 2, "channel": 3, "purpose": 4, "topic": 5, "product": 6, "stage": 7}
    every = [touch(k, **{name: k * n + 2**63 for name, n in names.items()}, about=-k % 2**64) for k in range(300)]
    assert check(record.encode(Record(b"8 bytes!", touches=every)))


def test_what_does_not_fit_is_left() -> None:
    small = arena.records(1, 0)
    full = [Answer(k, k, k, b"") for k in range(len(small.answers))]
    assert check(record.encode(Record(b"8 bytes!", answers=full[:500])))
    assert not check(record.encode(Record(b"8 bytes!", answers=full)))
    long = WindowState(False, list(range(5000)), [1] * 5000)
    assert not check(record.encode(Record(b"8 bytes!", windows={1: long})))
    assert check(record.encode(Record(b"8 bytes!", opt_outs={k: k for k in range(250)})))
    assert not check(record.encode(Record(b"8 bytes!", opt_outs={k: k for k in range(300)})))
    for name in ("touches", "opts", "assigned", "answers", "spilled", "wins", "buckets", "values"):
        none = arena.records(1, 0)._replace(**{name: getattr(small, name)[:0]})
        every = Record(
            b"8 bytes!", 0, 0, {1: WindowState(False, [1], [1])}, [touch(1)], {1: 1}, {(1, 1): (1, 1)}, full[:1]
        )
        assert take(record.encode(every), none)[0] == LEFT
    again = arena.records(1, 0)
    blob, taken = record.encode(Record(b"8 bytes!", answers=full[:300])), 0
    while take(blob, again)[0] == FINE:
        taken += 1
    assert taken == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 100), max_size=8), st.integers(0, 50), st.integers(0, 100))
def test_touches_past_their_life_are_forgotten(times: list[int], kept_ms: int, now_ms: int) -> None:
    wanted = Record(b"8 bytes!", touches=[touch(at, event) for event, at in enumerate(times)])
    at = arena.records(1, 0)
    found, data = take(record.encode(wanted), at)
    assert found == FINE
    forget(0, at, kept_ms, now_ms)
    wanted.touches = [t for t in wanted.touches if t.at_ms > now_ms - kept_ms]
    assert give(at, 0, data, wanted) == record.encode(wanted)


NOW = 10**12
AGO = st.integers(0, 2 * ANSWER_KEPT_MS).map(lambda ms: NOW - ms) | st.just(NOW - ANSWER_KEPT_MS)
EVENTS = st.integers(0, 60).map(lambda n: n * 2**58)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(Answer, EVENTS, HASH, AGO | st.just(NOW), BODY), max_size=40),
    st.dictionaries(EVENTS, AGO.map(lambda t: 2 * NOW - t) | st.just(NOW), max_size=5),
    EVENTS,
    BODY,
)
def test_answers_are_kept_as_by_the_step(
    answers: list[Answer], spilled: dict[int, int], event: int, body: bytes
) -> None:
    wanted = Record(b"8 bytes!", answers=answers, spilled=spilled)
    at = arena.records(1, 0)
    found, data = take(record.encode(wanted), at)
    assert found == FINE
    known = known_answer(0, at, bits(event))
    expected = operations.known_answer(wanted, {}, Change(), event)
    if expected is None:
        assert known == -1
    else:
        row = at.answers[known].tolist()
        assert (row[arena.A_PRINT] % 2**64, data[row[arena.A_BEGIN] : row[arena.A_END]].tobytes()) == expected
    bodies = np.frombuffer(b"xyz" + body + b"z", np.uint8)
    change = Change()
    operations.keep_answer(wanted, change, Answer(event, 2**64 - 5, NOW, body), NOW)
    moved = keep_answer(0, at, bits(event), -5, NOW, 3, 3 + len(body), ANSWER_KEPT_MS, ANSWERS_KEPT)
    assert give(at, 0, data, wanted, bodies) == record.encode(wanted)
    assert moved == len(change.spills)
    end = at.rec[0, arena.ANSWER_AT]
    for row, (old, blob, life_ms) in zip(at.answers[end - moved : end].tolist(), change.spills, strict=True):
        assert row[arena.A_EVENT] % 2**64 == old
        assert row[arena.A_AT] + ANSWER_KEPT_MS - NOW == life_ms
        kept = data[row[arena.A_BEGIN] : row[arena.A_END]].tobytes()
        assert struct.pack("<Qq", row[arena.A_PRINT] % 2**64, row[arena.A_AT]) + kept == blob
