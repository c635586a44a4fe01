"""Profiles in kernels against `decode` and `feature_value`: equal, or left to them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.columns.profiles import SECTIONS_MAX, ProfileSchemas, feature_table
from engine.compiler.model import Feature, Position
from engine.compiler.nodes import Type
from engine.compiler.pool import NS, WIDE
from engine.compiler.reference import Absent, Defaulted
from engine.compiler.written import DATE_MAX, DATE_MIN
from engine.kernels import profiles as kernels
from engine.kernels.arena import FINE, LEFT
from engine.kernels.profiles import (
    DEFAULTED,
    MISSING,
    STALE,
    UNKNOWN_SCHEMA,
    WRITTEN,
    Profiles,
    profiles,
    read_profile,
    section_hash,
)
from engine.state import profile as state
from engine.state.model import Cell, ConsentEntry, Contact, Profile
from engine.state.packing import CorruptBlob
from engine.step.inputs import feature_value

NOW_MS = 1_700_000_000_000
INT64 = st.integers(-(2**63), 2**63 - 1)
WHOLE = st.one_of(st.integers(-3, 3), st.sampled_from([127, 128, -128, -129, 2**15, 2**31, 2**53, 2**53 + 1]), INT64)
NUMBERS = [0.0, -0.0, 0.01, -327.68, 1234.56, 0.1 + 0.2, 1e300, 65536.0, 2.0**31, 9.995, 0.5, float("inf"), -1.0, 1.0]
VALUES: Mapping[Type, st.SearchStrategy[object]] = {
    Type.BOOL: st.booleans(),
    Type.INTEGER: WHOLE,
    Type.NUMBER: st.sampled_from([*NUMBERS, float("nan")]) | st.floats() | st.floats(width=32, allow_nan=False),
    Type.TEXT: st.text(max_size=12) | st.sampled_from(["x" * 255, "x" * 256, "é" * 128]),
    Type.TIME: WHOLE | st.integers(-5, 2**32).map(lambda s: s * NS),
    Type.DURATION: WHOLE | st.integers(-5, 2**32).map(lambda s: s * NS),
    Type.DATE: st.integers(DATE_MIN, DATE_MAX),
    Type.MONEY: WHOLE.map(lambda n: n * 10**7) | st.integers(-(10**21), 10**21),
    Type.TEXTS: st.lists(st.text(max_size=4), max_size=2).map(tuple),
}
NAMES = ["a", "b", "c", "d", "né", "f"]
CURRENCY = st.sampled_from(["EUR", "USD"])
AGE_S = st.none() | st.sampled_from([0, 1, 60, 86_400, 10**10])
OLD_MS = st.one_of(
    st.just(0),
    st.sampled_from([0, 1, 999, 1000, 1001, 60_000, 60_001, 86_400_000, -5]).map(lambda ms: NOW_MS - ms),
    st.integers(0, 200_000).map(lambda n: n * 10**7),
    st.integers(-(2**60), 2**60),
)


@st.composite
def declared(draw: st.DrawFn, name: str) -> Feature:
    kind = draw(st.sampled_from(list(VALUES)))
    bound = st.none()
    if kind is Type.MONEY:
        bound = st.none() | st.sampled_from([0, 1, -(10**9), 10**7, 10**28, 2.5])
    elif kind not in (Type.BOOL, Type.TEXT, Type.TEXTS):
        bound = st.none() | st.sampled_from([0, 0.0, 1.0, -0.5, 0.5, 127.0, 2.0**53, 2.0**63, 1e300, float("inf")])
    return Feature(
        name,
        kind,
        draw(CURRENCY) if kind is Type.MONEY else None,
        False,
        draw(st.none() | VALUES[kind]),
        draw(bound),
        draw(bound),
        draw(bound),
        draw(AGE_S),
        Position("x", 1, 1),
    )


@st.composite
def features_of(draw: st.DrawFn) -> dict[str, Feature]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    return {name: draw(declared(name)) for name in names}


@st.composite
def profile_of(draw: st.DrawFn, features: Mapping[str, Feature]) -> Profile:
    """A profile whose cells mostly are of the declared types."""
    cells = {}
    alike_ms = draw(OLD_MS)
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        feature = features.get(name)
        same = feature is not None and draw(st.integers(0, 4)) > 0
        kind = feature.type if same and feature is not None else draw(st.sampled_from(list(VALUES)))
        at_ms = draw(st.just(alike_ms) | OLD_MS)
        unit = draw(CURRENCY | st.just("")) if kind is Type.MONEY else ""
        cells[name] = Cell(kind, draw(VALUES[kind]), at_ms, unit)
    contact = draw(st.none() | st.just(Contact([ConsentEntry("p", True, NOW_MS, "é", "")], ["t"], [], 540, -1)))
    return Profile(draw(st.binary(min_size=8, max_size=8).filter(any)), cells, contact)


class Reader:
    """A batch of one event."""

    def __init__(self, features: Mapping[str, Feature]) -> None:
        self.features = features
        self.schemas = ProfileSchemas(SimpleNamespace(features=features))  # type: ignore[arg-type]
        self.table, self.texts = feature_table(features)

    def read(self, blob: bytes, now_ms: int = NOW_MS) -> tuple[int, Profiles, np.ndarray]:
        # at the very end, so that numba's check of bounds sees what is read beyond
        data = np.frombuffer(self.texts + b"\xff\x01" + blob, np.uint8)
        begin = len(self.texts) + 2
        out = profiles(2, len(self.features))
        for array in (out.state, out.cells, out.contact, out.version):
            array[:] = 77
        for _ in range(2):
            status = read_profile(data, begin, begin + len(blob), 1, now_ms, self.schemas.tables, self.table, out)
            if status != UNKNOWN_SCHEMA or not self.schemas.learn(blob):
                break
        assert (out.state[0] == 77).all()
        assert (out.cells[0] == 77).all()
        return status, out, data

    def value(self, f: int, kind: Type, out: Profiles, data: np.ndarray) -> object:
        first, second = out.cells[1, f].tolist()
        if kind is Type.TEXT:
            return data[first:second].tobytes().decode()
        if kind in WIDE:
            assert 0 <= second < NS
            return first * NS + second
        assert kind is Type.TEXTS or second == 0
        if kind is Type.NUMBER:
            return struct.pack("<q", first)
        return bool(first) if kind is Type.BOOL else first

    def check(self, wanted: Profile, out: Profiles, data: np.ndarray, now_ms: int = NOW_MS) -> None:
        assert int(out.version[1]).to_bytes(8, "little") == (wanted.version or bytes(8))
        for f, feature in enumerate(self.features.values()):
            value = feature_value(feature, wanted, now_ms)
            what, found = int(out.state[1, f]), self.value(f, feature.type, out, data)
            if isinstance(value, Absent):
                assert what == (STALE if value.reason == "DATA_STALE" else MISSING)
                continue
            assert what == (DEFAULTED if isinstance(value, Defaulted) else WRITTEN)
            if isinstance(value, Defaulted):
                value = value.value
            if feature.type is Type.NUMBER:
                value = struct.pack("<d", value)
            assert (found, type(found)) == ((0, int) if feature.type is Type.TEXTS else (value, type(value)))
        begin, end = out.contact[1].tolist()
        section = data[begin:end].tobytes()
        assert section == (b"" if wanted.contact is None else state._pack_contact(wanted.contact))


def kept_as_text(cell: Cell) -> bool:
    return cell.type == Type.TEXTS or (cell.type == Type.MONEY and cell.value % 10**7 != 0)  # type: ignore[operator]


def left(profile: Profile, features: Mapping[str, Feature]) -> bool:
    """Whether a profile may be left to Python: lists, fine amounts, moments beyond a double."""
    if any(abs(c.as_of_ms) > 2**51 for c in profile.cells.values()):
        return True
    read = [c for n, c in profile.cells.items() if n in features and features[n].type == c.type]
    return any(kept_as_text(c) or (c.type == Type.MONEY and abs(c.value) > 10**25) for c in read)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_features_are_those_of_python(data: st.DataObject) -> None:
    reader = Reader(data.draw(features_of()))
    wanted = data.draw(profile_of(reader.features))
    status, out, bytes_ = reader.read(state.encode(wanted))
    if status == FINE:
        reader.check(wanted, out, bytes_)
    else:
        assert status == LEFT
        assert left(wanted, reader.features)


def accepted(reader: Reader, blob: bytes) -> bool:
    """Whether a damaged profile is read; it is the same as in Python then."""
    status, out, data = reader.read(blob)
    if status != FINE:
        return False
    try:
        wanted = state.decode(blob)
    except CorruptBlob:
        # the one thing that is not looked at: lists and fine amounts that no feature is read from
        schema = state.unpack_schema(state.schema_section(blob))
        assert Type.TEXTS in schema.types or Type.MONEY in schema.types
        return True
    assert blob == b"" or blob[8] == state.LAYOUT
    section = data[slice(*out.contact[1].tolist())].tobytes()
    assert section == b"" or state._unpack_contact(section) == wanted.contact
    again = Profile(wanted.version, wanted.cells, None)  # its contact section may have longer varints
    out.contact[1] = 0
    reader.check(again, out, data)
    return True


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damage_is_left_or_read_alike(data: st.DataObject) -> None:
    reader = Reader(data.draw(features_of()))
    blob = state.encode(data.draw(profile_of(reader.features)))
    reader.read(blob)
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tail = 11 + len(state.schema_section(blob))  # a damaged schema section is a section of its own
    for _ in range(60):
        damaged = bytearray(blob)
        for _ in range(generator.integers(1, 4)):
            first = 8 if generator.random() < 0.1 else tail
            damaged[generator.integers(first, len(blob))] = generator.choice(
                [0, 1, 7, 128, 255, generator.integers(256)]
            )
        accepted(reader, bytes(damaged))
    for cut in range(1, len(blob)):
        assert not accepted(reader, blob[:cut])
    assert not accepted(reader, blob + b"\0")


MANY = {
    t.value: Feature(
        t.value, t, "EUR" if t is Type.MONEY else None, False, None, None, None, None, 60, Position("x", 1, 1)
    )
    for t in VALUES
    if t is not Type.TEXTS
}


def test_every_type_beside_python_under_much_damage() -> None:
    reader = Reader(MANY)
    generator = np.random.default_rng(7)
    samples: dict[Type, list[object]] = {
        Type.BOOL: [True], Type.INTEGER: [5, 300, 70_000, 2**40], Type.NUMBER: [1.25, 0.1 + 0.2, 7.0, 0.5, 123456.78],
        Type.TEXT: ["Zürich", "x" * 300, ""], Type.TIME: [NOW_MS * 10**6, 1], Type.DURATION: [NS, 5],
        Type.DATE: [19_000], Type.MONEY: [10**9, -5 * 10**7, 10**18 * 5],
    }  # fmt: skip
    read = 0
    for turn in range(30):
        cells = {
            t.value: Cell(
                t, values[turn % len(values)], NOW_MS - 100 * turn * (turn % 3), "EUR" if t is Type.MONEY else ""
            )
            for t, values in samples.items()
        }
        contact = Contact([ConsentEntry("marketing", True, NOW_MS, "web", "né")], ["loans"], ["sms"], -1, -1)
        blob = state.encode(Profile(b"12345678", cells, contact if turn % 2 else None))
        assert accepted(reader, blob)
        tail = 11 + len(state.schema_section(blob))
        for _ in range(100):
            damaged = bytearray(blob)
            damaged[generator.integers(tail, len(blob))] = generator.integers(256)
            read += accepted(reader, bytes(damaged))
    assert read > 500  # many kinds of damage are other values, so the test has sense


def test_an_empty_profile_has_no_version() -> None:
    reader = Reader(MANY)
    status, out, data = reader.read(b"")
    assert status == FINE
    reader.check(Profile(), out, data)
    assert reader.read(state.encode(Profile(b"\0" * 8)))[0] == LEFT


def test_what_is_left() -> None:
    text, money = Feature("x", Type.TEXTS, None, False, (), None, None, None, None, Position("x", 1, 1)), MANY["money"]

    def status(feature: Feature, cell: Cell) -> int:
        return Reader({feature.name: feature}).read(state.encode(Profile(b"1" * 8, {feature.name: cell})))[0]

    assert status(text, Cell(Type.TEXTS, ("a",), 0)) == LEFT
    assert status(money, Cell(Type.MONEY, 1, 0, "EUR")) == LEFT
    assert status(money, Cell(Type.MONEY, 1, 0, "USD")) == FINE  # not read
    assert status(text, Cell(Type.INTEGER, 1, 0)) == FINE
    before = bytearray(state.encode(Profile(b"1" * 8)))
    before[8] = 1
    assert Reader({}).read(bytes(before))[0] == LEFT


def test_sections_are_learnt_once_and_bounded() -> None:
    reader = Reader({})

    def blob(name: str) -> bytes:
        return state.encode(Profile(b"1" * 8, {name: Cell(Type.BOOL, True, 0)}))

    for n in range(SECTIONS_MAX):
        assert reader.schemas.learn(blob(f"x{n}"))
        assert not reader.schemas.learn(blob(f"x{n}"))
    assert not reader.schemas.learn(blob("one more"))
    assert not reader.schemas.learn(b"")
    assert reader.read(blob("one more"))[0] == UNKNOWN_SCHEMA
    for n in range(SECTIONS_MAX):
        assert reader.read(blob(f"x{n}"))[0] == FINE


def test_sections_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader({})
    one, two = (state.encode(Profile(b"1" * 8, {n: Cell(Type.BOOL, True, 0)})) for n in ("a", "b"))
    reader.schemas.learn(one)
    tables = reader.schemas.tables
    raw = np.frombuffer(state.schema_section(two), np.uint8)
    mixed = section_hash(raw, 0, len(raw))
    tables.hashes[0] = mixed
    tables.slots[:] = -1
    tables.slots[int(mixed) % len(tables.slots)] = 0
    assert reader.read(two[:-1] + b"\0")[0] == FINE  # learnt beside it, in the next slot
    assert len(reader.schemas.tables.hashes) == 2


def test_codes_of_types_are_places_of_state() -> None:
    codes = {t: getattr(kernels, t.name) for t in state.TYPES}
    assert codes == {t: n for n, t in enumerate(state.TYPES)}
