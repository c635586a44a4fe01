"""The twin: tables of CEL's semantics, cel-python beside it, and the conformance cases of CEL."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import celpy
import pytest
from celpy import celtypes
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.checker import Scope, check
from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.model import Feature, Position
from engine.compiler.nodes import Node, Type
from engine.compiler.overloads import parse_timestamp
from engine.compiler.reference import Absent, Defaulted, Failure, Inputs, evaluate, reads, trace

PLACE = Position("schema.yaml", 1, 1)
TYPES = {
    "a": Type.INTEGER,
    "b": Type.INTEGER,
    "x": Type.NUMBER,
    "y": Type.NUMBER,
    "p": Type.BOOL,
    "q": Type.BOOL,
    "s": Type.TEXT,
    "t": Type.TEXT,
    "u": Type.TIME,
    "v": Type.TIME,
    "d": Type.DURATION,
}
NOW = parse_timestamp("2026-11-21T10:00:00Z")


def scope_of(types: dict[str, Type]) -> Scope:
    features = {
        name: Feature(name, kind, None, False, None, None, None, None, None, PLACE) for name, kind in types.items()
    }
    return Scope({}, features, {}, {}, None, frozenset({"features", "now"}), False)


SCOPE = scope_of(TYPES)


def compiled(text: str, types: dict[str, Type] = TYPES) -> Node:
    node, problems = check(text, scope_of(types), None, allow_integer_division=True)
    assert problems == []
    assert node is not None
    return node


def qualified(text: str) -> str:
    """Single letters that are inputs, as features."""
    return re.sub(r"(?<![\w.'])([abxypqstuvd])(?![\w('])", r"features.\1", text)


def run(text: str, zone: str | None = "Europe/Berlin", **values: object) -> object:
    node = compiled(qualified(text))
    return evaluate(node, Inputs({f"features.{name}": value for name, value in values.items()}, NOW, zone))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true || p", True),
        ("p || true", True),
        ("false && p", False),
        ("p && false", False),
        ("1 / 0 == 1 || true", True),
        ("1 / 0 == 1 && false", False),
        ("!(p || true) || !false", True),
        ("false ? 1 / 0 : 2", 2),
        ("true ? 1 : 1 / 0", 1),
        ("true || 1 / 0 == 1 ? 'a' : 'b'", "a"),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("9223372036854775807 - 1", INT_MAX - 1),
        ("-9223372036854775808 % 1", 0),
        ("1.0 / 0", math.inf),
        ("-1.0 / 0", -math.inf),
        ("1.0 / -0", -math.inf),
        ("1e308 * 10", math.inf),
        ("0.0 / 0 != 0.0 / 0", True),
        ("0.0 / 0 == 0.0 / 0", False),
        ("!(0.0 / 0 >= 0)", True),
        ("0.0 / 0 in [1, 2]", False),
        ("-0.0 == 0.0", True),
        ("0.1 + 0.2 == 0.3", False),
        ("ratio(1, 4)", 0.25),
        ("double(9007199254740993)", 9007199254740992.0),
        ("int(-3.9)", -3),
        ("false < true", True),
        ("'b' in ['a', 'b']", True),
        ("2 in []", False),
        ("timestamp('2026-01-31T00:00:00Z') - timestamp('2026-01-30T00:00:00Z') == days(1)", True),
        ("duration('1h') + now - now == duration('3600s')", True),
        ("-days(1) == days(-1)", True),
        # 2026-11-21 11:00 in Berlin
        ("days_since(timestamp('2026-11-20T22:59:59Z'))", 1),
        ("days_since(timestamp('2026-11-20T23:00:00Z'))", 0),
        ("days_until(timestamp('2026-11-21T23:00:00Z'))", 1),
        ("days_until(timestamp('2025-11-21T23:00:00Z'))", -364),
    ],
)
def test_values(text: str, expected: object) -> None:
    found = run(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("9223372036854775807 * 2", "integer overflow"),
        ("--9223372036854775808", "integer overflow"),
        ("-9223372036854775808 / -1", "integer overflow"),
        ("-9223372036854775808 % -1", "integer overflow"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("ratio(1, -0)", "ratio: the divisor is 0"),
        ("int(0.0 / 0)", "int: the number is out of range"),
        ("int(1.0 / 0)", "int: the number is out of range"),
        ("int(9223372036854775808.0)", "int: the number is out of range"),
        ("int(-9223372036854775808.0)", "int: the number is out of range"),
        ("days(100000) + days(100000)", "duration overflow"),
        ("-duration('-2562047h47m16.854775808s')", "duration overflow"),
        ("timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')", "duration overflow"),
        ("timestamp('9999-12-31T23:59:59Z') + days(1)", "time outside the years 1 to 9999"),
        ("timestamp('0001-01-01T00:00:00Z') - duration('1ns')", "time outside the years 1 to 9999"),
        ("days_since(timestamp('9999-12-31T23:59:59Z'))", "time outside the years 1 to 9999"),
        ("1 / 0 == 1 || false", "division by zero"),
        ("true && 1 % 0 == 1 && 1 / 0 == 1", "modulus by zero"),
        ("1 / 0 == 1 ? 1 : 2", "division by zero"),
    ],
)
def test_failures(text: str, cause: str) -> None:
    assert run(text) == Failure("DATA_MISSING", "", cause)


@pytest.mark.parametrize("zone", [None, "", "Mars/Base", "/etc/passwd", "../UTC", "America"])
def test_a_zone_that_is_not_one_fails(zone: str | None) -> None:
    found = run("days_since(now)", zone=zone)
    assert isinstance(found, Failure)
    assert "time zone" in found.cause


def test_absent_inputs() -> None:
    stale = Absent("DATA_STALE")
    assert run("a > 1") == Failure("DATA_MISSING", "features.a", "features.a is missing")
    assert run("a > 1", a=stale) == Failure("DATA_STALE", "features.a", "features.a is older than its maximum age")
    incomplete = Failure("WINDOW_INCOMPLETE", "features.a", "features.a is not complete yet")
    assert run("a + b > 1 && p", a=Absent("WINDOW_INCOMPLETE")) == incomplete
    assert run("a + 1 > 1", a=Defaulted(5)) is True
    has = "has(features.a)"
    assert [run(has), run(has, a=0), run(has, a=Defaulted(5)), run(has, a=stale)] == [False, True, False, False]
    assert run(has, a=Absent("WINDOW_INCOMPLETE", has=True)) is True


def test_trace_and_reads() -> None:
    text = "features.a + 1 > 2 && has(features.p) || features.b == 1 && features.a < 3"
    node = compiled(text)
    steps = trace(node, Inputs({"features.a": 2}, NOW, None))
    told = {text[span.start : span.end]: value for span, _, value in steps}
    assert told["features.a + 1"] == 3
    assert told["features.a + 1 > 2"] is True
    assert told["has(features.p)"] is False
    assert told["features.b"] == Failure("DATA_MISSING", "features.b", "features.b is missing")
    assert steps[-1] == (node.span, node, told["features.b"])
    assert reads(node) == ["features.a", "features.p", "features.b"]


# beside cel-python

INTEGERS = st.sampled_from([0, 1, -1, 2, 7, -7, INT_MAX, INT_MIN]) | st.integers(-10, 10)
NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 0.1, -2.5, 1e308, math.inf, -math.inf, math.nan]) | st.floats(-9, 9)
TEXTS = st.sampled_from(["", "a", "A", "é", "ab"])


def _pair(inner: st.SearchStrategy[str], operators: str) -> st.SearchStrategy[str]:
    return st.tuples(inner, st.sampled_from(operators), inner).map(lambda parts: f"({' '.join(parts)})")


def _arithmetic(leaves: list[str], literals: st.SearchStrategy[Any], operators: str) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(leaves) | literals.map(repr)
    return st.recursive(leaf, lambda inner: _pair(inner, operators), max_leaves=4)


INT_TEXT = _arithmetic(["features.a", "features.b", "(-features.a)"], st.integers(-9, 9), "+-*/%")
# cel-python divides doubles by zero wrongly (0.0 / 0.0 is inf there), so only by other literals here
NUMBER_LEAVES = ["features.x", "features.y", "(-features.x)", "(features.y / 2.5)", "(features.x / -0.1)"]
NUMBER_TEXT = _arithmetic(NUMBER_LEAVES, st.floats(-9, 9, width=16), "+-*")
TEXT_TEXT = st.sampled_from(["features.s", "features.t", "'a'", '"\\u00e9"'])


def _compared(operands: st.SearchStrategy[str], operators: list[str]) -> st.SearchStrategy[str]:
    return st.tuples(operands, st.sampled_from(operators), operands).map(" ".join)


ORDER = ["<", "<=", ">", ">=", "==", "!="]
CONDITION = st.one_of(
    st.sampled_from(["features.p", "features.q", "true", "false", "has(features.p)", "has(features.a)"]),
    _compared(INT_TEXT, ORDER),
    _compared(NUMBER_TEXT, ORDER),
    _compared(TEXT_TEXT, ["==", "!="]),
    INT_TEXT.map("{} in [1, -7, 2]".format),
    TEXT_TEXT.map("{} in ['a', 'ab']".format),
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map("!({})".format),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) ? ({t[1]}) : ({t[2]})"),
    )


EXPRESSION = st.recursive(CONDITION, _combined, max_leaves=5) | INT_TEXT | NUMBER_TEXT
VALUES = st.fixed_dictionaries(
    {"a": INTEGERS, "x": NUMBERS, "p": st.booleans(), "s": TEXTS},
    optional={"b": INTEGERS, "y": NUMBERS, "q": st.booleans(), "t": TEXTS},
)
CEL = celpy.Environment()
WRAP: dict[type, Any] = {
    bool: celtypes.BoolType,
    int: celtypes.IntType,
    float: celtypes.DoubleType,
    str: celtypes.StringType,
}


def celpy_value(text: str, values: dict[str, Any]) -> object:
    wrapped = {celtypes.StringType(name): WRAP[type(value)](value) for name, value in values.items()}
    program = CEL.program(CEL.compile(text))
    try:
        found: Any = program.evaluate({"features": celtypes.MapType(wrapped)})
    except celpy.CELEvalError:
        return "error"
    if isinstance(found, bool | celtypes.BoolType):
        return bool(found)
    return float(found) if isinstance(found, float) else int(found)


@settings(max_examples=300, deadline=None)
@given(EXPRESSION, VALUES)
def test_like_cel_python(text: str, values: dict[str, Any]) -> None:
    node, problems = check(text, SCOPE, None, allow_integer_division=True)
    assert problems == []
    assert node is not None
    ours = evaluate(node, Inputs({f"features.{name}": value for name, value in values.items()}, NOW, None))
    ours = "error" if isinstance(ours, Failure) else ours
    theirs = celpy_value(text, values)
    assert repr(ours) == repr(theirs), (text, values)


# the conformance cases of CEL

_BESIDE = Path(__file__).parents[3] / "shared" / "exams" / "cel"
CASES = Path(os.environ.get("TACT_CEL_CASES", _BESIDE))
PRIMITIVE = {"INT64": Type.INTEGER, "DOUBLE": Type.NUMBER, "STRING": Type.TEXT, "BOOL": Type.BOOL}


def plain(value: dict[str, Any]) -> object:
    """A value of the cases as ours; the dictionary itself where there is no such thing."""
    (kind, content), *_ = value.items()
    if kind == "int64Value":
        return int(content)
    if kind == "doubleValue":
        return float(content)  # also "Infinity" and "NaN"
    return content if kind in ("boolValue", "stringValue") else value


def answer(case: dict[str, Any]) -> object:
    """Ours: a value, "error", or None where the checker refuses."""
    types: dict[str, Type] = {}
    values: dict[str, object] = {}
    text = case["expr"]
    for variable in case.get("type_env", []):
        name, kind = variable["name"], PRIMITIVE.get(variable.get("ident", {}).get("type", {}).get("primitive"))
        if kind is not None and name.isidentifier() and name not in ("true", "false", "null"):
            types[name] = kind
            text = re.sub(rf"(?<![\w.]){name}(?!\w)", f"features.{name}", text)
            if name in case.get("bindings", {}):
                values[f"features.{name}"] = plain(case["bindings"][name]["value"])
    node, _ = check(text, scope_of(types), None, allow_integer_division=True)
    if node is None:
        return None
    found = evaluate(node, Inputs(values, NOW, "UTC"))
    return "error" if isinstance(found, Failure) else found


@pytest.mark.skipif(
    not CASES.is_dir(), reason="CEL's conformance cases are not here; TACT_CEL_CASES names their folder"
)
def test_conformance() -> None:
    right, refused, wrong = 0, 0, []
    for path in sorted(CASES.glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            found = answer(case)
            if found is None:
                refused += 1
                continue
            value = case.get("value") or case.get("typed_result", {}).get("result")
            wanted = "error" if value is None else plain(value)
            if repr(found) == repr(wanted):
                right += 1
            else:
                wrong.append((path.stem, case["name"], case["expr"], found, wanted))
    print(f"CEL conformance: {right} right, {refused} refused, {len(wrong)} wrong")
    assert wrong == []
    assert right >= 300
