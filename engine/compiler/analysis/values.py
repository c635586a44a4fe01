"""Sets of values of one type, exact: what a term may be where a condition holds.

Every scalar type is ordered, and each value but the last has a next one that is known (`after`). So a
set is a row of cuts: a value belongs to it if the number of cuts up to the value is odd, or even where
`first` says that the values before all cuts belong to it. NaN stands outside the order, by itself.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from engine.compiler.nodes import Type

INT_END = 2**63  # integers and durations: behind the largest
_FIRST: dict[Type, Any] = {
    Type.BOOL: 0,
    Type.INTEGER: -INT_END,
    Type.NUMBER: -math.inf,
    Type.TEXT: "",
    Type.DURATION: -INT_END,
}
_END: dict[Type, Any] = {Type.BOOL: 2, Type.INTEGER: INT_END, Type.DURATION: INT_END}


class Values(NamedTuple):
    """A set. `cuts` is sorted and without repeats."""

    first: bool
    cuts: tuple[Any, ...]
    nan: bool

    @property
    def empty(self) -> bool:
        """Exact for sets within a type's `everything`."""
        return not (self.first or self.cuts or self.nan)

    def has(self, value: Any) -> bool:
        if value != value:
            return self.nan
        return self.first ^ bool(bisect_right(self.cuts, value) & 1)

    def outside(self) -> Values:
        """All that is not in this set, of any type: to be met with `everything`."""
        return Values(not self.first, self.cuts, not self.nan)

    def meet(self, other: Values) -> Values:
        """What is in both."""
        if self is other:
            return self
        if not self.cuts and self.first:
            return Values(other.first, other.cuts, self.nan and other.nan)
        if not other.cuts and other.first:
            return Values(self.first, self.cuts, self.nan and other.nan)
        if not self.first and not other.first and 0 < len(self.cuts) < 3 and 0 < len(other.cuts) < 3:
            return Values(False, _overlap(self.cuts, other.cuts), self.nan and other.nan)
        mine, theirs = set(self.cuts), set(other.cuts)
        a, b = self.first, other.first
        first = inside = a and b
        cuts = []
        for cut in sorted(mine | theirs):
            a ^= cut in mine
            b ^= cut in theirs
            if (a and b) != inside:
                inside = not inside
                cuts.append(cut)
        return Values(first, tuple(cuts), self.nan and other.nan)

    def join(self, other: Values) -> Values:
        """What is in one of them."""
        return self.outside().meet(other.outside()).outside()

    def within(self, other: Values) -> bool:
        """Whether every value of this set is in the other (both within `everything`)."""
        return self.meet(other.outside()).empty


def _overlap(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    """The cuts of what two intervals share; one cut: open upwards. Most sets are such."""
    low = a[0] if a[0] >= b[0] else b[0]
    ends = a[1:] + b[1:]
    if not ends:
        return (low,)
    high = min(ends)
    return (low, high) if low < high else ()


NOTHING = Values(False, (), False)
ANYTHING = Values(True, (), True)


def everything(kind: Type) -> Values:
    """All values of a type; of lists, and of times, dates and money, more than there are."""
    if kind not in _FIRST:
        return Values(True, (), False)
    first, end = _FIRST[kind], _END.get(kind)
    return Values(False, (first,) if end is None else (first, end), kind is Type.NUMBER)


def after(kind: Type, value: Any) -> Any:
    """The next larger value, None behind infinity."""
    if kind is Type.TEXT:
        return value + "\0"
    if kind is Type.NUMBER:
        return None if value == math.inf else math.nextafter(value, math.inf)
    return int(value) + 1


def compared(kind: Type, op: str, value: Any) -> Values:
    """The values x of a scalar type for which `x op value` is true; op is eq, ne, lt, le, gt or ge."""
    if value != value:
        return ANYTHING if op == "ne" else NOTHING
    if op in ("lt", "ge"):
        return Values(op == "lt", (value,), False)
    behind = after(kind, value)
    if op in ("le", "gt"):
        return Values(op == "le", () if behind is None else (behind,), False)
    equal = Values(False, (value,) if behind is None else (value, behind), False)
    return equal if op == "eq" else equal.outside()


def among(kind: Type, values: Iterable[Any]) -> Values:
    """The values x of a scalar type that equal one of `values`."""
    cuts: list[Any] = []
    for value in sorted({v for v in values if v == v}):
        if cuts and cuts[-1] == value:
            cuts.pop()
        else:
            cuts.append(value)
        behind = after(kind, value)
        if behind is not None:
            cuts.append(behind)
    return Values(False, tuple(cuts), False)


def between(low: int, high: int) -> Values:
    """Whole numbers from `low` to `high`."""
    return Values(False, (low, high + 1), False)
