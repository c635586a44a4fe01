"""Unary tests: what a cell asks of its column's input, parsed by the input's static type.

test         = "-" | alternative { ("," | "|") alternative }
alternative  = "missing" | "not(" test ")" | comparison | interval | literal
comparison   = ("<" | "<=" | ">" | ">=" | "!=") literal
interval     = ("[" | "(") literal ".." literal ("]" | ")")
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.compiler.nodes import Const, Node, Op, Type
from engine.compiler.tables.literals import ORDERED, SMART_QUOTES, Bad, literal

PARTS_MAX = 200  # alternatives in a cell
DEPTH_MAX = 4
_COMPARISON = re.compile(r"(<=|>=|!=|<(?!>)|>)\s*(.+)", re.S)
_INTERVAL = re.compile(r"([\[(])\s*(.*?)\s*\.\.\s*(.*?)\s*([\])])", re.S)
_NEGATED = re.compile(r"not\s*\((.*)\)", re.S)
_FIXES = (
    (re.compile(r"=>\s*(.+)", re.S), "`=>` begins a formula in a spreadsheet", ">= {}"),
    (re.compile(r"=<\s*(.+)", re.S), "`=<` begins a formula in a spreadsheet", "<= {}"),
    (re.compile(r"==?\s*(.+)", re.S), "a value alone means that the input is equal to it", "{}"),
    (re.compile(r"<>\s*(.+)", re.S), "`<>` is no test", "not({})"),
    (re.compile(r"≥\s*(.+)", re.S), "`≥` is no test", ">= {}"),
    (re.compile(r"≤\s*(.+)", re.S), "`≤` is no test", "<= {}"),
    (re.compile(r"≠\s*(.+)", re.S), "`≠` is no test", "not({})"),
    (re.compile(r"!\s*(.+)", re.S), "`!` is no test", "not({})"),
)


@dataclass(frozen=True, slots=True)
class Missing:
    """The input has no value."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The values between two constants; None is no bound. A literal is the interval from it to it."""

    low: object | None
    high: object | None
    low_in: bool = True
    high_in: bool = True

    @property
    def point(self) -> bool:
        return self.low is not None and self.low_in and self.high_in and self.low == self.high


@dataclass(frozen=True, slots=True)
class Not:
    """Not what is inside."""

    parts: tuple[Part, ...]


Part = Missing | Interval | Not
Test = tuple[Part, ...]  # any of them; () asks nothing, as `-`
ANY: Test = ()


def parse_test(text: str, kind: Type) -> Test:
    """The test that a cell holds. Raises Bad."""
    text = text.strip()
    if text in ("–", "—"):
        raise Bad("a dash that is not a minus", "`-` where the input does not matter", "write -")
    return ANY if text == "-" else _alternatives(text, kind, 0)


def _alternatives(text: str, kind: Type, depth: int) -> tuple[Part, ...]:
    if depth > DEPTH_MAX:
        raise Bad("nested too deeply")
    if kind is not Type.TEXT and (comma := re.search(r"(\d),(\d+)", text)):
        digits = comma[0]
        one = digits.replace(",", "" if kind is Type.INTEGER else ".")
        hint = f"write {one} for one number, {digits.replace(',', ' | ')} for alternatives"
        if text[0] in "[(":
            hint = f"write {text.replace(',', '..')}"
        raise Bad(f"`{digits}` can be one number or two", "", hint)
    pieces = _split(text)
    if len(pieces) > PARTS_MAX:
        raise Bad(f"more than {PARTS_MAX} alternatives in one cell", "", "split the row")
    return tuple(_alternative(piece, kind, depth) for piece in pieces)


def _split(text: str) -> list[str]:
    """The alternatives: parts between `,` and `|` outside quotes and brackets."""
    pieces, begin, depth, quote, escaped = [], 0, 0, "", False
    for i, char in enumerate(text):
        if quote:
            if char == quote and not escaped:
                quote = ""
            escaped = char == "\\" and not escaped
        elif char in "\"'" and text[:i].rstrip()[-1:] in ("", *"([,|<>="):
            quote = char
        elif char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char in ",|" and depth <= 0:
            pieces.append(text[begin:i])
            begin = i + 1
    return [*pieces, text[begin:]]


