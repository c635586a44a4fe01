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


# What the version before wrote: three cells, and a contact section as JSON.
LAYOUT_1 = (
    b"12345678\x01\x1e\x00\x00\x03\x00\x01\x07\x03age\x00balance\x00timezone\x00EURa\x00h\xe5\xcf\x8b\x01{{\x00"
    b"\x12\xe0,\xe2\x04\r\r\x00\x00\x00Europe/MadridT\x00\x00\x00"
    b'[[["marketing",true,1700000000000,"branch","v1"]],["loans"],["sms","post"],540,1200]'
)
WANTED = Profile(
    b"12345678",
    {
        "age": Cell(Type.INTEGER, 44, 1_700_000_000_123),
        "balance": Cell(Type.MONEY, 12_500_000_000, 1_700_000_000_123, "EUR"),
        "timezone": Cell(Type.TEXT, "Europe/Madrid", 1_700_000_000_000),
    },
    Contact(
        [ConsentEntry("marketing", True, 1_700_000_000_000, "branch", "v1")], ["loans"], ["sms", "post"], 540, 1200
    ),
)


def test_layout_1_is_read_and_layout_2_is_smaller() -> None:
    assert profile.decode(LAYOUT_1) == WANTED
    blob = profile.encode(WANTED)
    assert profile.decode(blob) == WANTED
    assert (len(LAYOUT_1), len(blob)) == (162, 120)
    without = b"12345678" + LAYOUT_1[8 : LAYOUT_1.index(b"Madrid") + 6] + bytes(4)
    assert profile.decode(without) == Profile(b"12345678", WANTED.cells)
    for cut in range(1, len(LAYOUT_1)):
        with pytest.raises(CorruptBlob):
            profile.decode(LAYOUT_1[:cut])
    with pytest.raises(CorruptBlob, match="contact section"):
        profile.decode(LAYOUT_1[:-1] + b"}")


@pytest.mark.parametrize(
    ("section", "error"),
    [
        ("0000000000", None),
        ("01010000", "range"),  # cut behind the topics' count
        ("01010000" + "00" + "00", "1 bytes too many"),
        ("0101" + "01" + "04" + "0000000000" + "00", "flags 4"),
        ("0101" + "01" + "01" + "02" + "01610000" + "0000", None),
        ("0101" + "01" + "01" + "02" + "01ff0000" + "0000", "codec"),
        ("0101" + "01" + "01" + "02" + "7f610000" + "0000", "cut"),
        ("0101" + "00" + "ffffffffffffffffff01" + "00", "range"),  # 2^64 - 1 topics
        ("0101" + "00" + "ffffffffffffffffff02" + "00", "64 bits"),
        ("0101" + "00" + "80808080808080808080" + "00", "64 bits"),
    ],
)
def test_contact_sections(section: str, error: str | None) -> None:
    bare = profile.encode(Profile(b"1" * 8))
    raw = bytes.fromhex(section)
    blob = bare[:-1] + bytes((len(raw),)) + raw
    if error is None:
        assert profile.decode(blob).contact is not None
        return
    with pytest.raises(CorruptBlob, match=error):
        profile.decode(blob)


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.text(min_size=100, max_size=300))
def test_times_and_lengths_of_any_size(at_ms: int, minute: int, text: str) -> None:
    contact = Contact([ConsentEntry(text, True, at_ms, "", text)] * 2, [text] * 130, [], minute, -minute - 1)
    wanted = Profile(b"1" * 8, {}, contact)
    assert profile.decode(profile.encode(wanted)) == wanted


def test_the_schema_section_of_a_profile() -> None:
    blob = profile.encode(WANTED)
    schema = profile.unpack_schema(profile.schema_section(blob))
    assert schema.names == ("age", "balance", "timezone")
    assert schema.units == ("", "EUR", "")
    assert profile.schema_section(blob[:20]) == profile.schema_section(b"") == b""


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        profile.encode(Profile(b"1" * 8, {}, Contact(preferred_from_minute=2**63)))
    with pytest.raises(ValueError, match="8 bytes"):
        profile.encode(Profile())
    nan = profile.decode(profile.encode(Profile(b"1" * 8, {"a": Cell(Type.NUMBER, math.nan, 0)})))
    assert math.isnan(nan.cells["a"].value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not fit"):
        profile.encode(Profile(b"1" * 8, {"a": Cell(Type.INTEGER, 2**63, 0)}))
    with pytest.raises(CorruptBlob, match="layout 9"):
        profile.decode(b"1" * 8 + b"\x09")


def test_customers_of_one_rule_set_share_their_schema_section() -> None:
    declared = {"a": ("number", ""), "b": ("text", ""), "m": ("money", "EUR")}
    cell = Cell("number", 1.5, 1000)
    one = Profile(b"1" * 8, {"a": cell, "old": Cell("integer", 3, 2000)}, None)
    two = Profile(b"2" * 8, {"b": Cell("text", "x", 1000), "m": Cell("money", 5, 7, "EUR")}, None)
    blobs = [profile.encode(p, {**declared, "old": ("integer", "")}) for p in (one, two)]
    assert profile.schema_section(blobs[0]) == profile.schema_section(blobs[1])
    assert [profile.decode(b) for b in blobs] == [one, two]
