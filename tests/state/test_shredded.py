"""Entries in columns say what entries decoded one by one say, whatever is done to their bytes."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.learning.fold import part_of, parts_of
from engine.state.log import CandidateEntry, DecisionEntry, Entry, LogRow, RankEntry, decode, encode
from engine.state.packing import CorruptBlob
from engine.state.shredded import shredded
from engine.state.tables import table_of_one, tables_of
from tests.state.test_log import DIGEST, ENTRIES, FLOAT, SMALL, TEXT, U64, no_message

RANKS = st.lists(
    st.builds(RankEntry, SMALL, U64, TEXT, TEXT, TEXT, FLOAT, FLOAT, FLOAT, st.booleans(), SMALL.map(lambda n: n % 4)),
    max_size=2,
)
MEASURED = st.lists(st.tuples(TEXT, FLOAT), max_size=2)
SENDS = st.builds(
    lambda digest, numbers, texts, about, ranks, measured: DecisionEntry(
        numbers[0], digest, about, 1, b"", b"v" * 8, "e", "r", 1, 1, message=texts[0], variant=texts[1],
        policy="bandit", segment=texts[2], send_at_ms=numbers[1], attribution_s=60, terms="{}", context=[1024, 7],
        assignment=numbers[2] % 5, reported={"event.x": texts[0]}, measured=measured, arbitration=texts[1],
        ranks=ranks, about=about,
    ),
    DIGEST, st.tuples(*[st.integers(0, 2**45)] * 3), st.tuples(TEXT, TEXT, TEXT), U64, RANKS, MEASURED,
)  # fmt: skip
BLOBS = (ENTRIES | SENDS).map(encode)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    tables_of([LogRow(0, "1-0", encode(no_message()))])  # takes longer than an example may


def _damaged(blob: bytes, place: int, byte: int, cut: int) -> bytes:
    """Some come through whole."""
    if byte < 256:
        blob = blob[: place % len(blob)] + bytes((byte,)) + blob[place % len(blob) + 1 :]
    return blob[: cut % (len(blob) * 3)]


DAMAGED = st.builds(_damaged, BLOBS, st.integers(0, 400), st.integers(0, 511), st.integers(1, 1200))


def _same(blobs: list[bytes]) -> None:
    rows = [LogRow(k % 3, f"{k}-0", blob) for k, blob in enumerate(blobs)]
    found: dict[str, pa.Table] = tables_of(rows)
    expected: dict[str, list[object]] = {}
    for row in rows:
        kind, one = table_of_one(row)
        expected.setdefault(kind, []).extend(one.to_pylist())
    assert found.keys() == expected.keys()
    for kind, table in found.items():
        table.validate(full=True)
        assert repr(table.to_pylist()) == repr(expected[kind])  # NaN is NaN


@given(st.lists(BLOBS, max_size=6))
def test_tables_of_whole_entries(blobs: list[bytes]) -> None:
    _same(blobs)
    kinds = [table_of_one(LogRow(0, "1-0", blob))[0] for blob in blobs]
    assert {kinds[place] for place in shredded(blobs)[1]} <= {"erased", "unreadable"}


@given(st.lists(DAMAGED, max_size=6))
def test_tables_of_damaged_entries(blobs: list[bytes]) -> None:
    _same(blobs)


@given(st.lists(BLOBS | DAMAGED, max_size=8))
def test_what_concerns_learning(blobs: list[bytes]) -> None:
    """As the twin has it; of an entry that is damaged where learning does not look, columns may learn all the same."""
    for blob, found in zip(blobs, parts_of(blobs), strict=True):
        with suppress(CorruptBlob):
            assert found == part_of(decode(blob))


def _packed(entry: Entry, place: int, value: object) -> bytes:
    """An entry with another value in one of its fields; beyond the last one: one more."""
    blob = encode(entry)
    tail = msgpack.unpackb(blob[57:])
    tail[place:] = [value, *tail[place + 1 :]]
    return blob[:57] + msgpack.packb(tail)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, None),  # a text
        (0, b"bytes"),
        (2, 2**40),  # beyond its column
        (2, 1.0),
        (5, {"x": msgpack.ExtType(9, b"later")}),  # a value of a later version
        (5, [1, {"y": None}]),
        (6, [["m", 1, 0.0]]),  # a candidate with a part too few
        (6, {"m": 1}),
        (26, "one field more"),
    ],
)
def test_what_is_otherwise_than_usual_harms_no_neighbour(place: int, value: object) -> None:
    entry = no_message()
    entry.candidates = [CandidateEntry("m", 44, 0.5, 0)]
    whole = encode(entry)
    if place > 20:
        tail = [*msgpack.unpackb(whole[57:])]
        tail += [0, "", "", "", "", 0, "", [], 0, 0, 0, 0, False, False, [], 0, "", 0, {}, [], "", [], value]
        odd = whole[:57] + msgpack.packb(tail)
    else:
        odd = _packed(entry, place, value)
    _same([whole, odd, whole])
    found, _ = shredded([whole, odd, whole])
    assert {0, 2} <= set(found[1].rows.tolist())


def test_large_lists_and_texts() -> None:
    entry = no_message()
    entry.candidates = [CandidateEntry(f"m{k}" * (k % 50), k % 90, -0.25 * k, 2**30 - k) for k in range(3000)]
    entry.values_read = {f"features.f{k}": [f"t{k}", "ü" * k] for k in range(300)}
    entry.message = "m" * 70_000
    _same([encode(no_message()), encode(entry), encode(no_message())])


def test_hostile_lengths() -> None:
    """Lists and texts that say they are longer than all there is."""
    head = encode(no_message())[:57]
    for tail in (b"\xdd\xff\xff\xff\xff", b"\x95\xdb\xff\xff\xff\xff", b"\x96\xa0\xa0\x00\x00\x00\xdf\x7f\xff\xff\xff"):
        blob = head + tail
        with pytest.raises(CorruptBlob):
            decode(blob)
        _same([encode(no_message()), blob])
    assert tables_of([LogRow(0, "1-0", b"")])["unreadable"].num_rows == 1
