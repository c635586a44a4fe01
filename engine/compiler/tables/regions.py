"""What a column's tests can tell apart: the cells between the constants that they mention.

A region is a whole number whose bit p stands for the position p. With the constants sorted, constant i is
at position 2i + 1, the values between the constants i - 1 and i at position 2i, an input without a value
behind them all. Texts have no order: position 0 is every text that is not mentioned. So regions are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.compiler.nodes import Type
from engine.compiler.tables.literals import MONEY_UNIT, ORDERED, shown
from engine.compiler.tables.unary import ANY, Interval, Missing, Not, Part, Test, at_missing

_STEP = {Type.DURATION: 3600 * 10**9, Type.TIME: 3600 * 10**9, Type.MONEY: MONEY_UNIT, Type.NUMBER: 1.0}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of an input's values: (limit, whether the limit itself is possible), None for no limit."""

    low: tuple[Any, bool] | None = None
    high: tuple[Any, bool] | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """The positions of one input; `possible` is the region of those that can occur, missing left out."""

    kind: Type
    constants: tuple[Any, ...]
    possible: int

    @property
    def missing(self) -> int:
        """The region of the input without a value."""
        return 1 << (2 * len(self.constants) + 1)

    def region(self, test: Test) -> int:
        """Where a test is true, missing left out."""
        if test == ANY:
            return self.possible
        region = 0
        for part in test:
            region |= self._part(part)
        return region & self.possible

    def _part(self, part: Part) -> int:
        if isinstance(part, Missing):
            return 0
        if isinstance(part, Not):
            return self.possible & ~self.region(part.parts)
        start = 0
        end = 2 * len(self.constants)
        if part.low is not None:
            start = 2 * self.constants.index(part.low) + (1 if part.low_in else 2)
        if part.high is not None:
            end = 2 * self.constants.index(part.high) + (1 if part.high_in else 0)
        return (1 << (end + 1)) - (1 << start) if start <= end else 0

    def positions(self, region: int) -> Iterator[int]:
        """The single positions of a region, as regions."""
        while region:
            lowest = region & -region
            yield lowest
            region ^= lowest

    def example(self, region: int) -> str:
        """A value in the region as people write it; constants and values above them first."""
        at = region.bit_length() - 1 if region == self.missing else _first(region & self.possible)
        if region == self.missing:
            return "missing"
        index, between = at // 2, at % 2 == 0
        if not between:
            return shown(self.constants[index], self.kind)
        if self.kind is Type.TEXT:
            return "any other text" if self.constants else "any text"
        step = _STEP.get(self.kind, 1)
        if not self.constants:
            return shown(step * 0, self.kind)
        if index == 0:
            return shown(self.constants[0] - step, self.kind)
        low = self.constants[index - 1]
        if index == len(self.constants) or low + step < self.constants[index]:
            return shown(low + step, self.kind)
        middle = (low + self.constants[index]) / 2 if self.kind is Type.NUMBER else (low + self.constants[index]) // 2
        return shown(middle, self.kind)


def _first(region: int) -> int:
    """The lowest position that is a constant, else the lowest above 0, else 0."""
    constants = region & int("10" * (region.bit_length() // 2 + 1), 2)
    for preferred in (constants, region & ~1, region):
        if preferred:
            return (preferred & -preferred).bit_length() - 1
    return 0


def axis_of(kind: Type, tests: Iterable[Test], bounds: Bounds) -> Axis:
    """The axis on which these tests of one input can be told apart."""
    if kind is Type.BOOL:
        return Axis(kind, (False, True), 0b1010)
    constants = {value for test in tests for value in _constants(test)}
    if kind is Type.TEXT:
        ordered: tuple[Any, ...] = tuple(sorted(constants))
        points = sum(1 << (2 * i + 1) for i in range(len(ordered)))
        return Axis(kind, ordered, points | 1)
    assert kind in ORDERED
    constants |= {bound[0] for bound in (bounds.low, bounds.high) if bound is not None}
    ordered = tuple(sorted(constants))
    axis = Axis(kind, ordered, (1 << (2 * len(ordered) + 1)) - 1)
    possible = axis.possible
    if bounds.low is not None:
        possible &= axis.region((Interval(bounds.low[0], None, low_in=bounds.low[1]),))
    if bounds.high is not None:
        possible &= axis.region((Interval(None, bounds.high[0], high_in=bounds.high[1]),))
    if kind is not Type.NUMBER:  # nothing lies between 3 and 4 where there are whole numbers only
        for i in range(1, len(ordered)):
            if ordered[i] - ordered[i - 1] <= 1:
                possible &= ~(1 << (2 * i))
    return Axis(kind, ordered, possible)


def _constants(test: Test) -> Iterator[Any]:
    for part in test:
        if isinstance(part, Not):
            yield from _constants(part.parts)
        elif isinstance(part, Interval):
            yield from (value for value in (part.low, part.high) if value is not None)


def asks_missing(tests: Iterable[Test]) -> bool:
    """Whether some test of a column says what to do without a value."""
    return any(test != ANY and at_missing(test) is not None for test in tests)
