"""Expressions whose parts are checked once for all messages against the checker on the whole text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler import parser
from engine.compiler.checker import check
from engine.compiler.conjuncts import alternatives, conjuncts
from engine.compiler.lexer import Refused, tokenize
from engine.compiler.model import Attribute, EventType, Feature, Position
from engine.compiler.names import Scope
from engine.compiler.nodes import Const, Fact, Node, Op, Type, Var
from engine.compiler.reading import Reading
from engine.compiler.scopes import ALL_ROOTS, Expressions
from engine.compiler.tree import Document, Scalar
from tests.compiler.test_conformance import CASES, FLOORS

HERE = Position("f.yaml", 1, 1)
KINDS = {"n": Type.NUMBER, "i": Type.INTEGER, "s": Type.TEXT, "b": Type.BOOL, "l": Type.INTEGERS, "m": Type.MONEY}
FEATURES = {
    name: Feature(name, kind, "EUR" if name == "m" else None, False, None, None, None, None, None, HERE)
    for name, kind in KINDS.items()
}
EVENTS = {
    name: EventType(name, {"amount": Attribute("amount", kind, None, False, HERE)}, HERE)
    for name, kind in (("deposit", Type.NUMBER), ("payment", Type.INTEGER))
}
PARTS = st.sampled_from(
    [
        "features.n >= 15.0", "features.n < -2", "features.i != 3", 'features.s == "a && b"', "features.b",
        "!features.b", "(features.b || features.i > 2)", "(features.b && features.n > 1.0)", "has(features.s)",
        '(event.amount > 0.5 || features.s == "||" || features.b)', "(features.b || (features.i > 2 || features.b))",
        "(features.b || features.x > 1)", "( features.b||has(features.s) )", "(features.n > 1 || features.m > 2)",
        "features.n + 0.5 * features.n >= 60.0", "event.amount >= 10.0", "event.amount >= 10", "event.amount > 0.5",
        "features.i in [1, 2]", "features.m in [10, 20.5]", 'features.s in ["a", "&&"]', "features.l.all(x, x > 1)",
        "features.l.exists(features, features > 1)", "features.l[0] == 1", "features.s.size() > 2", "'x' == r'y'",
        '"""a" && "b""" == "a"', "'''a''' == 'a'", "true", "now > timestamp('2026-01-01T00:00:00Z')",
        "features.b ? true : false", "features.i", "features.x > 1", "features.n > 1", "features.i > 1.0",
        "b'a' == b'a'",
        "(features.b", "features.b)", "features.i == 1 // && features.b", "features . i == 1", "features.i > 1u", "1 &",
        "features.b || features.b", "!!features.b", "features.i - -1 > 2", "features.`n` > 1.0", "facts.f", "",
        "features.in", "features.true", "features.i.j", "features.i(1)", "x.features.i", "{features.i: 1}",
        "features.s{features.i: 1}", ".features.i > 1", "\u2003features.b", "features.l == []",
    ]
)  # fmt: skip
JOINED = st.sampled_from([" && ", "&&", " &&\n  ", " || ", " ? ", " : ", " == "])
TEXTS = st.lists(st.tuples(PARTS, st.one_of(st.just(" && "), JOINED)), min_size=1, max_size=5).map(
    lambda made: "".join(part + by for part, by in made[:-1]) + made[-1][0]
)


def drawn(node: Node) -> object:
    """A tree as plain data, with every place in it."""
    place = (type(node).__name__, node.type, node.span.start, node.span.end)
    match node:
        case Op():
            return (*place, node.op, [drawn(arg) for arg in node.args])
        case Const():
            return (*place, node.key)
        case Var():
            return (*place, node.name, node.level)
        case Fact():
            return (*place, node.path, drawn(node.node))
    return (*place, node.path)


def expressions() -> Expressions:
    made = Expressions(Reading(), EVENTS, FEATURES)
    f = Scalar(Document("f.yaml", "features.b"), "features.b", "", 0, 10, False)
    assert made.declare_facts({"f": f}, {}, frozenset())
    return made


def agree(made: Expressions, text: str, on: tuple[str, ...] | None) -> None:
    made.reading.findings.clear()
    scalar = Scalar(Document("f.yaml", text), text, "", 0, len(text), False)
    found = made.expression(scalar, on, Type.BOOL)
    facts = {"f": made.fact("f", on).node}
    scope = Scope(EVENTS, FEATURES, {}, {k: v for k, v in facts.items() if v}, on, ALL_ROOTS, False, made.units)
    node, problems = check(text, scope, Type.BOOL)
    assert (found and drawn(found.node)) == (node and drawn(node))
    told = [(f.code, f.message, f.found, f.expected, f.hint) for f in made.reading.findings]
    assert told == [(p.code, p.message, p.found, p.expected, p.hint) for p in problems]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_the_same_trees_and_problems(texts: list[str]) -> None:
    made = expressions()
    for text in texts:
        for on in (None, ("deposit",), ("payment",)):
            agree(made, text, on)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("features.n >= 15.0 && features.b", [(0, "features.n >= 15.0"), (22, "features.b")]),
        (' a == "&&"&&(b && c) && [1] ', [(1, 'a == "&&"'), (12, "(b && c)"), (24, "[1]")]),
        ("a", []),
        ("a || b && c", []),
        ("a && b ? c : d", []),
        ("a && b // c", []),
        ("a && ((b))", []),
        ("a && facts.b", []),
        ("a && b.all(x, x)", []),
        ("a && !!b", []),
        ('a && """b""" == c', []),
        ("a &&", []),
        ("a && b &", []),
        ("a && " + "b" * 201, []),
        ("a && " * 400 + "a", []),
    ],
)
def test_what_is_cut(text: str, parts: list[tuple[int, str]]) -> None:
    assert conjuncts(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("(a || b)", [(1, "a"), (6, "b")]),
        ('( a == "||)"||(b || c) || d[0] )', [(2, 'a == "||)"'), (14, "(b || c)"), (26, "d[0]")]),
        ("a || b", []),
        ("(a) || (b)", []),
        ("(a || b) || (c || d)", []),
        ("(a || b && c)", []),
        ("(a || b ? c : d)", []),
        ("(a)", []),
        ("(a || b", []),
        ("(a ||)", []),
        ("(a || ((b)))", []),
        ("(a || facts.b)", []),
        ("(a || !!b)", []),
        ("(a || " + "b" * 200 + ")", []),
    ],
)
def test_which_alternatives_are_cut(text: str, parts: list[tuple[int, str]]) -> None:
    assert alternatives(text) == parts


def cases() -> list[str]:
    """The expressions of CEL's conformance cases, where these are."""
    files = [CASES / f"{name}.json" for name in FLOORS]
    return [case["expr"] for file in files if file.is_file() for case in json.loads(file.read_text())["cases"]]


def read(text: str) -> object:
    try:
        return parser.parse(text)
    except Refused as refused:
        return refused.problem


def in_full(text: str) -> object:
    """As `read`, token by token: no path in one, no operand without the whole grammar."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "tokens_of", tokenize)
        patch.setattr(parser, "_LEAVES", frozenset())
        return read(text)


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXTS, st.lists(st.one_of(PARTS, st.text('fi.(1"&[{ ', max_size=3)), max_size=4).map("".join)))
def test_paths_in_one_make_the_same_trees(text: str) -> None:
    assert read(text) == in_full(text)


def test_conformance_cases_make_the_same_trees() -> None:
    limits = ["[" + "event.a," * k + "1]" for k in (998, 999, 1000, 1001)]
    for text in [*cases(), *limits, *("+".join(["1"] * k) for k in (249, 251))]:
        assert read(text) == in_full(text)
