"""Syntax: precedence, literals, limits, and the text of every syntax problem."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.ast import (
    Binary,
    Call,
    Chain,
    Ident,
    Index,
    ListTree,
    Literal,
    MapTree,
    MessageTree,
    Select,
    Ternary,
    Tree,
    Unary,
)
from engine.compiler.lexer import Refused
from engine.compiler.parser import parse
from engine.compiler.source import Problem


def shape(tree: Tree) -> str:
    """The tree as an S-expression."""
    match tree:
        case Literal():
            return repr(tree.value) + ("u" if tree.kind == "uint" else "")
        case Ident():
            return tree.name
        case Select():
            return f"{shape(tree.operand)}.{tree.field}"
        case Index():
            return f"{shape(tree.operand)}[{shape(tree.index)}]"
        case Call():
            target = "" if tree.target is None else shape(tree.target) + "."
            return f"{target}{tree.function}({', '.join(shape(arg) for arg in tree.args)})"
        case Unary():
            return f"({tree.op} {shape(tree.operand)})"
        case Binary():
            return f"({tree.op} {shape(tree.left)} {shape(tree.right)})"
        case Chain():
            return f"({tree.op} {' '.join(shape(operand) for operand in tree.operands)})"
        case Ternary():
            return f"(? {shape(tree.condition)} {shape(tree.then)} {shape(tree.otherwise)})"
        case ListTree():
            return f"[{', '.join(shape(item) for item in tree.items)}]"
        case MapTree():
            return "{" + ", ".join(f"{shape(key)}: {shape(value)}" for key, value in tree.entries) + "}"
        case MessageTree():
            return tree.name + "{" + ", ".join(f"{name}: {shape(value)}" for name, value in tree.fields) + "}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "(+ a (* b c))"),
        ("a * b + c", "(+ (* a b) c)"),
        ("a - b - c", "(- (- a b) c)"),
        ("a / b % c * d", "(* (% (/ a b) c) d)"),
        ("(a - b) - (c - d)", "(- (- a b) (- c d))"),
        ("a < b == c", "(== (< a b) c)"),
        ("a + 1 in [1, 2,]", "(in (+ a 1) [1, 2])"),
        ("a && b && c || d && e || f", "(|| (&& a b c) (&& d e) f)"),
        ("a && (b && c)", "(&& a (&& b c))"),
        ("a || b ? c : d ? e : f", "(? (|| a b) c (? d e f))"),
        ("a ? b ? c : d : e", "(? a (? b c d) e)"),
        ("!a && !!b", "(&& (! a) (! (! b)))"),
        ("!a.b(c)", "(! a.b(c))"),
        ("-a.b * -c", "(* (- a.b) (- c))"),
        ("a-1", "(- a 1)"),
        ("a - -1", "(- a -1)"),
        ("--1", "1"),
        ("-(-9223372036854775808)", "(- -9223372036854775808)"),
        ("- 9223372036854775808", "-9223372036854775808"),
        ("-0.0", "-0.0"),
        ("0x1F + 0xffu", "(+ 31 255u)"),
        ("1.5e3 + .5 + 2E-1", "(+ (+ 1500.0 0.5) 0.2)"),
        ("007", "7"),
        ("a.b[c].d(e)[0]", "a.b[c].d(e)[0]"),
        (".a.in_x.`b-c`.for", "a.in_x.b-c.for"),
        ("{'a': 1, b: [2],}", "{'a': 1, b: [2]}"),
        ("a.B{c: 1, `d-e`: 2}", "a.B{c: 1, `d-e`: 2}"),
        ("a // the rest\n  + b", "(+ a b)"),
        ("null == true", "(== None True)"),
        (r""" "a\n\t\\\"\'\`\?\x41\u00e9\U0001F600\101" """, repr("a\n\t\\\"'`?A\u00e9\U0001f600A")),
        (r"""r'\n' + R"\" """, r"(+ '\\n' '\\')"),
        ("'''a'b\n''' + \"\"\"c\"d\"\"\"", r"""(+ "a'b\n" 'c"d')"""),
        (r"b'\xff\377é' + bR'\n'", r"(+ b'\xff\xff\xc3\xa9' b'\\n')"),
        ("''", "''"),
        ("''''''", "''"),
        ("1 / 2 // 3", "(/ 1 2)"),
    ],
)
def test_trees(text: str, expected: str) -> None:
    assert shape(parse(text)[0]) == expected


def test_spans_hold_the_parentheses() -> None:
    text = " (a + b) * -c "
    tree, nodes = parse(text)
    assert isinstance(tree, Binary)
    assert text[tree.start : tree.end] == "(a + b) * -c"
    assert text[tree.left.start : tree.left.end] == "(a + b)"
    assert text[tree.right.start : tree.right.end] == "-c"
    assert nodes == 6


def refusal(text: str) -> Problem:
    with pytest.raises(Refused) as refused:
        parse(text)
    return refused.value.problem