def _alternative(text: str, kind: Type, depth: int) -> Part:
    text = text.strip()
    if not text:
        raise Bad("an alternative is empty", "", "remove the extra `,` or `|`")
    if text == "-":
        raise Bad("`-` stands alone in its cell: it asks nothing")
    if text == "missing":
        return Missing()
    if text.lower() in ("missing", "not missing", "(missing)"):
        raise Bad(f"`{text}` is no test", "`missing` or `not(missing)`", "a text that reads so is quoted")
    if negated := _NEGATED.fullmatch(text):
        return Not(_alternatives(negated[1], kind, depth + 1))
    if comparison := _COMPARISON.fullmatch(text.translate(SMART_QUOTES) if kind is not Type.TEXT else text):
        return _comparison(comparison[1], comparison[2], kind)
    if interval := _INTERVAL.fullmatch(text.replace("…", "..")):
        return _interval(interval, kind)
    for pattern, message, form in _FIXES:
        if fix := pattern.fullmatch(text):
            raise Bad(message, "", f"write {form.format(fix[1])}")
    if text[0] in "[(" and kind is Type.TEXT:
        raise Bad("an interval, and the input is text", "", f'a text that begins so is quoted: "{text}"')
    if text[0] in "[(" or (text[-1] in "])" and kind is not Type.TEXT):
        inner = re.split(r"\s*(?:,|;|\.{1,3}|-|–| to )\s*", text.strip("[]()"))
        hint = f"write {text[0]}{inner[0]}..{inner[1]}{text[-1]}" if len(inner) == 2 else ""
        raise Bad(f"`{text[:40]}` is not an interval", "`[1..5]`, or `(` and `)` where an end is left out", hint)
    if kind in ORDERED and re.search(r"&&|\band\b", text):
        raise Bad("two conditions in one cell", "", "write an interval such as [6..9)")
    value = literal(text, kind)
    return Interval(value, value)


def _comparison(operator: str, text: str, kind: Type) -> Part:
    if _COMPARISON.search(text) and kind is not Type.TEXT:
        raise Bad("two conditions in one cell", "", "write an interval such as [6..9)")
    if operator == "!=":
        value = literal(text, kind)
        return Not((Interval(value, value),))
    if kind not in ORDERED:
        raise Bad(f"`{operator}` does not apply: the input is {kind}", "", 'a text that begins so is quoted: `"< 5"`')
    value = literal(text, kind)
    if operator[0] == "<":
        return Interval(None, value, high_in=operator == "<=")
    return Interval(value, None, low_in=operator == ">=")


def _interval(found: re.Match[str], kind: Type) -> Part:
    if kind not in ORDERED:
        raise Bad(f"an interval, and the input is {kind}")
    low, high = literal(found[2], kind), literal(found[3], kind)
    if low > high:  # type: ignore[operator]
        raise Bad("the interval ends before it begins", "", f"write {found[1]}{found[3]}..{found[2]}{found[4]}")
    return Interval(low, high, found[1] == "[", found[4] == "]")


def at_missing(test: Test) -> bool | None:
    """What the test says of an input without a value: true, false, or None for an error."""
    if test == ANY:
        return True
    told = [_part_at_missing(part) for part in test]
    return True if True in told else None if None in told else False


def _part_at_missing(part: Part) -> bool | None:
    if isinstance(part, Missing):
        return True
    if isinstance(part, Not):
        inner = at_missing(part.parts)
        return None if inner is None else not inner
    return None


def test_node(test: Test, value: Node) -> Node | None:
    """The tree that asks `value` the test; None where nothing is asked."""
    if test == ANY:
        return None
    points = [p.low for p in test if isinstance(p, Interval) and p.point]
    nodes: list[Node] = []
    if len(points) > 1 and value.type not in (Type.MONEY, Type.BOOL):
        nodes.append(_op("in", value, Const(value.type.listed, tuple(points), value.span)))
        test = tuple(p for p in test if not (isinstance(p, Interval) and p.point))
    nodes += [_part_node(part, value) for part in test]
    return nodes[0] if len(nodes) == 1 else Op(Type.BOOL, "or", tuple(nodes), value.span)


def _part_node(part: Part, value: Node) -> Node:
    if isinstance(part, Missing):
        return _op("fails", value)
    if isinstance(part, Not):
        inner = test_node(part.parts, value)
        assert inner is not None
        return _op("not", inner)
    if part.point:
        if value.type is Type.BOOL:
            return value if part.low else _op("not", value)
        return _op("eq", value, Const(value.type, part.low, value.span))
    ends: list[Node] = []
    if part.low is not None:
        ends.append(_op("ge" if part.low_in else "gt", value, Const(value.type, part.low, value.span)))
    if part.high is not None:
        ends.append(_op("le" if part.high_in else "lt", value, Const(value.type, part.high, value.span)))
    return ends[0] if len(ends) == 1 else _op("and", *ends)


def _op(op: str, *args: Node) -> Op:
    return Op(Type.BOOL, op, args, args[0].span)
