"""Functions that no kernel does, put together from the operations of an expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.compiler.functions import function, zone_offset_s
from engine.compiler.nodes import Op
from engine.zones import ZONES


def same(value: object) -> object:
    """A leaf itself."""
    return value


def constantly(value: object) -> Callable[..., object]:
    """This value, of no leaves."""
    return lambda: value


def composition(
    outer: Callable[..., object], inner: Sequence[Callable[..., object]], places: Sequence[tuple[int, ...]]
) -> Callable[..., object]:
    """`outer` of what each of `inner` makes of the leaves at its places."""
    if all(apply is same for apply in inner) and [place for (place,) in places] == list(range(len(places))):
        return outer
    pairs = list(zip(inner, places, strict=True))
    return lambda *leaves: outer(*(apply(*(leaves[place] for place in own)) for apply, own in pairs))


def python_of(node: Op) -> Callable[..., object]:
    """The function of an operation that no kernel does."""
    if node.op == "zone":
        return _zone_number
    if node.op == "listed":
        return lambda *items: items
    if node.op == "collected":
        return lambda *parts: tuple(value for taken, value in zip(parts[::2], parts[1::2], strict=True) if taken)
    if node.op == "in":
        return lambda value, items: any(value == item for item in items)
    if node.op in ("eq", "ne"):
        return _equal if node.op == "eq" else lambda a, b: not _equal(a, b)
    return function(node.op, tuple(arg.type for arg in node.args))


def _zone_number(text: str) -> int:
    """The number of the zone of an IANA name or a fixed offset."""
    offset_s = zone_offset_s(text)
    number = ZONES.id(text) if offset_s is None else ZONES.offset_id(offset_s)
    if number < 0:
        raise ValueError(f"there is no time zone '{text}'")
    return number


def _equal(a: Any, b: Any) -> bool:
    """Lists of numbers; tuples of the same NaN are equal in Python."""
    return len(a) == len(b) and all(x == y for x, y in zip(a, b, strict=True))
