"""Functions, conversions, macros and has(): the part of the checker that reads calls."""

from __future__ import annotations

import re

from engine.compiler.ast import Call, Ident, Literal, Select, Tree
from engine.compiler.functions import pattern
from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.moments import in_range, named_zone
from engine.compiler.names import Scope
from engine.compiler.nodes import Const, Fact, Node, Op, Type, Var
from engine.compiler.overloads import (
    DAY_NS,
    EXTENSIONS,
    FUNCTIONS,
    MACRO_OPS,
    METHODS,
    NS,
    PERIODS,
    READERS,
    SAMPLES,
    UNSUPPORTED,
    Signature,
)
from engine.compiler.reporter import Reporter, is_integer_literal
from engine.compiler.source import did_you_mean
from engine.compiler.summary import is_literal, summarise

_DAY_FIRST = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})")
_BAD = {Type.TIME: "bad-time", Type.DURATION: "bad-duration", Type.DATE: "bad-date"}
_NAMES = (*FUNCTIONS, *METHODS, *MACRO_OPS, *PERIODS, "has", "dyn")
_EXPECTED = "a function of CEL, or one of " + ", ".join(EXTENSIONS)


def is_call(tree: Tree, name: str) -> bool:
    """Whether it is `name(..)`. dyn(x) is x, and lets an integer be compared with a number."""
    return type(tree) is Call and tree.function == name and tree.target is None


def _day_first(text: str) -> str:
    """A hint for a date such as 31.03.2026 or 31/3/2026."""
    found = _DAY_FIRST.fullmatch(text)
    if found is None or int(found[2]) > 12 >= int(found[1]):  # 3/31/2026: the month first
        return ""
    return f'write `date("{found[3]}-{int(found[2]):02}-{int(found[1]):02}")`'


