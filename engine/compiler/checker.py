"""Static types of CEL: untyped tree and scope to a typed `Node`, or every problem at once.

A sub-expression with an error has no type and is silent upwards, so one mistake is told once.
Nothing is folded but the sign of a literal: errors stay where CEL has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from engine.compiler.lexer import INT_MAX, INT_MIN, Refused
from engine.compiler.names import HEIGHT_MAX, Scope
from engine.compiler.nodes import Const, Node, Op, Type
from engine.compiler.overloads import (
    ARITHMETIC,
    COMPARISONS,
    CONVERSIONS,
    DAY_NS,
    FUNCTION_NAMES,
    FUNCTIONS,
    LITERAL_FUNCTIONS,
    NEGATABLE,
    OVERLOADS,
    UNSUPPORTED,
    parse_duration,
    parse_timestamp,
)
from engine.compiler.parser import parse
from engine.compiler.reporter import MIXED, Reporter, is_integer_literal
from engine.compiler.source import Problem, did_you_mean

__all__ = ["Scope", "check"]


def check(
    text: str, scope: Scope, expected: Type | None, *, allow_integer_division: bool = False
) -> tuple[Node | None, list[Problem]]:
    """The typed tree of a CEL expression, or None and every problem, by place.

    `expected` is the type wanted (None: any); for NUMBER an integer literal will do.
    """
    try:
        tree, parts = parse(text)
    except Refused as refused:
        return None, [refused.problem]
    checker = _Checker(text, scope, allow_integer_division)
    node = checker.visit(tree)
    if node is not None and expected is not None:
        node = checker.expect(tree, node, expected)
    if node is not None and (parts > HEIGHT_MAX or checker.names.inlined):
        checker.limit(node)
    if checker.problems:
        return None, sorted(checker.problems, key=lambda p: (p.span.start, p.span.end))
    return node, []


class _Checker(Reporter):
    __slots__ = ("division",)

    def __init__(self, text: str, scope: Scope, division: bool) -> None:
        super().__init__(text, scope)
        self.division = division

    def visit(self, tree: Tree) -> Node | None:
        """The typed node, or None after a problem."""
        return _VISIT[type(tree)](self, tree)

    # leaves

    def literal(self, tree: Literal) -> Node | None:
        kind = _LITERAL.get(tree.kind)
        if kind is None:
            what = {"uint": "unsigned integers", "bytes": "bytes", "null": "null"}[tree.kind]
            hint = {"uint": "leave the `u` out", "null": "has(x) tells whether a value is there"}.get(tree.kind, "")
            self.unsupported(tree, what, "no feature or attribute has such a value", hint)
            return None
        return Const(kind, tree.value, tree.span)

    def ident(self, tree: Ident) -> Node | None:
        return self.names.bare(tree.name, tree.span)

    def select(self, tree: Select, in_has: bool = False) -> Node | None:
        operand = tree.operand
        if type(operand) is Ident:
            return self.names.member(operand.name, tree.field, tree.span, in_has)
        fields = [tree.field]
        while type(operand) is Select:
            fields.append(operand.field)
            operand = operand.operand
        if type(operand) is Ident:
            return self.names.member(operand.name, ".".join(reversed(fields)), tree.span, in_has)
        self.unsupported(tree, "fields of a value", "only the event, features, windows and facts have fields")
        return None

    def index(self, tree: Index) -> None:
        hint = ""
        if type(tree.operand) is Ident and type(tree.index) is Literal and isinstance(tree.index.value, str):
            hint = f"write `{tree.operand.name}.{tree.index.value}`"
        self.unsupported(tree, "an index", "there are no lists or maps of values", hint)

    def list_(self, tree: ListTree) -> None:
        self.unsupported(tree, "a list of values", "a list can only stand on the right of `in`")

    def map_(self, tree: MapTree) -> None:
        self.unsupported(tree, "a map", "there are no maps here", "use a decision table under `facts`")

    def message(self, tree: MessageTree) -> None:
        self.unsupported(tree, "a message", "there are no structured values here")

    # operators

    def chain(self, tree: Chain) -> Node | None:
        op = "and" if tree.op == "&&" else "or"
        args: list[Node] = []
        good = True
        for operand in tree.operands:
            node = self.visit(operand)
            if node is None or self.expect(operand, node, Type.BOOL) is None:
                good = False
            elif isinstance(node, Op) and node.op == op:
                args += node.args
            else:
                args.append(node)
        return Op(Type.BOOL, op, tuple(args), tree.span) if good else None

    def unary(self, tree: Unary) -> Node | None:
        node = self.visit(tree.operand)
        if node is None:
            return None
        if tree.op == "!":
            good = self.expect(tree.operand, node, Type.BOOL) is not None
            return Op(Type.BOOL, "not", (node,), tree.span) if good else None
        if node.type in NEGATABLE:
            return Op(node.type, "neg", (node,), tree.span)
        message = f"there is no `-` for {node.type}"
        expected = "an integer, a number or a duration"
        self.problem("no-such-operator", tree.span, message, self.described(node), expected)
        return None

    def ternary(self, tree: Ternary) -> Node | None:
        condition = self.visit(tree.condition)
        good = condition is not None and self.expect(tree.condition, condition, Type.BOOL) is not None
        then, otherwise = self.visit(tree.then), self.visit(tree.otherwise)
        if then is None or otherwise is None:
            return None
        if then.type is not otherwise.type:
            found = f"{self.described(then)} and {self.described(otherwise)}"
            hint = ""
            for side, node in ((tree.then, then), (tree.otherwise, otherwise)):
                if {then.type, otherwise.type} == MIXED and node.type is Type.INTEGER:
                    hint = f"write `{self.as_number(side)}`"
            message = "the two branches are not of one type"
            self.problem("wrong-type", tree.span, message, found, "two branches of one type", hint)
            return None
        return Op(then.type, "cond", (condition, then, otherwise), tree.span) if condition and good else None

    def binary(self, tree: Binary) -> Node | None:
        """A left-associative chain, walked without recursion: it may be 250 long."""
        spine = [tree]
        while type(spine[-1].left) is Binary:
            spine.append(spine[-1].left)
        left = self.visit(spine[-1].left)
        for part in reversed(spine):
            left = self.membership(part, left) if part.op == "in" else self.operation(part, left)
        return left

    def operation(self, tree: Binary, left: Node | None) -> Node | None:
        right = self.visit(tree.right)
        if left is None or right is None:
            return None
        op = tree.op
        if {left.type, right.type} == MIXED and op != "%":
            if left.type is Type.INTEGER and is_integer_literal(tree.left):
                left = self.adapted(tree.left)
            elif right.type is Type.INTEGER and is_integer_literal(tree.right):
                right = self.adapted(tree.right)
            if left is None or right is None:
                return None
        result = OVERLOADS.get((op, left.type, right.type))
        if result is None:
            self.no_operator(tree, left, right)
            return None
        if left.type is Type.TEXT and op not in ("==", "!="):
            self.unsupported(
                tree, f"`{op}` on texts", "the order of texts cannot run in a kernel yet", "use `==` or `in`"
            )
            return None
        if op == "/" and result is Type.INTEGER and not self.division:
            hint = f"write `ratio({self.as_number(tree.left)}, {self.as_number(tree.right)})`"
            message = "an integer divided by an integer loses its fraction"
            self.problem("integer-division", tree.span, message, "integer / integer", "numbers", hint)
            return None
        args = (right, left) if left.type is Type.DURATION and right.type is Type.TIME else (left, right)
        return Op(result, COMPARISONS.get(op) or ARITHMETIC[op], args, tree.span)

    def membership(self, tree: Binary, left: Node | None) -> Node | None:
        """`x in [constants]`."""
        items = tree.right
        if type(items) is not ListTree:
            if type(items) is MapTree:
                self.map_(items)
            elif (right := self.visit(items)) is not None:
                message = "the right of `in` is not a list"
                found = self.described(right)
                self.problem(
                    "no-such-operator",
                    items.span,
                    message,
                    found,
                    "a list of constants",
                    "write `x in [1, 2]`",
                )
            return None
        before = len(self.problems)
        constants: list[object] = []
        for item in items.items:
            node = self.visit(item)
            if node is None:
                continue
            if left is not None and left.type is Type.NUMBER and node.type is Type.INTEGER and is_integer_literal(item):
                node = self.adapted(item)
            if isinstance(node, Const) and (left is None or node.type is left.type):
                constants.append(node.value)
            elif isinstance(node, Const) and left is not None:
                hint = self.literal_hint(item, node, left.type)
                message = f"{node.type} in a list for {left.type}"
                hint = f"write `{hint}`" if hint else ""
                self.problem("wrong-type", item.span, message, str(node.type), self.described(left), hint)
            elif node is not None:
                what = "a list with an expression"
                self.unsupported(item, what, "the list must hold constants", "write `x == a || x == b`")
        if left is None or len(self.problems) > before:
            return None
        return Op(Type.BOOL, "in", (left, Const(Type.LIST, tuple(constants), items.span)), tree.span)

    # functions

    def call(self, tree: Call) -> Node | None:
        name = tree.function
        if name in UNSUPPORTED:
            reason, hint = UNSUPPORTED[name]
            self.unsupported(tree, f"`{name}()`", reason, hint)
        elif tree.target is not None:
            hint = f"write `{name}({self.shown(tree.target)})`" if name in FUNCTION_NAMES else ""
            self.unknown_function(tree, name, hint)
        elif name == "has":
            return self.has(tree)
        elif name in LITERAL_FUNCTIONS:
            return self.constant(tree)
        elif name in CONVERSIONS:
            return self.conversion(tree)
        elif name in FUNCTIONS:
            return self.function(tree)
        else:
            self.unknown_function(tree, name, did_you_mean(name, FUNCTION_NAMES))
            for arg in tree.args:
                self.visit(arg)
        return None

    def unknown_function(self, tree: Call, name: str, hint: str) -> None:
        message = f"no function is called '{name}'"
        expected = "one of " + ", ".join(FUNCTION_NAMES)
        self.problem("unknown-function", tree.span, message, f"{name}()", expected, hint)

    def arity(self, tree: Call, wanted: int, sample: str) -> bool:
        count = len(tree.args)
        if count == wanted:
            return True
        message = f"`{tree.function}()` takes {wanted} argument{'' if wanted == 1 else 's'}"
        self.problem("wrong-arguments", tree.span, message, f"{count}", f"`{sample}`")
        return False

    def function(self, tree: Call) -> Node | None:
        kinds, result = FUNCTIONS[tree.function]
        if not self.arity(tree, len(kinds), f"{tree.function}({', '.join(str(kind) for kind in kinds)})"):
            return None
        args: list[Node] = []
        for arg, kind in zip(tree.args, kinds, strict=True):
            node = self.visit(arg)
            wanted = None if node is None else self.expect(arg, node, kind)
            if wanted is not None:
                args.append(wanted)
        return Op(result, tree.function, tuple(args), tree.span) if len(args) == len(kinds) else None

    def conversion(self, tree: Call) -> Node | None:
        if not self.arity(tree, 1, f"{tree.function}(x)"):
            return None
        node = self.visit(tree.args[0])
        if node is None:
            return None
        result = CONVERSIONS[tree.function]
        if node.type not in MIXED:
            what = f"`{tree.function}()` of {node.type}"
            self.unsupported(tree, what, "it converts between integer and number only")
            return None
        if node.type is result:
            return node
        return Op(result, "to_number" if result is Type.NUMBER else "to_integer", (node,), tree.span)

    def constant(self, tree: Call) -> Node | None:
        """days(n), duration("..") and timestamp("..") of a literal."""
        name = tree.function
        sample = f"{name}({LITERAL_FUNCTIONS[name]})"
        if not self.arity(tree, 1, sample):
            return None
        arg = tree.args[0]
        wanted = "int" if name == "days" else "text"
        if type(arg) is not Literal or arg.kind != wanted:
            if self.visit(arg) is not None:
                what = "a literal integer" if name == "days" else "a literal text"
                self.unsupported(tree, f"`{name}()`", f"it takes {what} only", f"write `{sample}`")
            return None
        kind = Type.TIME if name == "timestamp" else Type.DURATION
        if isinstance(arg.value, int):
            value = arg.value * DAY_NS
            if INT_MIN <= value <= INT_MAX:
                return Const(kind, value, tree.span)
            reason = "it is longer than about 292 years"
        else:
            try:
                reader = parse_timestamp if name == "timestamp" else parse_duration
                return Const(kind, reader(str(arg.value)), tree.span)
            except ValueError as error:
                reason = str(error)
        source = self.shown(arg)
        self.problem(f"bad-{kind}", arg.span, f"{source} cannot be read: {reason}", source, f"`{sample}`")
        return None

    def has(self, tree: Call) -> Node | None:
        arg = tree.args[0] if tree.args else None
        if len(tree.args) != 1 or not isinstance(arg, Select):
            message, expected = (
                "has() takes the name of one input",
                "`has(features.x)`, `has(event.x)` or `has(windows.x)`",
            )
            self.problem("bad-has", tree.span, message, self.shown(tree), expected)
            return None
        root = arg.operand
        while isinstance(root, Select):
            root = root.operand
        if isinstance(root, Ident) and root.name == "facts":
            message = "has() of a fact has no meaning: a fact is computed, it is not an input"
            self.problem("bad-has", tree.span, message, self.shown(arg), "an input", "ask for what the fact reads")
            return None
        node = self.select(arg, in_has=True)
        return None if node is None else Op(Type.BOOL, "has", (node,), tree.span)


_LITERAL = {"int": Type.INTEGER, "double": Type.NUMBER, "text": Type.TEXT, "bool": Type.BOOL}
_VISIT: dict[type, Callable[[Any, Any], Node | None]] = {
    Literal: _Checker.literal,
    Ident: _Checker.ident,
    Select: _Checker.select,
    Index: _Checker.index,
    ListTree: _Checker.list_,
    MapTree: _Checker.map_,
    MessageTree: _Checker.message,
    Chain: _Checker.chain,
    Unary: _Checker.unary,
    Ternary: _Checker.ternary,
    Binary: _Checker.binary,
    Call: _Checker.call,
}
