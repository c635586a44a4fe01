"""What the checker says: problems with the text, type and unit of what was found, and a way to mend it."""

from __future__ import annotations

import re
from decimal import Decimal

from engine.compiler.ast import Binary, Literal, Tree
from engine.compiler.names import HEIGHT_MAX, Names, Scope
from engine.compiler.nodes import Const, Node, Span, Type
from engine.compiler.overloads import COMPARISONS, READERS, SAMPLES
from engine.compiler.parser import NODES_MAX
from engine.compiler.source import ERROR, Problem
from engine.compiler.summary import measure
from engine.compiler.units import unit_of
from engine.compiler.written import MONEY_MAX, money_text

_DIGITS = re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YES, _NO = {"yes", "true", "y", "1"}, {"no", "false", "n", "0"}
MIXED = {Type.INTEGER, Type.NUMBER}
_FOR_OP = {
    "+": "two integers, numbers, texts, durations, lists or amounts of money, or a time and a duration",
    "-": "two integers, numbers, durations, times or amounts of money, or a time and a duration",
    "*": "two integers or two numbers, or money and an integer",
    "/": "two numbers",
    "%": "two integers",
}
_BOOL_HINT = {
    Type.INTEGER: "compare it, as in `x > 0`",
    Type.NUMBER: "compare it, as in `x > 0`",
    Type.TEXT: 'compare it, as in `x == "a"`',
    Type.TIME: "compare it, as in `x < now`",
    Type.DURATION: "compare it, as in `x > days(30)`",
    Type.DATE: "compare it, as in `days_until(x) < 7`",
    Type.MONEY: "compare it, as in `x > 0`",
}


