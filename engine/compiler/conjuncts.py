"""`a && b && c` and `(a || b)` cut into what they join: the same conditions stand in many messages, and each is
checked once.

Only what is plainly one of these is cut. Whatever might be read in another way, and whatever counts for the
limits of the whole expression (facts, macros, long texts), is left to the checker as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Span, Type, Var

_TEXT_MAX, _PART_MAX = 2_000, 200  # characters: so no part is near a limit that the whole would be over
_STRINGS = r""" "(?!"")[^"\\\r\n]*" | '(?!'')[^'\\\r\n]*' """
_INSIDE = rf""" (?: [^"'()\[\]{{}}?`/\\]++ | {_STRINGS} )*+ """
_PART = re.compile(
    rf"""[ \t\n\f\r]* ( (?: [^&|"'()\[\]{{}}?`/\\]++ | {_STRINGS} | \({_INSIDE}\) | \[{_INSIDE}\] )++ )""",
    re.VERBOSE,
)
_OTHER = re.compile(r"facts|[!-]\s*[!-]|\.\s*(?:all|exists|exists_one|existsOne|filter|map)\s*\(")


def conjuncts(text: str) -> list[tuple[int, str]]:
    """Where each part of a conjunction begins, and its text; nothing where `text` is not plainly one."""
    if "&&" not in text or len(text) > _TEXT_MAX or _OTHER.search(text):
        return []
    parts: list[tuple[int, str]] = []
    place = 0
    while found := _PART.match(text, place):
        part = found[1].rstrip(" \t\n\f\r")
        parts.append((found.start(1), part))
        place = found.end()
        if place == len(text) and len(parts) > 1 and len(part) <= _PART_MAX:
            return parts
        if not text.startswith("&&", place) or len(part) > _PART_MAX:
            return []
        place += 2
    return []


def alternatives(text: str) -> list[tuple[int, str]]:
    """As `conjuncts`, of `(a || b)` in parentheses that enclose all of it."""
    if not text.startswith("(") or "||" not in text or len(text) > _PART_MAX or _OTHER.search(text):
        return []
    parts: list[tuple[int, str]] = []
    place, end = 1, len(text) - 1
    while found := _PART.match(text, place, end):
        parts.append((found.start(1), found[1].rstrip(" \t\n\f\r")))
        place = found.end()
        if place == end and len(parts) > 1 and text[end] == ")":
            return parts
        if not text.startswith("||", place):
            return []
        place += 2
    return []


class Joiner:
    """Puts checked parts together. The same part at the same place is one node, as half of them are."""

    def __init__(self) -> None:
        self._moved: dict[tuple[int, int], tuple[Node, tuple[Node, ...]]] = {}  # by identity: with what it keeps alive

    def joined(self, op: str, span: Span, starts: Iterable[int], nodes: Iterable[Node]) -> Node:
        """`op` (and, or) of parts that begin at `starts`, in the flat form that the checker makes."""
        args: list[Node] = []
        for start, node in zip(starts, nodes, strict=True):
            place = (id(node), start)
            known = self._moved.get(place)
            if known is None:
                flat = node.args if type(node) is Op and node.op == op else (node,)
                moved_args = tuple([moved(arg, start) for arg in flat]) if start else flat
                known = self._moved[place] = (node, moved_args)
            args += known[1]
        return Op(Type.BOOL, op, tuple(args), span)


def moved(node: Node, by: int) -> Node:
    """The tree of a text that stands `by` characters further on."""
    span = Span(node.span.start + by, node.span.end + by)
    if type(node) is Ref:
        return Ref(node.type, node.path, span)
    if type(node) is Op:
        return Op(node.type, node.op, tuple([moved(arg, by) for arg in node.args]), span)
    if type(node) is Const:
        return Const(node.type, node.value, span)
    if type(node) is Var:
        return Var(node.type, node.level, node.name, span)
    assert type(node) is Fact
    return Fact(node.type, node.path, node.node, span)
