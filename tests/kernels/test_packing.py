"""Columns in kernels against `engine.state.packing`, to the byte."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.kernels import packing
from engine.state.packing import CorruptBlob, Reader, pack_floats, pack_ints

INT64 = st.integers(-(2**63), 2**63 - 1)
HASH = st.integers(0, 2**64 - 1)
POWERS = st.builds(lambda k, d, s: s * (2**k + d), st.integers(0, 62), st.integers(-2, 2), st.sampled_from((1, -1)))
SIGNED = st.one_of(
    *(st.lists(s, max_size=9) for s in (INT64, POWERS, st.integers(-3, 300), st.integers(10**12, 10**12 + 2**39))),
    st.lists(st.integers(-(2**39), 2**39).map(lambda n: n * 10**7), max_size=9),
    st.builds(lambda n, count: [n] * count, INT64, st.integers(0, 5)),
)
UNSIGNED = st.one_of(
    st.lists(HASH, max_size=9),
    st.lists(st.integers(0, (2**64 - 1) // 10**7).map(lambda n: n * 10**7), max_size=9),
    st.lists(st.integers(2**64 - 300, 2**64 - 1), max_size=9),
    st.builds(lambda n, count: [n] * count, HASH, st.integers(0, 5)),
)
HUNDREDTHS = st.integers(-(2**54), 2**54).map(lambda n: n / 100)
FLOATS = st.one_of(
    st.lists(st.floats(), max_size=7),
    st.lists(HUNDREDTHS, max_size=7),
    st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 100), max_size=7),
    st.lists(st.integers(-(10**9), 10**9).map(lambda n: n / 200), max_size=7),
    st.lists(st.sampled_from((0.0, -0.0, 5e-324, -0.001, 0.005, 1e15, 100000.0, 90071992547409.91)), max_size=7),
)
BEFORE, COLUMN, WIDTH = 2, 1, 3  # the column lies somewhere in a larger table


def table(values: list[int], unsigned: bool) -> np.ndarray:
    made = np.full((BEFORE + len(values) + 1, WIDTH), -7, np.int64)
    made[BEFORE:-1, COLUMN] = np.array(values, np.uint64 if unsigned else np.int64).view(np.int64)
    return made


def column(made: np.ndarray, unsigned: bool) -> list[int]:
    found = made[BEFORE:-1, COLUMN].copy()
    assert (made[:, [0, 2]] == -7).all()
    assert (made[[0, 1, -1]] == -7).all()
    return found.view(np.uint64).tolist() if unsigned else found.tolist()


def bits(values: list[float]) -> list[int]:
    return list(struct.unpack(f"<{len(values)}q", struct.pack(f"<{len(values)}d", *values)))


def written(kernel, count: int, *args: object) -> bytes:  # type: ignore[no-untyped-def]
    """What a kernel writes at place 3; no byte before it and none beyond the room it asks for."""
    room = packing.room(count)
    out = np.full(3 + room + 8, 165, np.uint8)
    end = kernel(*args, out, 3)
    assert end <= 3 + room
    assert (out[:3] == 165).all()
    assert (out[3 + room :] == 165).all()
    return out[3:end].tobytes()


def read(blob: bytes, count: int, unsigned: bool) -> tuple[int, list[int]]:
    data = np.frombuffer(b"\xa5\xa5" + blob + b"\xa5" * 9, np.uint8)
    made = table([-7 % 2**64 if unsigned else -7] * count, unsigned)
    at = packing.unpack(data, 2, 2 + len(blob), made, BEFORE, count, COLUMN, unsigned)
    return at - 2, column(made, unsigned)


@settings(max_examples=200, deadline=None)
@given(SIGNED.map(lambda v: (v, False)) | UNSIGNED.map(lambda v: (v, True)))
@example(([-(2**63), 2**63 - 1], False))
@example(([-(2**63)], False))
@example(([2**64 - 1], True))
@example(([0, 2**64 - 1], True))
@example(([-(2**63) // 10**7 * 10**7 + 10**7, (2**63 - 1) // 10**7 * 10**7], False))
def test_columns_are_those_of_python(given_: tuple[list[int], bool]) -> None:
    values, unsigned = given_
    blob = pack_ints(values)
    made = table(values, unsigned)
    assert written(packing.pack, len(values), made, BEFORE, len(values), COLUMN, unsigned) == blob
    assert read(blob, len(values), unsigned) == (len(blob), values)


@settings(max_examples=200, deadline=None)
@given(FLOATS)
def test_doubles_are_those_of_python(values: list[float]) -> None:
    blob = pack_floats(values)
    made = table(bits(values), False)
    assert written(packing.pack_floats, len(values), made, BEFORE, len(values), COLUMN) == blob
    got = table([-7] * len(values), False)
    data = np.frombuffer(blob, np.uint8)
    assert packing.unpack_floats(data, 0, len(blob), got, BEFORE, len(values), COLUMN) == len(blob)
    assert column(got, False) == bits(values)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**60), 2**60), st.just(0) | st.integers(-(2**60), 2**60)), max_size=6))
def test_steps_and_distances_are_packed_as_such(rows: list[tuple[int, int]]) -> None:
    made = np.array(rows, np.int64).reshape(-1, 2)
    ahead = [b and b - a for a, b in rows]
    assert written(packing.pack_as, len(rows), made, 0, len(rows), 1, False, 0) == pack_ints(ahead)
    firsts = [a for a, _ in rows]
    steps = [b - a for a, b in pairwise(firsts)]
    assert written(packing.pack_as, len(steps), made, 0, len(steps), 0, False, packing.STEPS) == pack_ints(steps)


def agrees(blob: bytes, count: int, unsigned: bool) -> bool:
    """Whether the kernel took it, after a check that it is what Python reads."""
    at, got = read(blob, count, unsigned)
    if at == -3:
        return False
    reader = Reader(blob, "a column")
    assert list(reader.ints(count)) == got
    assert reader.pos == at
    return True


@settings(max_examples=250, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 5), st.booleans())
def test_any_bytes_are_read_as_by_python_or_not_at_all(blob: bytes, count: int, unsigned: bool) -> None:
    agrees(blob, count, unsigned)


@settings(max_examples=250, deadline=None)
@given(SIGNED | UNSIGNED, st.booleans(), st.integers(0, 255), st.integers(0, 30), st.integers(0, 60))
def test_damaged_columns_are_read_as_by_python_or_not_at_all(
    values: list[int], unsigned: bool, byte: int, at: int, cut: int
) -> None:
    blob = bytearray(pack_ints(values))
    blob[at % len(blob)] = byte
    agrees(bytes(blob), len(values), unsigned)
    agrees(bytes(blob[:cut]), len(values), unsigned)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 255), st.integers(0, 15), st.sampled_from((0, 1, 8)), st.booleans(), st.data())
def test_long_minimums_are_read_where_they_fit(
    kind: int, size: int, width: int, scaled: bool, data: st.DataObject
) -> None:
    sign = data.draw(st.sampled_from((b"\0", b"\xff")))
    low = data.draw(st.binary(min_size=min(size, 8), max_size=min(size, 8))) + sign * (size - 8)
    blob = b"\7" * scaled + bytes((size << 4 | width,)) + low + data.draw(st.binary(min_size=width, max_size=width))
    value = Reader(blob, "a column").ints(1)[0]
    for unsigned, fits in ((False, -(2**63) <= value < 2**63), (True, 0 <= value < 2**64)):
        taken = agrees(blob, 1, unsigned)
        assert fits or not taken
        if not unsigned and width == 0:
            assert taken == fits
    doubles = bytes((kind,)) + blob
    got = table([-7], False)
    if packing.unpack_floats(np.frombuffer(doubles, np.uint8), 0, len(doubles), got, BEFORE, 1, COLUMN) > 0:
        assert column(got, False) == bits(Reader(doubles, "a column").floats(1))


@pytest.mark.parametrize("blob", [b"", b"\7", b"\1", b"\x10", b"\7\7", b"\x0c" + bytes(12), b"\x0f" + bytes(15)])
def test_what_is_no_column_is_left(blob: bytes) -> None:
    assert not agrees(blob, 1, False)
    got = table([-7], False)
    for doubles in (blob, b"\1" + blob):
        data = np.frombuffer(doubles, np.uint8)
        if packing.unpack_floats(data, 0, len(data), got, BEFORE, 1, COLUMN) >= 0:
            assert Reader(doubles, "a column").floats(1)


def test_what_python_calls_corrupt_is_left() -> None:
    for head in range(256):
        blob = bytes((head,)) + bytes(range(1, 25))
        try:
            Reader(blob, "a column").ints(2)
        except CorruptBlob:
            assert not agrees(blob, 2, False)
        else:
            agrees(blob, 2, False)