class Reporter:
    """The problems of one expression, with its own words for found, expected and hint."""

    __slots__ = ("names", "problems", "text")

    def __init__(self, text: str, scope: Scope) -> None:
        self.text = text
        self.problems: list[Problem] = []
        self.names = Names(scope, self.problems)

    def problem(
        self, code: str, span: Span, message: str, found: str = "", expected: str = "", hint: str = "",
        severity: str = ERROR,
    ) -> None:  # fmt: skip
        self.problems.append(Problem(code, span, message, found, expected, hint, severity))

    def unsupported(self, tree: Tree, what: str, reason: str, hint: str = "") -> None:
        self.problem("not-yet-supported", tree.span, f"{what}: {reason}", self.shown(tree), "", hint)

    def shown(self, tree: Tree) -> str:
        """The text of a sub-expression, cut to fit a line."""
        text = self.text[tree.start : tree.end]
        return text if len(text) <= 60 else text[:57] + "..."

    def unit(self, node: Node) -> str | None:
        return unit_of(node, self.names.scope)

    def described(self, node: Node) -> str:
        """Type and unit in words."""
        unit = self.unit(node)
        return f"{node.type} in {unit}" if unit else str(node.type)

    def limit(self, node: Node) -> None:
        """Size and height of the whole tree, its facts counted once each."""
        known = self.names.scope.known
        size = measure(node, known)
        parts = size.parts + sum(known.summaries[fact].size.parts for fact in size.facts)
        hint = "split it, or make the facts it uses smaller"
        if parts > NODES_MAX:
            message = "the expression has too many parts, with those of its facts and macros"
            self.problem("too-many-nodes", node.span, message, f"{parts}", f"at most {NODES_MAX}", hint)
        elif size.levels > HEIGHT_MAX:
            message = "the expression is nested too deeply, with its facts"
            found = f"{size.levels} levels"
            self.problem("too-deep", node.span, message, found, f"at most {HEIGHT_MAX} levels", hint)

    def expect(self, tree: Tree, node: Node, expected: Type) -> Node | None:
        """`node` where it has the type wanted, adapted where it is a literal that can be."""
        if node.type is expected:
            return node
        node = listed_as(node, expected)
        if expected is Type.NUMBER and node.type is Type.INTEGER and is_integer_literal(tree):
            return self.adapted(tree)
        if node.type is expected:
            return node
        found, source = self.described(node), self.shown(tree)
        hint = ""
        if (expected, node.type) in ((Type.NUMBER, Type.INTEGER), (Type.NUMBER, Type.MONEY)):
            hint = f"write `double({source})`"
        elif (expected, node.type) == (Type.INTEGER, Type.NUMBER):
            hint = f"write `int({source})`, which cuts the fraction off"
        elif expected is Type.TEXT:
            hint = f"write `string({source})`" if node.type.element is None else f"write `x in {source}`"
        elif expected is Type.BOOL:
            hint = _BOOL_HINT.get(node.type, "")
        self.problem("wrong-type", tree.span, f"this is {node.type}, not {expected}", found, str(expected), hint)
        return None

    def adapted(self, tree: Tree) -> Node | None:
        """An integer literal read as a number."""
        assert isinstance(tree, Literal)
        assert isinstance(tree.value, int)
        value = float(tree.value)
        if int(value) != tree.value:
            source = self.shown(tree)
            message = f"{source} is no exact number: it would become {int(value)}"
            expected = "an integer that a double holds exactly"
            self.problem("inexact-literal", tree.span, message, source, expected, "integers are exact up to 2^53")
            return None
        return Const(Type.NUMBER, -0.0 if tree.minus and not value else value, tree.span)

    def amount(self, tree: Literal) -> Node | None:
        """A literal number beside money, read as an amount in its currency."""
        source = self.shown(tree)
        value = _exactly(source, tree.value).scaleb(9)
        if value == value.to_integral_value() and abs(value) <= MONEY_MAX:
            return Const(Type.MONEY, int(value), tree.span)
        finest = money_text(1, None)
        message = f"{source} is no amount of money"
        self.problem("inexact-literal", tree.span, message, source, f"an amount in steps of {finest}", "")
        return None

    def as_number(self, tree: Tree) -> str:
        """How an integer sub-expression is written as a number."""
        return f"{self.shown(tree)}.0" if is_integer_literal(tree) else f"double({self.shown(tree)})"

    def no_operator(self, tree: Binary, left: Node, right: Node) -> None:
        op, types = tree.op, {left.type, right.type}
        found = f"{self.described(left)} {op} {self.described(right)}"
        if types == MIXED and op != "%":
            side = tree.left if left.type is Type.INTEGER else tree.right
            hint = f"write `double({self.shown(side)})`"
            message = f"`{op}` does not mix integer and number"
            self.problem("mixed-numbers", tree.span, message, found, "two integers or two numbers", hint)
            return
        message = f"there is no `{op}` for {left.type} and {right.type}"
        expected = _FOR_OP.get(op, "two values of one type")
        self.problem("no-such-operator", tree.span, message, found, expected, self.operand_hint(tree, left, right))

    def operand_hint(self, tree: Binary, left: Node, right: Node) -> str:
        """How the operation may have been meant, "" where that cannot be told."""
        first, op = tree.left, tree.op
        if type(first) is Binary and first.op in COMPARISONS and left.type is Type.BOOL and op in COMPARISONS:
            return f"write `{self.shown(first)} && {self.shown(first.right)} {op} {self.shown(tree.right)}`"
        sides = ((tree.left, left, right.type), (tree.right, right, left.type))
        for side, node, other in sides:
            hint = self.literal_hint(side, node, other) or self.day_hint(side, other)
            if hint:
                return f"write `{hint}`"
        if op in ("==", "!="):
            for (side, node, other), (beside, *_) in (sides, sides[::-1]):
                if other is Type.BOOL and type(side) is Literal and str(side.value).lower() in _YES | _NO:
                    return f"write `{self.shown(beside)}` or `!{self.shown(beside)}`"
                if node.type.element is other:
                    return f"write `{self.shown(beside)} in {self.shown(side)}`"
        if op == "/" and Type.MONEY in (left.type, right.type):
            return f"write `ratio({self.shown(tree.left)}, {self.shown(tree.right)})`"
        if op == "-" and Type.DATE in (left.type, right.type):
            return "write days_since(x) or days_until(x): days between a date and now"
        for side, node, other in sides:
            if node.type is Type.TIME and other is Type.DATE and op in COMPARISONS:
                return f"write `date({self.shown(side)})`"
            if node.type is Type.MONEY and other is Type.NUMBER:
                return f"write `double({self.shown(side)})`"
            if node.type is Type.DURATION and other is Type.DATE:
                return "a date moves by days(n) or months(n)"
            if other is Type.TEXT and op == "+" and node.type.element is None:
                return f"write `string({self.shown(side)})`"
        return ""

    def day_hint(self, tree: Tree, other: Type) -> str:
        """How 2026-03-31 is written, which is a subtraction; "" for anything else."""
        source = self.shown(tree)
        return f'date("{source}")' if other is Type.DATE and _DAY.fullmatch(source) else ""

    def literal_hint(self, tree: Tree, node: Node, other: Type) -> str:
        """How the literal `tree` is written for an operand of type `other`; "" where that cannot be told."""
        if type(tree) is not Literal:
            return ""
        if tree.kind == "text":
            if other in READERS:
                sample = SAMPLES[other]
                return f"{sample.partition('(')[0]}({self.shown(tree)})" if _readable(tree.value, other) else sample
            if other in MIXED and str(tree.value).replace(".", "", 1).isdecimal():
                return str(tree.value)
        elif tree.kind == "int" and other in (Type.TIME, Type.DURATION, Type.DATE):
            return f"days({self.shown(tree)})"
        elif tree.kind in ("int", "double") and other is Type.TEXT:
            return f'"{self.shown(tree)}"'
        return ""


def is_integer_literal(tree: Tree) -> bool:
    return type(tree) is Literal and tree.kind == "int"


def is_number_literal(tree: Tree) -> bool:
    return type(tree) is Literal and tree.kind in ("int", "double")


def listed_as(node: Node, wanted: Type) -> Node:
    """An empty list as one of the type wanted; anything else as it is."""
    if isinstance(node, Const) and node.value == () and wanted.element is not None:
        return Const(wanted, (), node.span)
    return node


def _exactly(source: str, value: object) -> Decimal:
    """A literal as it is written, which a double may not hold exactly."""
    found = _DIGITS.search(source)
    if isinstance(value, float) and found is not None and float(found[0]) == abs(value):
        return Decimal(found[0]) if value >= 0 else -Decimal(found[0])
    return Decimal(repr(value))


def _readable(value: object, kind: Type) -> bool:
    try:
        READERS[kind](str(value))
    except ValueError:
        return False
    return True
