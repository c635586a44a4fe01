"""The functions that run outside kernels: they give a value of their type or ValueError, whatever comes in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.functions import LIST_MAX, TABLE, TEXT_MAX, function, number_text, pattern, zone_offset_s
from engine.compiler.nodes import Type
from engine.compiler.overloads import FUNCTIONS, METHODS, TIME_MAX_NS, TIME_MIN_NS

TEXTS = st.text(max_size=30) | st.sampled_from(["", "12", "-1.5e3", "true", "2026-01-31", "1h30m", ",", "a" * TEXT_MAX])
SMALL = st.integers(-3, 40) | st.sampled_from([-(2**63), 2**63 - 1])
OF: dict[Type, st.SearchStrategy[object]] = {
    Type.BOOL: st.booleans(),
    Type.INTEGER: SMALL,
    Type.NUMBER: st.floats(),
    Type.TEXT: TEXTS,
    Type.TIME: st.integers(TIME_MIN_NS, TIME_MAX_NS),
    Type.DURATION: st.integers(-(2**63), 2**63 - 1),
    Type.DATE: st.integers(-719_162, 2_932_896),
    Type.MONEY: st.integers(-(2**92), 2**92),
}
PYTHON = {Type.BOOL: bool, Type.NUMBER: float, Type.TEXT: str}
CALLS = [
    (signature, count)
    for table in (FUNCTIONS, METHODS)
    for signatures in table.values()
    for signature in signatures
    if (signature.op, signature.args[0]) in TABLE and signature.op != "matches"
    for count in range(signature.least, len(signature.args) + 1)
]


def values(kind: Type) -> st.SearchStrategy[object]:
    return OF[kind] if kind.element is None else st.lists(OF[kind.element], max_size=5).map(tuple)


def test_the_table_has_every_function_on_texts() -> None:
    assert len(CALLS) > 50
    assert {signature.op for signature, _ in CALLS} >= {"split", "join", "replace", "char_at", "quote", "to_text"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_value_of_the_type_or_an_error(data: st.DataObject) -> None:
    signature, count = data.draw(st.sampled_from(CALLS))
    args = [data.draw(values(kind)) for kind in signature.args[:count]]
    call = function(signature.op, signature.args[:count])
    try:
        found = call(*args)
    except ValueError:
        return
    if signature.result.element is not None:
        assert isinstance(found, tuple)
        assert len(found) <= LIST_MAX
        return
    assert type(found) is PYTHON.get(signature.result, int)
    if isinstance(found, str):
        assert len(found) <= TEXT_MAX


def test_what_kernels_do_is_not_in_the_table() -> None:
    for op, kind in (("add", Type.INTEGER), ("to_integer", Type.NUMBER), ("hours", Type.TIME), ("eq", Type.TEXT)):
        with pytest.raises(KeyError):
            function(op, (kind, kind))


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_texts_of_numbers_read_back(value: float) -> None:
    text = number_text(value)
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert float(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (100.0, "100"), (123456.0, "123456"), (1e6, "1e+06"),
        (1234567.0, "1.234567e+06"), (0.1, "0.1"), (-0.0045, "-0.0045"), (0.0001, "0.0001"), (0.00001, "1e-05"),
        (1e100, "1e+100"), (5e-324, "5e-324"), (math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"),
    ],
)  # fmt: skip
def test_numbers_as_texts(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize("text", ["(", "a{1001}", "(?=a)", r"\1", "a" * 1001, "((a{100}){100}){100}"])
def test_patterns_that_cannot_be_used(text: str) -> None:
    with pytest.raises(ValueError):
        pattern(text)


def test_patterns_take_linear_time() -> None:
    assert pattern("(a*)*b").search("a" * 5_000) is None  # exponential where an engine goes back


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("+05:30", 19_800),
        ("-02:30", -9_000),
        ("02:00", 7_200),
        ("-00:00", 0),
        ("+24:00", None),
        ("5", None),
        ("", None),
    ],
)
def test_fixed_zones(text: str, seconds: int | None) -> None:
    assert zone_offset_s(text) == seconds
