"""The record's bytes: everything comes back, unknown sections byte for byte."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import TactError
from engine.state import record
from engine.state.model import Answer, Record, Touch, WindowState
from engine.state.packing import CorruptBlob, Reader, pack_floats, pack_ints

INT64 = st.integers(-(2**63), 2**63 - 1)
MONEY_SUM = st.integers(-(2**63) * 10**9, 2**63 * 10**9) | INT64.map(lambda n: n * 10**7)
HASH = st.integers(0, 2**64 - 1)
TIME = st.integers(0, 2**45)
FEW = st.integers(0, 4)
TOUCH = st.builds(
    Touch,
    TIME, HASH, FEW, HASH, FEW, FEW, FEW, FEW, FEW, FEW, st.just(0) | HASH, HASH, HASH,
    st.just(0) | TIME, st.just(0) | TIME, st.integers(0, 65535),
)  # fmt: skip


@st.composite
def windows(draw: st.DrawFn) -> WindowState:
    buckets = draw(st.lists(st.integers(-(2**40), 2**40), max_size=8))
    is_float = draw(st.booleans())
    value = st.floats(allow_nan=False) if is_float else draw(st.sampled_from([INT64, MONEY_SUM]))
    values = [draw(value) for _ in buckets]
    return WindowState(is_float, buckets, values, since_ms=draw(TIME), last_used_ms=draw(TIME))


RECORDS = st.builds(
    Record,
    st.binary(min_size=8, max_size=8),
    INT64,
    INT64,
    st.dictionaries(HASH, windows(), max_size=4),
    st.lists(TOUCH, max_size=6),
    st.dictionaries(HASH, TIME, max_size=3),
    st.dictionaries(st.tuples(HASH, HASH), st.tuples(HASH, st.integers(0, 2**30)), max_size=3),
    st.lists(st.builds(Answer, HASH, HASH, TIME, st.binary(max_size=40)), max_size=4),
    st.lists(st.tuples(st.integers(7, 255), st.binary(max_size=30)), max_size=3),
    st.dictionaries(HASH, TIME, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_everything_comes_back(wanted: Record) -> None:
    blob = record.encode(wanted)
    got = record.decode(blob)
    assert got == wanted
    assert blob[:8] == wanted.version
    assert record.encode(got) == blob


@settings(max_examples=25, deadline=None)
@given(RECORDS)
def test_truncations_are_corrupt_or_end_between_sections(wanted: Record) -> None:
    blob = record.encode(wanted)
    ends = {25}
    while max(ends) < len(blob):
        at = max(ends)
        ends.add(at + 5 + struct.unpack_from("<I", blob, at + 1)[0])
    for cut in set(range(1, len(blob))) - ends:
        with pytest.raises(CorruptBlob):
            record.decode(blob[:cut])


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.data())
def test_damaged_bytes_raise_nothing_else(wanted: Record, data: st.DataObject) -> None:
    blob = bytearray(record.encode(wanted))
    for _ in range(3):
        blob[data.draw(st.integers(8, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TactError):
        record.decode(bytes(blob))


@settings(deadline=None)
@given(st.lists(INT64) | st.lists(HASH) | st.lists(st.integers(10**12, 10**12 + 2**39)) | st.lists(MONEY_SUM))
def test_columns_come_back(values: list[int]) -> None:
    reader = Reader(pack_ints(values), "a column")
    assert reader.ints(len(values)) == values
    reader.end()


MONEY = st.integers(-(10**9), 10**9).map(lambda n: n / 100)


@settings(deadline=None)
@given(st.lists(st.floats()) | st.lists(MONEY))
def test_columns_of_doubles_come_back(values: list[float]) -> None:
    reader = Reader(pack_floats(values), "a column")
    assert repr(reader.floats(len(values))) == repr(values)
    reader.end()


def test_touches_and_windows_are_small() -> None:
    day_ms = 86_400_000
    at = 1_760_000_000_000
    names = [2**63 + 7**k for k in range(9)]
    touches = [
        Touch(
            at + i * 9 * day_ms + i * 12345, 2**63 + i, 0, names[i % 3], names[3], names[4], names[5],
            names[6], 0, 0, 0, names[7], names[8], at + i * 9 * day_ms + i * 12345 + day_ms,
            at + i * 9 * day_ms + i * 12345 + 3 * day_ms, 256,
        )
        for i in range(10)
    ]  # fmt: skip
    bare = len(record.encode(Record(b"1" * 8)))
    assert (len(record.encode(Record(b"1" * 8, touches=touches))) - bare) / 10 <= 45
    month = WindowState(False, list(range(20000, 20030)), [3] * 29 + [200], last_used_ms=at)
    assert len(record.encode(Record(b"1" * 8, windows={2**63: month}))) - bare <= 80
    euros = WindowState(False, list(range(20000, 20030)), [n * 10**9 + 5 * 10**8 for n in range(30)], last_used_ms=at)
    assert len(record.encode(Record(b"1" * 8, windows={2**63: euros}))) - bare <= 120


def test_what_cannot_be_stored_is_refused() -> None:
    assert record.decode(b"") == Record()
    with pytest.raises(ValueError, match="8 bytes"):
        record.encode(Record())
    with pytest.raises(ValueError, match="known tag"):
        record.encode(Record(b"1" * 8, unknown=[(2, b"")]))
    with pytest.raises(ValueError, match="96-bit range"):
        pack_ints([0, 2**96])
    with pytest.raises(CorruptBlob, match="column of width 7"):
        Reader(b"\x07\x07" + bytes(8), "a column").ints(1)
    with pytest.raises(CorruptBlob, match="layout 7"):
        record.decode(b"1" * 8 + b"\x07")
    twice = record.encode(Record(b"1" * 8, opt_outs={1: 2}))
    with pytest.raises(CorruptBlob, match="twice"):
        record.decode(twice + twice[25:])
