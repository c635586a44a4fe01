"""`a && b && c` cut into what it joins: the same conditions stand in many messages, and each is checked once.

Only what is plainly a conjunction is cut. Whatever might be read in another way, and whatever counts for the
limits of the whole expression (facts, macros, long texts), is left to the checker as it stands.
"""

from __future__ import annotations

import re

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


def joined(parts: list[tuple[int, str]], nodes: list[Node]) -> Node:
    """The conjunction of checked parts, in the flat form that the checker makes."""
    args: list[Node] = []
    for (start, _), node in zip(parts, nodes, strict=True):
        flat = node.args if isinstance(node, Op) and node.op == "and" else (node,)
        args += [moved(arg, start) for arg in flat]
    last, text = parts[-1]
    return Op(Type.BOOL, "and", tuple(args), Span(parts[0][0], last + len(text)))


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