class Calls(Reporter):
    """The checker without operators: `visit` is the whole one's."""

    __slots__ = ("macros", "repeats")

    def __init__(self, text: str, scope: Scope) -> None:
        super().__init__(text, scope)
        self.repeats = False  # there is a macro
        self.macros: list[tuple[str, Type, bool]] = []  # around this place: element's name and type, is the list known

    def visit(self, tree: Tree) -> Node | None:
        """The typed node, or None after a problem."""
        raise NotImplementedError

    def call(self, tree: Call) -> Node | None:
        name, target = tree.function, tree.target
        if type(target) is Ident and target.name == "strings" and f"strings.{name}" in FUNCTIONS:
            return self.function(tree, FUNCTIONS[f"strings.{name}"], tree.args)
        if name in MACRO_OPS and target is not None:
            return self.macro(tree, target)
        if target is not None and name in METHODS:
            return self.function(tree, METHODS[name], [target, *tree.args])
        if target is None and name in FUNCTIONS:
            return self.function(tree, FUNCTIONS[name], tree.args)
        if target is None and name == "has":
            return self.has(tree)
        if target is None and name == "dyn" and len(tree.args) == 1:
            return self.visit(tree.args[0])  # types stay static; see `is_call`
        if target is None and name in PERIODS:
            return self.days(tree) if name == "days" else self.lone_months(tree)
        if name in UNSUPPORTED:
            reason, hint = UNSUPPORTED[name]
            self.unsupported(tree, f"`{name}()`", reason, hint)
        else:
            self.unknown_function(tree, name)
        return None

    def unknown_function(self, tree: Call, name: str) -> None:
        """No such function; or a method written as a function, or the other way round."""
        if tree.target is not None and (name in FUNCTIONS or name in PERIODS):
            hint = f"write `{name}({self.shown(tree.target)})`"
        elif tree.target is None and tree.args and (name in METHODS or name in MACRO_OPS):
            rest = ", ".join(self.shown(arg) for arg in tree.args[1:])
            hint = f"write `{self.shown(tree.args[0])}.{name}({rest})`"
        elif tree.target is None and not tree.args and name in ("now", "today"):
            hint = "write `now`" if name == "now" else "write `date(now)`"
        else:
            hint = did_you_mean(name, _NAMES)
        self.problem("unknown-function", tree.span, f"no function is called '{name}'", f"{name}()", _EXPECTED, hint)
        if name not in MACRO_OPS:
            for arg in tree.args:
                self.visit(arg)

    # functions

    def function(self, tree: Call, signatures: tuple[Signature, ...], args: list[Tree]) -> Node | None:
        if not self.arity(tree, signatures, len(args)):
            return None
        nodes = [self.visit(arg) for arg in args]
        first = nodes[0]
        if first is None:
            return None
        signature = self.overload(tree, signatures, args[0], first)
        if signature is None or not self.arity(tree, (signature,), len(args)):
            return None
        wanted: list[Node] = []
        for arg, node, kind in zip(args, nodes, signature.args, strict=False):
            fitting = None if node is None else self.argument(arg, node, kind, tree.function)
            if fitting is not None:
                wanted.append(fitting)
        if len(wanted) < len(nodes):
            return None
        return self.applied(tree, signature, args, wanted)

    def arity(self, tree: Call, signatures: tuple[Signature, ...], count: int) -> bool:
        least, most = min(s.least for s in signatures), max(len(s.args) for s in signatures)
        if least <= count <= most:
            return True
        method = tree.target is not None and tree.function in METHODS
        kinds = [str(kind) for kind in signatures[0].args]
        sample = f"{tree.function}({', '.join(kinds)})"
        if method:
            sample = f"{kinds[0]}.{tree.function}({', '.join(kinds[1:])})"
        low, high = least - method, most - method
        takes = f"{low}" if low == high else f"{low} to {high}"
        message = f"`{tree.function}()` takes {takes} argument{'' if high == 1 else 's'}"
        self.problem("wrong-arguments", tree.span, message, f"{count - method}", f"`{sample}`")
        return False

    def overload(self, tree: Call, signatures: tuple[Signature, ...], arg: Tree, first: Node) -> Signature | None:
        """The signature for a first argument of this type."""
        for signature in signatures:
            if signature.args[0] is first.type:
                return signature
        if len({signature.args[0] for signature in signatures}) == 1 or first == Const(first.type, (), first.span):
            return signatures[0]  # `argument` says what is wrong, or adapts
        kinds = ", ".join(str(signature.args[0]) for signature in signatures if signature.op)
        message = f"`{tree.function}()` does not take {first.type}"
        self.problem("wrong-type", arg.span, message, self.described(first), kinds)
        return None

    def argument(self, tree: Tree, node: Node, kind: Type, function: str) -> Node | None:
        if function == "ratio" and node.type is Type.MONEY:
            return Op(Type.NUMBER, "to_number", (node,), node.span)
        return self.expect(tree, node, kind)

    def applied(self, tree: Call, signature: Signature, args: list[Tree], nodes: list[Node]) -> Node | None:
        """The operation, once what must be known before anything runs has been looked at."""
        op, first, last = signature.op, nodes[0], nodes[-1]
        if not op:
            return first
        if op in ("to_time", "to_duration", "to_date") and isinstance(first, Const) and first.type is not Type.TIME:
            return self.constant(tree, signature.result, args[0], first)
        if op == "matches" and not self.sound_pattern(args[1], last):
            return None
        if len(nodes) == 2 and first.type is Type.TIME and isinstance(last, Const) and not self.sound_zone(last):
            return None
        if op == "ratio" and not self.same_currency(tree, first, last):
            return None
        made = Op(signature.result, op, tuple(nodes), tree.span)
        if op == "to_text" and first.type is Type.MONEY and (unit := self.unit(first)):
            return Op(Type.TEXT, "concat", (made, Const(Type.TEXT, f" {unit}", tree.span)), tree.span)
        return made

    def constant(self, tree: Call, kind: Type, arg: Tree, node: Const) -> Node | None:
        """timestamp(), duration() and date() of a literal are values."""
        try:
            if isinstance(node.value, int):
                return Const(kind, in_range(kind, node.value * NS), tree.span)
            return Const(kind, READERS[kind](str(node.value)), tree.span)
        except ValueError as error:
            source = self.shown(arg)
            message, hint = (
                f"{source} cannot be read: {error}",
                _day_first(str(node.value)) if kind is Type.DATE else "",
            )
            self.problem(_BAD[kind], arg.span, message, source, f"`{SAMPLES[kind]}`", hint)
        return None

    def sound_pattern(self, tree: Tree, node: Node) -> bool:
        if not isinstance(node, Const):
            self.unsupported(tree, "a pattern that is no literal", "patterns are compiled before anything runs")
            return False
        try:
            pattern(str(node.value))
        except ValueError as error:
            source = self.shown(tree)
            message = f"the pattern cannot be read: {error}"
            self.problem("bad-pattern", tree.span, message, source, "a regular expression of RE2")
            return False
        return True

    def sound_zone(self, node: Const) -> bool:
        try:
            named_zone(str(node.value))
        except ValueError as error:
            expected = 'an IANA name such as "Europe/Berlin", or an offset such as "+05:30"'
            self.problem("unknown-zone", node.span, str(error), str(node.value), expected)
            return False
        return True

    def same_currency(self, tree: Tree, left: Node, right: Node) -> bool:
        """False after a problem where two amounts are of two currencies; `ratio` has them as numbers already."""
        sides = [arg.args[0] if isinstance(arg, Op) and arg.op == "to_number" else arg for arg in (left, right)]
        if any(side.type is not Type.MONEY for side in sides):
            return True
        units = [self.unit(side) for side in sides]
        if None in units or units[0] == units[1]:
            return True
        message = f"{units[0]} and {units[1]} do not mix"
        found = f"{self.described(sides[0])} and {self.described(sides[1])}"
        self.problem("currency-mismatch", tree.span, message, found, "two amounts of one currency")
        return False

    # periods

    def days(self, tree: Call) -> Node | None:
        count = self.period(tree)
        return None if count is None else Const(Type.DURATION, count * DAY_NS, tree.span)

    def lone_months(self, tree: Call) -> Node | None:
        if self.period(tree) is not None:
            message = "`months()` is a calendar period, not a value"
            expected = "a time or a date plus or minus months(n)"
            self.problem("wrong-type", tree.span, message, self.shown(tree), expected, "write `now - months(3)`")
        return None

    def period(self, tree: Call) -> int | None:
        """The literal integer of days(n) or months(n)."""
        name, sample = tree.function, f"{tree.function}(30)"
        most = PERIODS[name]
        if len(tree.args) != 1:
            message = f"`{name}()` takes 1 argument"
            self.problem("wrong-arguments", tree.span, message, f"{len(tree.args)}", f"`{sample}`")
            return None
        arg = tree.args[0]
        if not isinstance(arg, Literal) or not is_integer_literal(arg):
            if self.visit(arg) is not None:
                self.unsupported(tree, f"`{name}()`", "it takes a literal integer only", f"write `{sample}`")
            return None
        count = arg.value
        assert isinstance(count, int)
        if name == "days" and not INT_MIN <= count * DAY_NS <= INT_MAX:
            reason = "it is longer than about 292 years"
        elif abs(count) > most:
            reason = f"it is more than {most} months"
        else:
            return count
        source = self.shown(arg)
        self.problem("bad-duration", arg.span, f"{source} cannot be read: {reason}", source, f"`{sample}`")
        return None

    def moved(self, tree: Tree, op: str, left: Node | None, period: Call) -> Node | None:
        """A time or a date plus or minus months(n), or a date plus or minus days(n)."""
        count = self.period(period)
        if left is None or count is None:
            return None
        step = Const(Type.INTEGER, -count if op == "-" else count, period.span)
        return Op(left.type, f"add_{period.function}", (left, step), tree.span)

    # macros and has()

    def macro(self, tree: Call, target: Tree) -> Node | None:
        op = MACRO_OPS[tree.function]
        items = self.visit(target)
        if not self.macro_shape(tree, op):
            return None
        if items is None:
            return None
        if items.type.element is None:
            message = f"`{tree.function}()` runs over a list, and this is {items.type}"
            self.problem("wrong-type", target.span, message, self.described(items), "a list")
            return None
        self.repeats, known = True, is_literal(items)
        if not known and any(not outer for _, _, outer in self.macros):
            reason = "a list of unknown length inside another one cannot run in a kernel"
            self.unsupported(tree, "a nested macro", reason, "use a literal list for one of them")
            return None
        name = tree.args[0]
        assert isinstance(name, Ident)
        self.macros.append((name.name, items.type.element, known))
        bodies = [self.visit(arg) for arg in tree.args[1:]]
        self.macros.pop()
        return self.macro_result(tree, op, items, bodies)

    def macro_shape(self, tree: Call, op: str) -> bool:
        counts = (2, 3) if op == "map" else (2,)
        if len(tree.args) in counts and type(tree.args[0]) is Ident:
            return True
        sample = f"list.{tree.function}(x, {'f(x)' if op == 'map' else 'x > 0'})"
        message = f"`{tree.function}()` takes a name for the element and what is done with it"
        self.problem("bad-macro", tree.span, message, self.shown(tree), f"`{sample}`")
        return False

    def macro_result(self, tree: Call, op: str, items: Node, bodies: list[Node | None]) -> Node | None:
        result = {"filter": items.type, "map": None}.get(op, Type.BOOL)
        *conditions, value = bodies if op == "map" else [*bodies, items]
        good = [
            node is not None and self.expect(arg, node, Type.BOOL) is not None
            for arg, node in zip(tree.args[1:], conditions, strict=False)
        ]
        if value is None or not all(good):
            return None
        if result is None:
            if value.type.element is not None or value.type is Type.MONEY:
                self.unsupported(tree.args[-1], f"a list of {value.type}", "lists hold plain values")
                return None
            result = value.type.listed
        args = tuple(node for node in (items, *bodies) if node is not None)
        if not is_literal(items) and any(self.runs_lists(body) for body in args[1:]):
            reason = "a fact with a macro over a list, inside a macro over another, cannot run in a kernel"
            self.unsupported(tree, "a nested macro", reason)
            return None
        return Op(result, op, args, tree.span)

    def runs_lists(self, node: Node) -> bool:
        """Whether a fact in it runs a macro over a list of unknown length."""
        known = self.names.scope.known
        waiting = [node]
        while waiting:
            one = waiting.pop()
            if isinstance(one, Op):
                waiting += one.args
            elif isinstance(one, Fact) and summarise(one.path, one.node, known).lists:
                return True
        return False

    def has(self, tree: Call) -> Node | None:
        arg = tree.args[0] if tree.args else None
        if len(tree.args) != 1 or not isinstance(arg, Select):
            message = "has() takes the name of one input"
            expected = "`has(features.x)`, `has(event.x)` or `has(windows.x)`"
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

    def select(self, tree: Select, in_has: bool = False) -> Node | None:
        """`root.name`; None after a problem."""
        name, operand = tree.field, tree.operand
        while type(operand) is Select:
            name, operand = f"{operand.field}.{name}", operand.operand
        if type(operand) is Ident and self.element(operand) is None:
            return self.names.member(operand.name, name, tree.span, in_has)
        self.unsupported(tree, "fields of a value", "only the event, features, windows and facts have fields")
        return None

    def element(self, tree: Ident) -> Var | None:
        """The element of a macro around that has this name; the inner ones hide the outer ones."""
        for level in reversed(range(len(self.macros))):
            name, kind, _ = self.macros[level]
            if name == tree.name:
                return Var(kind, level, name, tree.span)
        return None
