"""The twin: tables of CEL's semantics, and cel-python beside it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import celpy
import pytest
from celpy import celtypes
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.checker import Scope, check
from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.model import Feature, Position
from engine.compiler.nodes import Const, Node, Op, Span, Type
from engine.compiler.overloads import parse_timestamp
from engine.compiler.reference import Absent, Defaulted, Failure, Inputs, Step, evaluate, reads, trace

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
    "l": Type.INTEGERS,
    "n": Type.NUMBERS,
    "w": Type.TEXTS,
    "k": Type.DATE,
    "m": Type.MONEY,
}
NOW = parse_timestamp("2026-11-21T10:00:00Z")


def scope_of(types: dict[str, Type]) -> Scope:
    features = {
        name: Feature(name, kind, None, False, None, None, None, None, None, PLACE) for name, kind in types.items()
    }
    return Scope({}, features, {}, {}, None, frozenset({"features", "now"}), False)


SCOPE = scope_of(TYPES)
_LETTERS = re.compile(rf"'(?:[^'\\]|\\.)*'|(?<![\w.])([{''.join(TYPES)}])(?![\w(])")
ROOTS = frozenset({"features", "facts", "now"})


def compiled(text: str, types: dict[str, Type] = TYPES) -> Node:
    node, problems = check(text, scope_of(types), None, allow_integer_division=True)
    assert problems == []
    assert node is not None
    return node


def qualified(text: str) -> str:
    """Single letters that are inputs, as features; texts stay."""
    return _LETTERS.sub(lambda found: f"features.{found[1]}" if found[1] else found[0], text)


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
        ("'a' < 'b' && 'Z' < 'a' && '\\uffff' < '\\U0001f600'", True),
        ("'ab' + 'c'", "abc"),
        ("size('\\U0001f600é')", 2),
        ("'abc'.contains('bc') && 'abc'.startsWith('ab') && 'abc'.endsWith('')", True),
        ("'abc'.matches('^b') || 'abc'.matches('b.')", True),
        ("'abc'.charAt(1) + 'abc'.charAt(3)", "b"),
        ("['abcb'.indexOf('b'), 'abcb'.indexOf('b', 2), 'abc'.indexOf('x'), 'abc'.indexOf('', 3)]", (1, 3, -1, 3)),
        (
            "['abcb'.lastIndexOf('b'), 'abcb'.lastIndexOf('b', 2), 'abc'.lastIndexOf(''), 'a'.lastIndexOf('b', 1)]",
            (3, 1, 3, -1),
        ),
        ("'AbÉ'.lowerAscii() + 'aBé'.upperAscii()", "abÉABé"),
        ("'aXbXc'.replace('X', '-') + 'aXbX'.replace('X', '', 1) + 'ab'.replace('', '.')", "a-b-cabX.a.b."),
        ("'abc'.reverse()", "cba"),
        ("[1, 2].reverse()", (2, 1)),
        ("'a,b,,c'.split(',')", ("a", "b", "", "c")),
        ("'a,b,c'.split(',', 2)", ("a", "b,c")),
        ("'abc'.split('')", ("a", "b", "c")),
        ("'abc'.split('', 2)", ("a", "bc")),
        ("'abc'.split('x', 0)", ()),
        ("['a', 'b'].join('-') + ['a', 'b'].join()", "a-bab"),
        ("'tacocat'.substring(4) + 'tacocat'.substring(0, 2)", "catta"),
        ("'\\u2003 x\\u200b\\n'.trim()", "x\u200b"),
        ("strings.quote('a\"\\n')", '"a\\"\\n"'),
        ("string(1.5) + string(100.0) + string(1e6) + string(-0.0) + string(1.0 / 0)", "1.51001e+06-0+Inf"),
        ("string(-7) + string(true) + string(duration('90m')) + string(duration('-1.5s'))", "-7true5400s-1.5s"),
        ("string(timestamp('2009-02-13T23:31:30.1Z'))", "2009-02-13T23:31:30.1Z"),
        ("string(date('2026-01-31'))", "2026-01-31"),
        ("int('-12') + int('+3')", -9),
        ("[double('1e3'), double('-.5'), double('Infinity')]", (1000.0, -0.5, math.inf)),
        ("bool('t') && !bool('FALSE')", True),
        ("[1, 2] + [3] == [1, 2, 3]", True),
        ("[0.0 / 0] == [0.0 / 0] || [1] == [1, 2]", False),
        ("[1, 2, 3][2]", 3),
        ("[1 / 0 == 1 || true, false]", (True, False)),
        ("[1, 2, 3].all(e, e > 0) && [1, 2].exists(e, e == 2) && ![].exists(e, e == 1) && [].all(e, e == 1)", True),
        ("[2, 0].exists(e, 2 / e == 1)", True),
        ("[3, 0].all(e, 2 / e == 1)", False),
        ("[1, 2, 2].exists_one(e, e == 1) && ![1, 2, 2].existsOne(e, e == 2)", True),
        ("[1, 2, 3].filter(e, e % 2 == 1).map(e, e * e)", (1, 9)),
        ("[1, 2, 3].map(e, e > 1, e * 2)", (4, 6)),
        ("[1, 2].map(e, [10, 20].exists(f, e * 10 == f))", (True, True)),
        ("[1, 2].exists(e, [1].all(e, e == 1) && e == 2)", True),
        ("dyn(9223372036854775807) < 9223372036854775808.0 || dyn(1) == 1.0", True),
        # 2026-11-21 11:00 in Berlin, a Saturday
        ("now.getHours() * 100 + now.getHours('Europe/Berlin') * 10 + now.getHours('-09:30')", 1110),
        (
            "[now.getFullYear(), now.getMonth(), now.getDate(), now.getDayOfMonth(), now.getDayOfWeek()]",
            (2026, 10, 21, 20, 6),
        ),
        (
            "[now.getDayOfYear(), now.getDate('+14:00'), now.getMinutes('05:45'), now.getMilliseconds()]",
            (324, 22, 45, 0),
        ),
        ("timestamp('1969-12-31T23:59:59.999Z').getMilliseconds()", 999),
        (
            "[duration('-90m').getHours(), duration('1.5s').getMilliseconds(), duration('61s').getMinutes()]",
            (-1, 1500, 1),
        ),
        ("int(timestamp('1969-12-31T23:59:59.5Z')) + int(duration('-1.5s'))", -2),
        ("timestamp(1) == timestamp('1970-01-01T00:00:01Z')", True),
        ("date(timestamp('2026-11-20T23:30:00Z')) == date('2026-11-21')", True),
        (
            "date('2026-01-31') + months(1) == date('2026-02-28') && date('2026-01-01') - days(1) < date('2026-01-01')",
            True,
        ),
        ("timestamp('2026-03-31T10:00:00Z') - months(1) == timestamp('2026-02-28T11:00:00Z')", True),
        ("timestamp('2026-02-28T01:30:00Z') + months(1) == timestamp('2026-03-28T01:30:00Z')", True),
        ("timestamp('2026-02-25T01:30:00Z') + months(8) == timestamp('2026-10-25T00:30:00Z')", True),  # shown twice
        ("days_until(date('2026-12-01')) + days_since(date('2026-11-20'))", 11),
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
        ("'abc'.charAt(4)", "charAt: the index is out of range"),
        ("'abc'.indexOf('a', 4)", "indexOf: the index is out of range"),
        ("'abc'.lastIndexOf('a', -1)", "lastIndexOf: the index is out of range"),
        ("'abc'.substring(2, 1)", "substring: the index is out of range"),
        ("[1][1]", "the index is outside the list"),
        ("[1][-1]", "the index is outside the list"),
        ("int('1.5')", "int: the text is not an integer"),
        ("int('9223372036854775808')", "int: the number is out of range"),
        ("double('1_0')", "double: the text is not a number"),
        ("double('1e999')", "double: the number is out of range"),
        ("bool('TrUe')", "bool: the text is neither true nor false"),
        ("timestamp('no' + '')", "timestamp: 'no' cannot be read: it is not a time of RFC 3339"),
        ("duration('1x' + '')", "duration: '1x' cannot be read: it is not a duration"),
        ("date('2026-02-30' + '')", "date: '2026-02-30' cannot be read: there is no such day"),
        ("timestamp(253402300799 + 1)", "time outside the years 1 to 9999"),
        ("now.getHours('Mars' + '')", "there is no time zone 'Mars'"),
        ("now.getHours('+24:00' + '')", "there is no time zone '+24:00'"),
        ("timestamp('0001-01-01T00:00:00Z').getHours('-01:00')", "time outside the years 1 to 9999"),
        ("date('9999-12-31') + days(1)", "date outside the years 1 to 9999"),
        ("date('9999-12-31') + months(1)", "date outside the years 1 to 9999"),
        ("timestamp('0001-01-31T00:00:00Z') - months(1)", "time outside the years 1 to 9999"),
        ("[2, 0].all(e, 2 / e > 0)", "division by zero"),
        ("[2, 0].exists_one(e, 2 / e == 1)", "division by zero"),
        ("[2, 0].filter(e, 2 / e == 1)", "division by zero"),
        ("[2, 0].map(e, 2 / e)", "division by zero"),
        ("[2, 1 / 0].exists(e, e == 2)", "division by zero"),
        (f"'{'a' * 200}'.replace('a', '{'b' * 60}') == ''", "the text is longer than 10000 characters"),
        (f"size('{'a' * 300}'.split(''))", "the list has more than 256 elements"),
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
    told = {text[step.node.span.start : step.node.span.end]: step.value for step in steps}
    assert told["features.a + 1"] == 3
    assert told["features.a + 1 > 2"] is True
    assert told["has(features.p)"] is False
    assert told["features.b"] == Failure("DATA_MISSING", "features.b", "features.b is missing")
    assert steps[-1] == Step(node, told["features.b"], None)
    assert reads(node) == ["features.a", "features.p", "features.b"]


def test_steps_inside_facts_name_their_fact() -> None:
    inner = compiled("features.a + 1")
    facts: dict[str, Node] = {"inner": inner}
    middle, _ = check("facts.inner * facts.inner", replace(SCOPE, roots=ROOTS, facts=facts), None)
    assert middle is not None
    facts["middle"] = middle
    node, _ = check("facts.middle > facts.inner", replace(SCOPE, roots=ROOTS, facts=facts), None)
    assert node is not None
    steps = trace(node, Inputs({"features.a": 2}, NOW, None))
    told = [(step.fact, step.node.span, step.value) for step in steps if not isinstance(step.node, Const)]
    assert told == [
        ("facts.inner", Span(0, 10), 2),
        ("facts.inner", Span(0, 14), 3),  # once: the tree is shared
        ("facts.middle", Span(0, 11), 3),
        ("facts.middle", Span(14, 25), 3),
        ("facts.middle", Span(0, 25), 9),
        (None, Span(0, 12), 9),
        (None, Span(15, 26), 3),
        (None, Span(0, 26), True),
    ]
    assert reads(node) == ["features.a"]


def test_a_fact_is_evaluated_once() -> None:
    facts: dict[str, Node] = {"f0": compiled("features.a")}
    for i in range(1, 60):
        wider, _ = check(f"facts.f{i - 1} + facts.f{i - 1}", replace(SCOPE, roots=ROOTS, facts=facts), None)
        assert wider is not None
        facts[f"f{i}"] = wider
    assert evaluate(facts["f59"], Inputs({"features.a": 1}, NOW, None)) == 2**59
    assert reads(facts["f59"]) == ["features.a"]


def test_facts_inside_macros_do_not_see_their_elements() -> None:
    facts: dict[str, Node] = {"many": compiled("[1, 2, 3].filter(x, x > features.a)")}
    node, problems = check("['p', 'q'].map(t, size(facts.many))", replace(SCOPE, roots=ROOTS, facts=facts), None)
    assert problems == []
    assert node is not None
    assert evaluate(node, Inputs({"features.a": 1}, NOW, None)) == (2, 2)


def test_operations_of_tables() -> None:
    def op(kind: Type, name: str, *args: Node) -> Node:
        return Op(kind, name, args, Span(0, 0))

    true, false = (Const(Type.BOOL, flag, Span(0, 0)) for flag in (True, False))
    one, two = (Const(Type.INTEGER, n, Span(0, 0)) for n in (1, 2))
    wrong = op(Type.BOOL, "fail", Const(Type.TEXT, "two rows match", Span(0, 0)))
    nothing = Inputs({}, NOW, None)
    failure = Failure("DATA_MISSING", "", "two rows match")
    assert evaluate(wrong, nothing) == failure
    assert [evaluate(op(Type.BOOL, "fails", node), nothing) for node in (wrong, true)] == [True, False]
    assert evaluate(op(Type.INTEGER, "switch", false, one, true, two, wrong, one, one), nothing) == 2
    assert evaluate(op(Type.INTEGER, "switch", wrong, one, true, two, one), nothing) == failure
    assert evaluate(op(Type.INTEGER, "switch", false, one, two), nothing) == 2
    assert evaluate(op(Type.INTEGERS, "collect", true, one, false, wrong, true, two), nothing) == (1, 2)
    assert evaluate(op(Type.INTEGERS, "collect", true, one, wrong, two), nothing) == failure


# beside cel-python

INTEGERS = st.sampled_from([0, 1, -1, 2, 7, -7, INT_MAX, INT_MIN]) | st.integers(-10, 10)
NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 0.1, -2.5, 1e308, math.inf, -math.inf, math.nan]) | st.floats(-9, 9)
TEXTS = st.sampled_from(["", "a", "A", "é", "ab", "\U0001f600", "\uffff"])


def _pair(inner: st.SearchStrategy[str], operators: str) -> st.SearchStrategy[str]:
    return st.tuples(inner, st.sampled_from(operators), inner).map(lambda parts: f"({' '.join(parts)})")


def _arithmetic(leaves: list[str], literals: st.SearchStrategy[Any], operators: str) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(leaves) | literals.map(repr)
    return st.recursive(leaf, lambda inner: _pair(inner, operators), max_leaves=4)


INT_TEXT = _arithmetic(["features.a", "features.b", "(-features.a)"], st.integers(-9, 9), "+-*/%")
# cel-python divides doubles by zero wrongly (0.0 / 0.0 is inf there), so only by other literals here
NUMBER_LEAVES = ["features.x", "features.y", "(-features.x)", "(features.y / 2.5)", "(features.x / -0.1)"]
NUMBER_TEXT = _arithmetic(NUMBER_LEAVES, st.floats(-9, 9, width=16), "+-*")
TEXT_TEXT = _arithmetic(["features.s", "features.t", "'a'", '"\\u00e9"', "''"], st.nothing(), "+")
# a list with an error in it is a list in cel-python: elements are inputs and literals
LIST_LEAVES = ["features.l", "features.w", "[1, -2, 3]", "[features.a, 0]", "[0]"]


def _transformed(lists: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(lists, lists).map(lambda t: f"({t[0]} + {t[1]})"),
        st.tuples(lists, ELEMENT_CONDITION).map(lambda t: f"{t[0]}.filter(e, {t[1]})"),
        st.tuples(lists, st.sampled_from(["e * 2", "e + features.b", "-e"])).map(lambda t: f"{t[0]}.map(e, {t[1]})"),
    )


ELEMENT_CONDITION = st.sampled_from(
    ["e > 0", "e == features.a", "e % 2 == 1", "12 / e > 1", "e in [1, 2]", "[1, 2].exists(f, f == e)", "features.p"]
)
LIST_TEXT = st.recursive(st.sampled_from(LIST_LEAVES), _transformed, max_leaves=3)


def _compared(operands: st.SearchStrategy[str], operators: list[str]) -> st.SearchStrategy[str]:
    return st.tuples(operands, st.sampled_from(operators), operands).map(" ".join)


ORDER = ["<", "<=", ">", ">=", "==", "!="]
CONDITION = st.one_of(
    st.sampled_from(["features.p", "features.q", "true", "false", "has(features.p)", "has(features.a)"]),
    _compared(INT_TEXT, ORDER),
    _compared(NUMBER_TEXT, ORDER),
    _compared(TEXT_TEXT, ORDER),
    _compared(LIST_TEXT, ["==", "!="]),
    INT_TEXT.map("{} in [1, -7, 2]".format),
    TEXT_TEXT.map("{} in ['a', 'ab']".format),
    st.tuples(INT_TEXT, LIST_TEXT).map(lambda t: f"{t[0]} in {t[1]}"),
    TEXT_TEXT.map("{}.matches('^a|é')".format),
    st.tuples(TEXT_TEXT, st.sampled_from(["contains", "startsWith", "endsWith"]), TEXT_TEXT).map(
        lambda t: f"{t[0]}.{t[1]}({t[2]})"
    ),
    st.tuples(LIST_TEXT, st.sampled_from(["all", "exists", "exists_one"]), ELEMENT_CONDITION).map(
        lambda t: f"{t[0]}.{t[1]}(e, {t[2]})"
    ),
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map("!({})".format),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) ? ({t[1]}) : ({t[2]})"),
    )


EXPRESSION = st.one_of(
    st.recursive(CONDITION, _combined, max_leaves=5),
    INT_TEXT,
    NUMBER_TEXT,
    TEXT_TEXT,
    LIST_TEXT,
    st.one_of(TEXT_TEXT, LIST_TEXT).map("size({})".format),
    st.tuples(LIST_TEXT, st.integers(0, 3)).map(lambda t: f"{t[0]}[{t[1]}]"),
)
LISTS = st.lists(INTEGERS, max_size=3).map(tuple)
VALUES = st.fixed_dictionaries(
    {"a": INTEGERS, "x": NUMBERS, "p": st.booleans(), "s": TEXTS, "l": LISTS},
    optional={"b": INTEGERS, "y": NUMBERS, "q": st.booleans(), "t": TEXTS, "w": LISTS},
)
CEL = celpy.Environment()
WRAP: dict[type, Any] = {
    bool: celtypes.BoolType,
    int: celtypes.IntType,
    float: celtypes.DoubleType,
    str: celtypes.StringType,
    tuple: lambda items: celtypes.ListType([celtypes.IntType(item) for item in items]),
}


def unwrapped(value: Any) -> object:
    if isinstance(value, bool | celtypes.BoolType):
        return bool(value)
    if isinstance(value, list):
        return tuple(unwrapped(item) for item in value)
    return next((kind(value) for kind in (float, int, str) if isinstance(value, kind)), value)


def celpy_value(text: str, values: dict[str, Any]) -> object:
    wrapped = {celtypes.StringType(name): WRAP[type(value)](value) for name, value in values.items()}
    program = CEL.program(CEL.compile(text))
    try:
        return unwrapped(program.evaluate({"features": celtypes.MapType(wrapped)}))
    except celpy.CELEvalError:
        return "error"


def deviates(text: str, ours: object, theirs: object) -> str:
    """Where cel-python is known to differ from the specification, and how."""
    if "%" in text and ours == Failure("DATA_MISSING", "", "integer overflow") and theirs != "error":
        return "INT64_MIN % -1 is 0"
    if ").contains(" in text and not isinstance(ours, Failure) and theirs == "error":
        return "contains() of a joined text is an error"
    strict = any(f".{macro}(" in text for macro in ("exists_one", "filter", "map"))
    if strict and not isinstance(ours, Failure) and theirs == "error":
        return "&& and || do not absorb an error in exists_one, filter or map"
    return ""


@settings(max_examples=100, deadline=None)
@given(EXPRESSION, VALUES)
def test_like_cel_python(text: str, values: dict[str, Any]) -> None:
    node, problems = check(text, LISTED, None, allow_integer_division=True)
    assert problems == []
    assert node is not None
    ours = evaluate(node, Inputs({f"features.{name}": value for name, value in values.items()}, NOW, None))
    theirs = celpy_value(text, values)
    if not deviates(text, ours, theirs):
        assert repr("error" if isinstance(ours, Failure) else ours) == repr(theirs), (text, values)


LISTED = scope_of(TYPES | {"w": Type.INTEGERS})
