"""What the checker says: problems with the text, type and unit of what was found, and a way to mend it."""

from __future__ import annotations

from collections.abc import Callable

from engine.compiler.ast import Binary, Literal, Tree
from engine.compiler.names import HEIGHT_MAX, Names, Scope, measure
from engine.compiler.nodes import Const, Node, Ref, Span, Type
from engine.compiler.overloads import COMPARISONS, LITERAL_FUNCTIONS, parse_duration, parse_timestamp
from engine.compiler.parser import NODES_MAX
from engine.compiler.source import Problem

MIXED = {Type.INTEGER, Type.NUMBER}
_FOR_OP = {
    "+": "two integers, numbers or durations, or a time and a duration",
    "-": "two integers, numbers, durations or times, or a time and a duration",
    "*": "two integers or two numbers",
    "/": "two numbers",
    "%": "two integers",
}
_BOOL_HINT = {
    Type.INTEGER: "compare it, as in `x > 0`",
    Type.NUMBER: "compare it, as in `x > 0`",
    Type.TEXT: 'compare it, as in `x == "a"`',
    Type.TIME: "compare it, as in `x < now`",
    Type.DURATION: "compare it, as in `x > days(30)`",
}


class Reporter:
    """The problems of one expression, with its own words for found, expected and hint."""

    __slots__ = ("names", "problems", "text")

    def __init__(self, text: str, scope: Scope) -> None:
        self.text = text
        self.problems: list[Problem] = []
        self.names = Names(scope, self.problems)

    def problem(self, code: str, span: Span, message: str, found: str = "", expected: str = "", hint: str = "") -> None:
        self.problems.append(Problem(code, span, message, found, expected, hint))

    def unsupported(self, tree: Tree, what: str, reason: str, hint: str = "") -> None:
        expected = "what runs in a kernel"
        self.problem("not-yet-supported", tree.span, f"{what}: {reason}", self.shown(tree), expected, hint)

    def shown(self, tree: Tree) -> str:
        """The text of a sub-expression, cut to fit a line."""
        text = self.text[tree.start : tree.end]
        return text if len(text) <= 60 else text[:57] + "..."

    def described(self, node: Node) -> str:
        """Type and unit in words."""
        unit = None
        if isinstance(node, Ref):
            root, _, name = node.path.partition(".")
            if root == "features" and name in self.names.scope.features:
                unit = self.names.scope.features[name].unit
            elif root == "event":
                events = self.names.scope.events.values()
                units = {event.attributes[name].unit for event in events if name in event.attributes}
                unit = units.pop() if len(units) == 1 else None
        return f"{node.type} in {unit}" if unit else str(node.type)

    def limit(self, node: Node) -> None:
        """Size and height of the whole tree, facts inlined."""
        count, height = measure(node)
        hint = "split it, or make the facts it uses smaller"
        if max(count, self.names.inlined) > NODES_MAX:
            message = "the expression has too many parts, with its facts written out"
            self.problem("too-many-nodes", node.span, message, "more than that", f"at most {NODES_MAX}", hint)
        elif height > HEIGHT_MAX:
            message = "the expression is nested too deeply, with its facts written out"
            self.problem("too-deep", node.span, message, f"{height} levels", f"at most {HEIGHT_MAX} levels", hint)

    def expect(self, tree: Tree, node: Node, expected: Type) -> Node | None:
        """`node` where it has the type wanted, adapted where it is an integer literal for a number."""
        if expected is Type.NUMBER and node.type is Type.INTEGER and is_integer_literal(tree):
            return self.adapted(tree)
        if node.type is expected:
            return node
        found, source = self.described(node), self.shown(tree)
        hint = ""
        if (expected, node.type) == (Type.NUMBER, Type.INTEGER):
            hint = f"write `double({source})`"
        elif (expected, node.type) == (Type.INTEGER, Type.NUMBER):
            hint = f"write `int({source})`, which cuts the fraction off"
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

    def as_number(self, tree: Tree) -> str:
        """How an integer sub-expression is written as a number."""
        return f"{self.shown(tree)}.0" if is_integer_literal(tree) else f"double({self.shown(tree)})"

    def no_operator(self, tree: Binary, left: Node, right: Node) -> None:
        op, types = tree.op, {left.type, right.type}
        if op == "+" and types == {Type.TEXT}:
            self.unsupported(
                tree,
                "`+` on texts",
                "texts cannot be joined in a kernel yet",
                "join them in a message's text",
            )
            return
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
        first = tree.left
        if type(first) is Binary and first.op in COMPARISONS and left.type is Type.BOOL and tree.op in COMPARISONS:
            return f"write `{self.shown(first)} && {self.shown(first.right)} {tree.op} {self.shown(tree.right)}`"
        for side, node, other in ((tree.left, left, right.type), (tree.right, right, left.type)):
            hint = self.literal_hint(side, node, other)
            if hint:
                return f"write `{hint}`"
        return ""

    def literal_hint(self, tree: Tree, node: Node, other: Type) -> str:
        """How the literal `tree` is written for an operand of type `other`; "" where that cannot be told."""
        if type(tree) is not Literal:
            return ""
        if tree.kind == "text":
            if other in (Type.TIME, Type.DURATION):
                function = "timestamp" if other is Type.TIME else "duration"
                reader = parse_timestamp if other is Type.TIME else parse_duration
                readable = _readable(reader, tree.value)
                return f"{function}({self.shown(tree) if readable else LITERAL_FUNCTIONS[function]})"
            if other in MIXED and str(tree.value).replace(".", "", 1).isdecimal():
                return str(tree.value)
        elif tree.kind == "int" and other in (Type.TIME, Type.DURATION):
            return f"days({self.shown(tree)})"
        elif tree.kind in ("int", "double") and other is Type.TEXT:
            return f'"{self.shown(tree)}"'
        return ""


def is_integer_literal(tree: Tree) -> bool:
    return type(tree) is Literal and tree.kind == "int"


def _readable(reader: Callable[[str], int], value: object) -> bool:
    try:
        reader(str(value))
    except ValueError:
        return False
    return True
