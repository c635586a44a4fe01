"""Log entries: compact, complete, and readable by older and newer versions."""

from __future__ import annotations

import contextlib
import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state.log import (
    CandidateEntry,
    DecisionEntry,
    Entry,
    ErasedEntry,
    OutcomeEntry,
    ProfileEntry,
    VariantEntry,
    decode,
    encode,
)
from engine.state.packing import CorruptBlob

TEXT = st.text(max_size=8)
INT64 = st.integers(-(2**63), 2**63 - 1)
U64 = st.integers(0, 2**64 - 1)
DIGEST = st.binary(min_size=16, max_size=16)
VERSION = st.just(b"") | st.binary(min_size=8, max_size=8).filter(any)
FLOAT = st.floats(allow_nan=False)
SHARE = st.integers(0, 2**30)
SMALL = st.integers(0, 200)
VALUES = st.dictionaries(TEXT, st.booleans() | INT64 | FLOAT | TEXT, max_size=3)
CANDIDATES = st.lists(st.builds(CandidateEntry, TEXT, SMALL, FLOAT, SHARE), max_size=3)
VARIANTS = st.lists(st.builds(VariantEntry, TEXT, SHARE), max_size=3)
DECISIONS = st.builds(
    DecisionEntry, INT64, DIGEST, U64, U64, VERSION, VERSION, TEXT, TEXT, SMALL, SMALL, SMALL, VALUES,
    CANDIDATES, TEXT, TEXT, TEXT, TEXT, U64, TEXT, VARIANTS, SHARE, SHARE, INT64, SMALL, st.booleans(),
    st.booleans(), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3), U64,
)  # fmt: skip
OUTCOMES = st.builds(OutcomeEntry, INT64, INT64, DIGEST, U64, U64, FLOAT, SMALL, SMALL, TEXT, TEXT, TEXT, U64, TEXT)
PROFILES = st.builds(
    ProfileEntry, INT64, DIGEST, VERSION, st.lists(TEXT), st.lists(TEXT), st.booleans(), st.just([["p", True]])
)
ENTRIES = st.one_of(DECISIONS, OUTCOMES, PROFILES, st.builds(ErasedEntry, INT64, DIGEST))


@given(ENTRIES)
def test_everything_comes_back(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(ENTRIES, st.data())
def test_damaged_bytes_raise_nothing_else(entry: Entry, data: st.DataObject) -> None:
    blob = bytearray(encode(entry))
    for cut in range(len(blob)):
        with pytest.raises(CorruptBlob):
            decode(bytes(blob[:cut]))
    blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptBlob):
        decode(bytes(blob))


def no_message() -> DecisionEntry:
    return DecisionEntry(
        1_760_000_000_000, b"c" * 16, 2**63, 2**62, b"r" * 8, b"p" * 8, "payment.made", "0123456789abcdef", 2, 11
    )  # fmt: skip


def test_entries_are_small() -> None:
    assert len(encode(no_message())) < 110
    entry = no_message()
    entry.candidates = [CandidateEntry("savings_nudge", 31, 0.0, 0)]
    assert len(encode(entry)) < 150
    entry = DecisionEntry(
        1_760_000_000_000, b"c" * 16, 2**63, 2**62, b"r" * 8, b"p" * 8, "payment.made", "0123456789abcdef", 1, 1, 0,
        {"features.balance": 1234.5, "features.salary_day": 25, "windows.deposits_30d": 3},
        [CandidateEntry("savings_nudge", 1, 12.5, 2**30), CandidateEntry("card_offer", 31, 3.0, 0)],
        "savings_nudge", "warm", "push", "bandit", 7, "young",
        [VariantEntry("warm", 2**29), VariantEntry("plain", 2**29)], 2**29, 2**28, 1_760_000_000_000, 604_800,
    )  # fmt: skip
    assert len(encode(entry)) < 400


def test_values_json_cannot_hold_come_back() -> None:
    entry = no_message()
    entry.values_read = {"features.a": math.inf, "features.b": -math.inf}
    assert decode(encode(entry)) == entry
    entry.values_read = {"features.a": ["nan", "b"], "features.b": [], "features.c": ["inf"], "event.due": "2026-01-31"}
    assert decode(encode(entry)) == entry
    entry.values_read = {"features.a": math.nan}
    assert math.isnan(decode(encode(entry)).values_read["features.a"])  # type: ignore[union-attr,arg-type]


def test_fields_of_newer_versions_are_ignored_and_missing_ones_default() -> None:
    blob = encode(no_message())
    at = 1 + 8 + 16 + 8 + 8 + 8 + 8  # behind the head
    added = [0, {}, [], "", "", "", "", 0, "", [], 0, 0, 0, 0, False, False, [], 0, "", "new", 5]
    longer = [*msgpack.unpackb(blob[at:]), *added]
    assert decode(blob[:at] + msgpack.packb(longer)) == no_message()
    with pytest.raises(CorruptBlob, match="kind 9"):
        decode(b"\x09")
