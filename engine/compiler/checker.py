"""Static types of CEL: untyped tree and scope to a typed `Node`, or every problem at once.

A sub-expression with an error has no type and is silent upwards, so one mistake is told once.
Nothing is folded but the sign of a literal and lists of literals: errors stay where CEL has them.
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
from engine.compiler.calls import Calls, is_call
from engine.compiler.functions import LIST_MAX
from engine.compiler.lexer import Refused
from engine.compiler.names import HEIGHT_MAX, Scope
from engine.compiler.nodes import SCALARS, Const, Node, Op, Type
from engine.compiler.overloads import ARITHMETIC, COMPARISONS, NEGATABLE, OVERLOADS, SWAPPED
from engine.compiler.parser import parse
from engine.compiler.reporter import MIXED, is_integer_literal, is_number_literal, listed_as
from engine.compiler.source import ERROR, WARNING, Problem
from engine.compiler.units import has_unit

__all__ = ["Scope", "check"]


def check(
    text: str, scope: Scope, expected: Type | None, *, allow_integer_division: bool = False
) -> tuple[Node | None, list[Problem]]:
    """The typed tree of a CEL expression with its warnings, or None with errors among the problems; by place.

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
    if node is not None and (parts > HEIGHT_MAX or checker.names.uses_facts or checker.repeats):
        checker.limit(node)
    if not checker.problems:
        return node, []
    problems = sorted(checker.problems, key=lambda p: (p.span.start, p.span.end))
    wrong = any(p.severity == ERROR for p in problems)
    return None if wrong else node, problems


