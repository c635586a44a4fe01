"""Comparisons with constants, and what the functions of the language can give."""

from __future__ import annotations

from engine.compiler.analysis.values import INT_END, Values, among, between, compared, everything
from engine.compiler.nodes import Const, Node, Op, Type

FLIPPED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_RANGES = {
    "size": between(0, INT_END - 1),
    "month": between(0, 11),
    "date": between(1, 31),
    "day_of_month": between(0, 30),
    "day_of_week": between(0, 6),
    "day_of_year": between(0, 365),
}
_CLOCK = {"hours": 23, "minutes": 59, "seconds": 59, "milliseconds": 999}  # of a time, not of a duration


def split(node: Op) -> tuple[Node, Values] | None:
    """A comparison of a term with constants: the term, and the values for which it is true."""
    left, right = node.args
    if node.op == "in":
        if isinstance(right, Const) and isinstance(right.value, tuple) and left.type.element is None:
            return left, among(left.type, right.value)
        return None
    if left.type.element is not None:
        return None
    if isinstance(right, Const):
        return left, compared(left.type, node.op, right.value)
    if isinstance(left, Const):
        return right, compared(right.type, FLIPPED[node.op], left.value)
    return None


def computable(term: Node) -> Values:
    """All values that an expression other than an input may have."""
    if isinstance(term, Op):
        if term.op in _RANGES:
            return _RANGES[term.op]
        if term.op in _CLOCK and term.args[0].type is Type.TIME:
            return between(0, _CLOCK[term.op])
    return everything(term.type)


def divides_by_zero(node: Op) -> bool:
    """Numbers may be divided by zero: that is infinite, and no error."""
    if node.op not in ("div", "mod", "ratio") or (node.op == "div" and node.type is Type.NUMBER):
        return False
    divisor = node.args[1]
    return isinstance(divisor, Const) and divisor.value == 0