@pytest.mark.parametrize(
    ("text", "code", "part", "message", "hint"),
    [
        ("", "syntax", "", "the expression is empty", ""),
        ("a +", "syntax", "", "the expression ends too early", ""),
        ("a b", "syntax", "b", "'b' is not expected here", ""),
        ("a and b", "syntax", "and", "'and' is not expected here", "for 'and', write `&&`"),
        ("(a", "syntax", "", "the expression ends too early", ""),
        ("a)", "syntax", ")", "')' is not expected here", ""),
        ("[1, 2", "syntax", "", "the expression ends too early", ""),
        ("f(1,)", "syntax", ")", "')' is not expected here", ""),
        ("a ? b", "syntax", "", "the expression ends too early", ""),
        ("!-a", "syntax", "-", "'-' is not expected here", ""),
        ("a.true", "syntax", "true", "'true' is not expected here", ""),
        ("a = 1", "unexpected-character", "=", "'=' does not belong in an expression", "to compare, write `==`"),
        ("a & b", "unexpected-character", "&", "'&' does not belong in an expression", "for 'and', write `&&`"),
        ("a ≥ 1", "unexpected-character", "≥", "'≥' does not belong in an expression", "write `>=`"),
        ("for == 1", "reserved-word", "for", "'for' is a reserved word of CEL", ""),
        ("1. + 2", "bad-number", "1.", "'1.' is not a number", "write `1.0`, not `1.`"),
        ("2nd > 1", "bad-number", "2nd", "'2nd' is not a number", "names do not begin with a digit"),
        ("a == 'x", "unterminated-text", "'x", "the text has no closing quote", ""),
        ("'a\nb'", "unterminated-text", "'a\nb'", "the text has no closing quote", ""),
        ("1e999", "literal-overflow", "1e999", "the number is too large", ""),
        ("18446744073709551616u", "literal-overflow", "18446744073709551616u", "the integer is too large", ""),
        ("-9223372036854775809", "literal-overflow", "9223372036854775809", "the integer is too large", None),
        ("1" * 5000, "literal-overflow", "1" * 5000, "the integer is too large", None),
        (r"'a\q'", "bad-escape", r"\q", "this escape means nothing here", None),
        (r"'\ud800'", "bad-escape", r"\ud800", "this escape means nothing here", None),
        (r"b'\u0041'", "bad-escape", r"\u0041", "this escape means nothing here", None),
        (r"'\477'", "bad-escape", r"\4", "this escape means nothing here", None),
    ],
)
def test_syntax_problems(text: str, code: str, part: str, message: str, hint: str | None) -> None:
    problem = refusal(text)
    assert (problem.code, problem.message) == (code, message)
    assert text[problem.span.start : problem.span.end] == part
    if hint is not None:
        assert problem.hint == hint


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(" * 100_000, "text-too-long"),
        ("(" * 9_000, "too-deep"),
        ("[" * 9_000, "too-deep"),
        ("f(" * 4_000, "too-deep"),
        ("{1:" * 3_000, "too-deep"),
        ("a[" * 4_000, "too-deep"),
        ("!" * 9_000 + "a", "too-deep"),
        ("-" * 9_000 + "a", "too-deep"),
        ("a?" * 4_000, "too-deep"),
        ("a?b:" * 2_000 + "c", "too-deep"),
        ("(a+1*-" * 60 + "a" + ")" * 60, "too-deep"),
        ("a" + "+a" * 250, "chain-too-long"),
        ("a" + ".b" * 250, "chain-too-long"),
        ("[" + "1," * 2_000 + "1]", "too-many-nodes"),
    ],
)
def test_limits(text: str, code: str) -> None:
    assert refusal(text).code == code


@pytest.mark.parametrize(
    "text",
    [
        "(" * 63 + "a" + ")" * 63,
        "a" + "+a" * 249,
        "a" + ".b" * 249,
        "a" + "&&a" * 1_900,
        "a?b:" * 62 + "c",
    ],
)
def test_within_limits(text: str) -> None:
    tree, nodes = parse(text)
    assert tree.depth <= 64
    assert nodes <= 2_000


@given(st.text(alphabet="ab.1u'\"\\()[]{}+-*/%!<>=&|?:, \n`", max_size=40))
def test_any_text_is_a_tree_or_one_problem(text: str) -> None:
    try:
        tree, _ = parse(text)
        start, end = tree.start, tree.end
    except Refused as refused:
        start, end = refused.problem.span.start, refused.problem.span.end
    assert 0 <= start <= end <= len(text)


def test_cost_is_linear_in_the_text() -> None:
    started = time.process_time()
    refusal('"' + "a\\n" * 3_000)
    refusal("'''" + "''a" * 3_000)
    parse("'''" + "a''" * 3_000 + "a'''")
    assert time.process_time() - started < 1.0