class _Checker(Calls):
    __slots__ = ("division",)

    def __init__(self, text: str, scope: Scope, division: bool) -> None:
        super().__init__(text, scope)
        self.division = division

    def visit(self, tree: Tree) -> Node | None:
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
        return self.element(tree) or self.names.bare(tree.name, tree.span)

    def index(self, tree: Index) -> Node | None:
        operand = tree.operand
        if type(operand) is Ident and self.element(operand) is None:
            name = tree.index.value if type(tree.index) is Literal else None
            hint = f"write `{operand.name}.{name}`" if isinstance(name, str) else ""
            self.unsupported(tree, "an index", "the names of inputs are written with a dot", hint)
            return None
        items, place = self.visit(operand), self.visit(tree.index)
        if items is None or place is None or self.expect(tree.index, place, Type.INTEGER) is None:
            return None
        if items.type.element is None:
            message = f"an index is for lists, and this is {items.type}"
            hint = "write `x.charAt(i)`" if items.type is Type.TEXT else ""
            self.problem("wrong-type", operand.span, message, self.described(items), "a list", hint)
            return None
        return Op(items.type.element, "index", (items, place), tree.span)

    def list_(self, tree: ListTree, element: Type | None = None, sought: bool = False) -> Node | None:
        """A list of scalars of one type. Literals in it adapt to `element`, the type that is looked for in it.

        `sought`: it stands after `in`, where constants are as many as an expression has room for.
        """
        before = len(self.problems)
        items: list[Node] = []
        for item in tree.items:
            node = self.visit(item)
            if node is not None:
                items += self.item(item, node, element or (items[0].type if items else node.type))
        wrong = any(p.severity == ERROR for p in self.problems[before:])
        if wrong or len(items) < len(tree.items):
            return None
        kind = element or (items[0].type if items else Type.INTEGER)
        if kind is Type.MONEY:
            self.unsupported(tree, "a list of money", "lists hold plain values", "compare one by one")
            return None
        constant = all(isinstance(item, Const) for item in items)
        if len(items) > LIST_MAX and not (sought and constant):
            expected = f"at most {LIST_MAX} elements; more only where they are constants right after `in`"
            self.problem("too-many-nodes", tree.span, "the list is too long", f"{len(items)} elements", expected)
            return None
        if constant:
            return Const(kind.listed, tuple(item.value for item in items if isinstance(item, Const)), tree.span)
        return Op(kind.listed, "list", tuple(items), tree.span)

    def item(self, tree: Tree, node: Node, wanted: Type) -> list[Node]:
        """The node as an element of a list of `wanted`; nothing after a problem."""
        if node.type.element is not None:
            self.unsupported(tree, "a list of lists", "lists hold plain values")
            return []
        if wanted is Type.NUMBER and is_integer_literal(tree):
            adapted = self.adapted(tree)
            return [] if adapted is None else [adapted]
        if node.type is wanted:
            return [node]
        hint = self.literal_hint(tree, node, wanted)
        message = f"{node.type} in a list for {wanted}"
        self.problem("wrong-type", tree.span, message, str(node.type), str(wanted), f"write `{hint}`" if hint else "")
        return []

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
            if node is None or (node.type is not Type.BOOL and self.expect(operand, node, Type.BOOL) is None):
                good = False
            elif type(node) is Op and node.op == op:
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
        expected = "an integer, a number, a duration or money"
        self.problem("no-such-operator", tree.span, message, self.described(node), expected)
        return None

    def ternary(self, tree: Ternary) -> Node | None:
        condition = self.visit(tree.condition)
        good = condition is not None and self.expect(tree.condition, condition, Type.BOOL) is not None
        then, otherwise = self.visit(tree.then), self.visit(tree.otherwise)
        if then is None or otherwise is None:
            return None
        then, otherwise = listed_as(then, otherwise.type), listed_as(otherwise, then.type)
        if then.type is not otherwise.type:
            found = f"{self.described(then)} and {self.described(otherwise)}"
            hint = ""
            for side, node in ((tree.then, then), (tree.otherwise, otherwise)):
                if {then.type, otherwise.type} == MIXED and node.type is Type.INTEGER:
                    hint = f"write `{self.as_number(side)}`"
            message = "the two branches are not of one type"
            self.problem("wrong-type", tree.span, message, found, "two branches of one type", hint)
            return None
        if condition is None or not good or not self.same_unit(tree, ":", then, otherwise):
            return None
        return Op(then.type, "cond", (condition, then, otherwise), tree.span)

    def binary(self, tree: Binary) -> Node | None:
        """A left-associative chain, walked without recursion: it may be 250 long."""
        if type(tree.left) is not Binary and tree.op in COMPARISONS:
            return self.operation(tree, self.visit(tree.left))
        spine = [tree]
        while type(spine[-1].left) is Binary:
            spine.append(spine[-1].left)
        first = spine[-1]
        months_first = first.op == "+" and is_call(first.left, "months")  # then `operation` reads it
        left = None if months_first else self.visit(first.left)
        for part in reversed(spine):
            left = self.membership(part, left) if part.op == "in" else self.operation(part, left)
        return left

    def operation(self, tree: Binary, left: Node | None) -> Node | None:
        op, first, second = tree.op, tree.left, tree.right
        if op == "+" and is_call(first, "months"):
            assert isinstance(first, Call)
            return self.calendar(tree, self.visit(second), first)
        if op in "+-" and type(second) is Call:
            on_date = left is not None and left.type is Type.DATE
            if is_call(second, "months") or (on_date and is_call(second, "days")):
                return self.calendar(tree, left, second)
        right = self.visit(second)
        if left is None or right is None:
            return None
        if left.type is not right.type:
            adapted = self.beside(tree, left, right)
            if adapted is None:
                return None
            left, right = adapted
        result = OVERLOADS.get((op, left.type, right.type))
        if result is None:
            self.no_operator(tree, left, right)
            return None
        if op == "/" and result is Type.INTEGER and not self.division:
            hint = f"write `ratio({self.as_number(first)}, {self.as_number(second)})`"
            message = "an integer divided by an integer loses its fraction"
            self.problem("integer-division", tree.span, message, "integer / integer", "numbers", hint)
            return None
        if op not in "*/%" and has_unit(left.type) and not self.same_unit(tree, op, left, right):
            return None
        name = COMPARISONS.get(op) or ARITHMETIC[op]
        if op == "+" and (result is Type.TEXT or result.element is not None):
            name = "concat"
        if left.type is not right.type and (op, left.type, right.type) in SWAPPED:
            left, right = right, left
        return Op(result, name, (left, right), tree.span)

    def calendar(self, tree: Binary, moment: Node | None, period: Call) -> Node | None:
        if moment is not None and moment.type not in (Type.TIME, Type.DATE):
            message = f"there is no `{tree.op}` for {moment.type} and a calendar period"
            self.problem("no-such-operator", tree.span, message, self.described(moment), "a time or a date")
            moment = None
        return self.moved(tree, tree.op, moment, period)

    def beside(self, tree: Binary, left: Node, right: Node) -> tuple[Node, Node] | None:
        """Operands of two types, literals adapted to what stands beside them; None after a problem."""
        types = {left.type, right.type}
        adapted_left: Node | None = listed_as(left, right.type)
        adapted_right: Node | None = listed_as(right, left.type)
        if types == MIXED and tree.op != "%":
            if left.type is Type.INTEGER and is_integer_literal(tree.left):
                adapted_left = self.adapted(tree.left)
            elif right.type is Type.INTEGER and is_integer_literal(tree.right):
                adapted_right = self.adapted(tree.right)
            elif tree.op in COMPARISONS and (is_call(tree.left, "dyn") or is_call(tree.right, "dyn")):
                adapted_left, adapted_right = _as_number(left), _as_number(right)
        elif Type.MONEY in types and types & MIXED and tree.op not in "*/%":
            if isinstance(tree.left, Literal) and is_number_literal(tree.left):
                adapted_left = self.amount(tree.left)
            elif isinstance(tree.right, Literal) and is_number_literal(tree.right):
                adapted_right = self.amount(tree.right)
        return None if adapted_left is None or adapted_right is None else (adapted_left, adapted_right)

    def same_unit(self, tree: Tree, op: str, left: Node, right: Node) -> bool:
        """False after an error; amounts of two currencies are one, numbers of two units a warning."""
        if type(left) is Const or type(right) is Const:
            return True
        if left.type is Type.MONEY:
            return self.same_currency(tree, left, right)
        units = self.unit(left), self.unit(right)
        if None not in units and units[0] != units[1]:
            message = f"`{op}` takes {units[0]} and {units[1]} for the same"
            found = f"{self.described(left)} {op} {self.described(right)}"
            hint = "convert one of them, or mend its `unit:` in the schema"
            self.problem("unit-mismatch", tree.span, message, found, "two numbers of one unit", hint, WARNING)
        return True

    def membership(self, tree: Binary, left: Node | None) -> Node | None:
        """`x in list`."""
        items = tree.right
        if type(items) is MapTree:
            self.map_(items)
            return None
        if type(items) is ListTree:
            if left is not None and left.type is Type.MONEY:
                return self.among_amounts(tree, left, items)
            if left is not None and is_call(tree.left, "dyn") and _holds_numbers(items):
                left = _as_number(left)
            element = None if left is None or left.type.element is not None else left.type
            right = self.list_(items, element, sought=True)
        else:
            right = self.visit(items)
        if left is None or right is None:
            return None
        if right.type.element is None:
            message = "the right of `in` is not a list"
            found, hint = self.described(right), "write `x in [1, 2]`"
            if left.type.element is right.type:
                hint = f"write `{self.shown(items)} in {self.shown(tree.left)}`"
            elif left.type is right.type:
                hint = f"write `{self.shown(tree.left)} == {self.shown(items)}`, or `in [..]`"
            self.problem("no-such-operator", items.span, message, found, "a list", hint)
            return None
        if left.type in SCALARS and left.type is not Type.MONEY:
            right = listed_as(right, left.type.listed)
        if right.type.element is not left.type:
            message = f"{left.type} is looked for in a list of {right.type.element}"
            self.problem("no-such-operator", tree.span, message, self.described(left), str(right.type.element))
            return None
        self.same_unit(tree, "in", left, right)
        return Op(Type.BOOL, "in", (left, right), tree.span)

    def among_amounts(self, tree: Binary, left: Node, items: ListTree) -> Node | None:
        """Money has no lists: `x in [10, 20]` is a chain of comparisons."""
        equal: list[Node] = []
        for item in items.items:
            node = self.visit(item)
            if node is not None and isinstance(item, Literal) and is_number_literal(item):
                node = self.amount(item)
            if node is not None and node.type is not Type.MONEY:
                message = f"{node.type} in a list for money"
                self.problem("wrong-type", item.span, message, str(node.type), self.described(left))
            elif node is not None and self.same_currency(item, left, node):
                equal.append(Op(Type.BOOL, "eq", (left, node), item.span))
        if not equal or len(equal) < len(items.items):
            if not items.items:
                self.unsupported(tree, "money in an empty list", "it never holds")
            return None
        return equal[0] if len(equal) == 1 else Op(Type.BOOL, "or", tuple(equal), tree.span)


def _as_number(node: Node) -> Node:
    return Op(Type.NUMBER, "to_number", (node,), node.span) if node.type is Type.INTEGER else node


def _holds_numbers(items: ListTree) -> bool:
    return any(type(item) is Literal and item.kind == "double" for item in items.items)


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
