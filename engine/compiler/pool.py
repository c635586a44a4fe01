"""Codes of texts and lists: those that the rules mention, then those that a batch brings.

Kernels see a text or a list as its code, an int64 from 1 on. Equal values have equal codes; lists of
numbers are equal here where their bits are.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from engine.compiler.functions import LIST_MAX
from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.nodes import Type
from engine.kernels.operations import DAY_MAX, DAY_MIN, TIME_MAX_S, TIME_MIN_S

I64 = npt.NDArray[np.int64]
NS = 1_000_000_000
WIDE = (Type.TIME, Type.MONEY)  # values of two cells
_NOTHING = np.zeros(1, np.int64)
_PYTHON: Mapping[Type, type] = {Type.BOOL: bool, Type.NUMBER: float, Type.TEXT: str}


def width(kind: Type) -> int:
    """Cells of a value."""
    return 2 if kind in WIDE else 1


def python_type(kind: Type) -> type:
    """The Python type of values, see `nodes`."""
    return tuple if kind.element else _PYTHON.get(kind, int)


def in_range(kind: Type, value: object) -> bool:
    """Whether a value of the right Python type is one of the language's: see the limits in `Plan.batch`."""
    if kind.element:
        assert isinstance(value, tuple)
        return len(value) <= LIST_MAX and all(in_range(kind.element, item) for item in value)
    if kind is Type.TIME:
        return TIME_MIN_S <= value // NS <= TIME_MAX_S  # type: ignore[operator]
    if kind is Type.DATE:
        return DAY_MIN <= value <= DAY_MAX  # type: ignore[operator]
    if kind is Type.MONEY:
        return INT_MIN <= value // NS <= INT_MAX  # type: ignore[operator]
    return not isinstance(value, int) or INT_MIN <= value <= INT_MAX


def number_bits(value: float) -> int:
    """A double as int64."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _key(kind: Type, items: tuple[object, ...]) -> object:
    """What tells lists apart that Python takes for equal: 1, 1.0 and true; 0.0 and -0.0."""
    if kind is Type.NUMBERS:
        return struct.pack(f"<{len(items)}d", *items)
    return (kind, items) if kind is Type.BOOLS else items


class Constants:
    """Texts and lists that the rules mention, in order of first mention. Grows while rules are lowered."""

    __slots__ = ("codes", "lists", "ordered", "ranks", "sorted", "values")

    def __init__(self) -> None:
        self.codes: dict[object, int] = {}
        self.values: list[object] = [None]
        self.ordered = False  # texts are compared by `<`, so codes need ranks
        self.sorted: list[str] = []
        self.ranks = _NOTHING

    def code(self, kind: Type, value: object) -> int:
        """The code of a text or a list."""
        key = value if kind is Type.TEXT else _key(kind, value)  # type: ignore[arg-type]
        code = self.codes.setdefault(key, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code

    def settle(self) -> None:
        """Ranks the texts, once there will be no more."""
        if self.ordered:
            self.sorted = sorted(value for value in self.values if isinstance(value, str))
            self.ranks = np.zeros(len(self.values), np.int64)
            self.ranks[[self.codes[text] for text in self.sorted]] = np.arange(1, len(self.sorted) + 1) << 32


class Pool:
    """The codes of one batch."""

    __slots__ = ("_constants", "_elements", "_fresh", "_known", "_values")

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._known = constants.codes
        self._fresh: dict[object, int] = {}
        self._values: list[object] = []
        self._elements: dict[tuple[Type, int], I64] = {}

    def text(self, value: str) -> int:
        """The code of a text."""
        return self._known.get(value) or self._new(value, value)

    def _new(self, key: object, value: object) -> int:
        code = self._fresh.setdefault(key, len(self._known) + len(self._values) + 1)
        if code == len(self._known) + len(self._values) + 1:
            self._values.append(value)
        return code

    def cells(self, kind: Type, value: object) -> tuple[int, ...]:
        """A value in range as cells: `width` of them."""
        if kind in WIDE:
            return divmod(value, NS)  # type: ignore[operator]
        if kind is Type.TEXT:
            return (self.text(value),)  # type: ignore[arg-type]
        if kind is Type.NUMBER:
            return (number_bits(value),)  # type: ignore[arg-type]
        if kind.element:
            key = _key(kind, value)  # type: ignore[arg-type]
            return (self._known.get(key) or self._new(key, value),)
        return (int(value),)  # type: ignore[call-overload]

    def value(self, kind: Type, cells: tuple[int, ...]) -> object:
        """The value of cells, the inverse of `cells`."""
        first = cells[0]
        if kind in WIDE:
            return first * NS + cells[1]
        if kind is Type.TEXT or kind.element:
            constants = self._constants.values
            return constants[first] if first < len(constants) else self._values[first - len(constants)]
        if kind is Type.NUMBER:
            return struct.unpack("<d", struct.pack("<q", first))[0]
        return bool(first) if kind is Type.BOOL else first

    def stable(self, kind: Type, cells: tuple[int, ...]) -> object:
        """A key that means the value in every batch."""
        if kind is Type.TEXT:
            return self.value(kind, cells)
        return _key(kind, self.value(kind, cells)) if kind.element else cells  # type: ignore[arg-type]

    def elements(self, kind: Type, code: int) -> I64:
        """The elements of a list, (width, length)."""
        found = self._elements.get((kind, code))
        if found is None:
            assert kind.element
            items = self.value(kind, (code,))
            cells = [self.cells(kind.element, item) for item in items]  # type: ignore[attr-defined]
            found = np.array(cells, np.int64).reshape(-1, width(kind.element)).T
            self._elements[kind, code] = found
        return found

    def ranks(self) -> I64:
        """For each code of a text a number in the order of the texts."""
        constants = self._constants
        if not constants.ordered:
            return _NOTHING
        ranks = np.concatenate((constants.ranks, np.zeros(len(self._values), np.int64)))
        fresh = sorted(value for value in self._values if isinstance(value, str))
        for place, text in enumerate(fresh, 1):
            ranks[self._fresh[text]] = (bisect_right(constants.sorted, text) << 32) + place
        return ranks
