"""Units of numbers and currencies of money, read off a checked tree: what may stand beside what."""

from __future__ import annotations

from engine.compiler.names import Scope
from engine.compiler.nodes import Const, Fact, Node, Ref, Type, Var

_KEPT = frozenset(("add", "sub", "mod", "neg", "to_number", "to_integer"))
_SAME = frozenset(("index", "filter", "reverse", "concat"))  # elements of the first argument


def unit_of(node: Node, scope: Scope) -> str | None:
    """The unit of a value; None where it has none, as literals have, or where it cannot be told.

    Sums keep it. A product or a quotient has one where only one operand has, so that EUR times 12 is EUR
    and EUR by EUR is a plain number.
    """
    if isinstance(node, Const | Var):
        return None
    if isinstance(node, Ref):
        return _of_input(node.path, scope)
    if isinstance(node, Fact):
        units = scope.known.units
        if id(node.node) not in units:
            units[id(node.node)] = unit_of(node.node, scope)
        return units[id(node.node)]
    args = node.args
    if node.op in _KEPT:
        return unit_of(args[0], scope) or (unit_of(args[1], scope) if len(args) == 2 else None)
    if node.op in ("mul", "div", "ratio"):
        left, right = unit_of(args[0], scope), unit_of(args[1], scope)
        return left if right is None else right if left is None and node.op == "mul" else None
    if node.op in _SAME:
        return unit_of(args[0], scope)
    if node.op in ("cond", "switch", "list"):
        parts = args if node.op == "list" else (*args[1::2], args[-1])
        found = {unit_of(arg, scope) for arg in parts if not isinstance(arg, Const)}
        return found.pop() if len(found) == 1 else None
    return None


def _of_input(path: str, scope: Scope) -> str | None:
    root, _, name = path.partition(".")
    if root == "features" and name in scope.features:
        return scope.features[name].unit
    if root != "event":
        return scope.units.get(path)
    types = tuple(scope.events) if scope.on is None else scope.on
    declared = [scope.events[event].attributes.get(name) for event in types if event in scope.events]
    units = {None if attribute is None else attribute.unit for attribute in declared}
    return units.pop() if len(units) == 1 else None


def has_unit(kind: Type) -> bool:
    """Whether values of the type may have a unit."""
    return kind in (Type.INTEGER, Type.NUMBER, Type.MONEY)
