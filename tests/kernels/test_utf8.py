"""UTF-8 as Python decodes it."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels.utf8 import is_ascii, valid_utf8


def decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def check(raw: bytes) -> None:
    data = np.frombuffer(b"\xff" + raw + b"\x80", np.uint8)
    assert valid_utf8(data, 1, 1 + len(raw)) == decodes(raw), raw
    assert is_ascii(data, 1, 1 + len(raw)) == raw.isascii()


EDGES = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF)
EDGES += (0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF)


def test_all_short_sequences_of_the_edges() -> None:
    for size in range(4):
        for raw in itertools.product(EDGES, repeat=size):
            check(bytes(raw))
    for raw in itertools.product((0xEF, 0xF0, 0xF4), EDGES, (0x7F, 0x80, 0xBF), (0x41, 0x80, 0xBF, 0xC2)):
        check(bytes(raw))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.data())
def test_texts_whole_cut_and_damaged(text: str, data: st.DataObject) -> None:
    raw = bytearray(text.encode())
    check(bytes(raw))
    check(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    if raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        check(bytes(raw))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(raw: bytes) -> None:
    check(raw)
