"""The profile's bytes: everything comes back, and nothing but CorruptBlob goes wrong."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.nodes import Type
from engine.compiler.written import DATE_MAX, DATE_MIN, MONEY_MAX
from engine.errors import TactError
from engine.state import profile
from engine.state.model import Cell, ConsentEntry, Contact, Profile
from engine.state.packing import CorruptBlob

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=20)
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NUMBERS = [0.0, -0.0, 0.01, -327.68, 1234.56, 0.1 + 0.2, 1e300, 65536.0, -1e9, 2.0**31, 9.995, 1e15 + 0.5]
VALUES = {
    Type.BOOL: st.booleans(),
    Type.INTEGER: INT64,
    Type.NUMBER: st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False) | st.sampled_from(NUMBERS),
    Type.TEXT: TEXT,
    Type.TIME: INT64 | st.integers(-5, 2**32).map(lambda s: s * 10**9),
    Type.DURATION: INT64,
    Type.DATE: st.integers(DATE_MIN, DATE_MAX),
    Type.MONEY: st.integers(-MONEY_MAX, MONEY_MAX) | INT64.map(lambda n: n * 10**7),
    Type.TEXTS: st.lists(TEXT, max_size=4).map(tuple),
}
AS_OF = st.integers(0, 2**45)
CURRENCY = st.sampled_from(["EUR", "USD", "JPY"])
CELLS = st.one_of(
    [st.builds(Cell, st.just(t), v, AS_OF, CURRENCY if t is Type.MONEY else st.just("")) for t, v in VALUES.items()]
)
CONSENT = st.builds(ConsentEntry, TEXT, st.booleans(), AS_OF, TEXT, TEXT)
MINUTE = st.integers(-1, 1439)
CONTACT = st.builds(
    Contact,
    st.lists(CONSENT, max_size=3),
    st.lists(TEXT, max_size=3),
    st.lists(TEXT, max_size=3),
    MINUTE,
    MINUTE,
)
PROFILES = st.builds(
    Profile,
    st.binary(min_size=8, max_size=8),
    st.dictionaries(NAME, CELLS, max_size=12),
    st.none() | CONTACT,
)


@settings(max_examples=150, deadline=None)
@given(PROFILES)
def test_everything_comes_back(wanted: Profile) -> None:
    blob = profile.encode(wanted)
    assert profile.decode(blob) == wanted
    assert blob[:8] == wanted.version
    assert repr(profile.decode(blob).cells) == repr(dict(sorted(wanted.cells.items())))  # tells -0.0 from 0.0
    assert all(type(cell.type) is Type for cell in profile.decode(blob).cells.values())


@settings(max_examples=25, deadline=None)
@given(PROFILES)
def test_every_truncation_is_a_corrupt_blob(wanted: Profile) -> None:
    blob = profile.encode(wanted)
    for cut in range(1, len(blob)):
        with pytest.raises(CorruptBlob):
            profile.decode(blob[:cut])
    with pytest.raises(CorruptBlob, match="too many"):
        profile.decode(blob + b"x")


@settings(max_examples=100, deadline=None)
@given(PROFILES, st.data())
def test_damaged_bytes_raise_nothing_else(wanted: Profile, data: st.DataObject) -> None:
    blob = bytearray(profile.encode(wanted))
    for _ in range(3):
        blob[data.draw(st.integers(8, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TactError):
        profile.decode(bytes(blob))


def test_customers_with_the_same_features_share_the_schema_section() -> None:
    one = Profile(b"1" * 8, {"b": Cell(Type.NUMBER, 1.0, 5), "a": Cell(Type.INTEGER, 2, 5)})
    two = Profile(b"2" * 8, {"a": Cell(Type.INTEGER, 3, 5), "b": Cell(Type.NUMBER, 4.0, 5)})
    assert profile.encode(one)[8:21] == profile.encode(two)[8:21]


@pytest.mark.parametrize(
    ("cell", "size"),
    [
        (Cell(Type.DATE, 20_484, 5), 2),
        (Cell(Type.MONEY, 12_500_000_000, 5, "EUR"), 2),
        (Cell(Type.MONEY, 1_000_000 * 10**9, 5, "EUR"), 4),
        (Cell(Type.MONEY, 12_345_678_901, 5, "EUR"), 1 + 11),  # finer than hundredths: its digits
        (Cell(Type.TEXTS, ("a", "b"), 5), 1 + 9),
    ],
)
def test_cells_are_small(cell: Cell, size: int) -> None:
    yes = Cell(Type.MONEY, 0, 5, "EUR") if cell.unit else Cell(Type.BOOL, True, 5)  # a value of one byte
    grown = profile.encode(Profile(b"1" * 8, {"a": cell}))
    assert len(grown) - len(profile.encode(Profile(b"1" * 8, {"a": yes}))) == size - 1


def test_empty_and_versions() -> None:
    assert profile.decode(b"") == Profile()
    assert len({profile.new_version() for _ in range(100)}) == 100
    assert len(profile.new_version()) == 8


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        profile.encode(Profile())
    nan = profile.decode(profile.encode(Profile(b"1" * 8, {"a": Cell(Type.NUMBER, math.nan, 0)})))
    assert math.isnan(nan.cells["a"].value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not fit"):
        profile.encode(Profile(b"1" * 8, {"a": Cell(Type.INTEGER, 2**63, 0)}))
    with pytest.raises(CorruptBlob, match="layout 9"):
        profile.decode(b"1" * 8 + b"\x09")
