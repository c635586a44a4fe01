"""Lowered expressions, frozen, and the evaluation of batches of events with them.

A `Plan` is shared by all batches and never changes; a `Batch` is one evaluation. Events are sorted by
type, so that those of a type lie together; answers are given under the caller's own numbering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.compiler.frozen import frozen
from engine.compiler.nodes import Node, Type
from engine.compiler.pool import Constants, Pool, in_range, python_type, width
from engine.compiler.reference import Absent, Defaulted
from engine.compiler.stages import GIVEN, I32, OK, WORD, Grid, Machine, padded
from engine.zones import ZONES

_TOGETHER = 8  # values that are sooner read together than one by one

_NS = 1_000_000_000


@frozen
class Root:
    """An expression to be evaluated, and the event types it is needed for (None: all)."""

    node: Node
    on: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Columns:
    """Inputs an event type reads: (path, column), by how a value becomes cells."""

    plain: tuple[tuple[str, int, type], ...]  # integers, durations, flags
    numbers: tuple[tuple[str, int], ...]
    texts: tuple[tuple[str, int], ...]
    others: tuple[tuple[str, int, Type], ...]
    now: int  # column of `now`, -1 where it is not read


@frozen
class Output:
    """Where the result of a root is: a column of the values or conditions, or `constant`, at once."""

    type: Type
    column: int
    constant: object | None
    on: frozenset[str] | None


class Plan:
    """Roots lowered to instructions. Immutable, safe to share between threads.

    `paths`: event type -> the inputs that a batch reads for it; `common_paths`: for any other type.
    """

    __slots__ = ("columns", "common_paths", "constants", "kinds", "machine", "outputs", "paths")

    def __init__(
        self,
        machine: Machine,
        kinds: Mapping[str, int],
        columns: Sequence[Columns],
        outputs: Sequence[Output],
        constants: Constants,
    ) -> None:
        """`kinds`: event type -> its number, from 1; `columns` by that number."""
        self.machine = machine
        self.kinds = kinds
        self.columns = tuple(columns)
        self.outputs = tuple(outputs)
        self.constants = constants
        self.paths: Mapping[str, tuple[str, ...]] = {name: _paths(columns[kind]) for name, kind in kinds.items()}
        self.common_paths = _paths(columns[0])

    def batch(
        self,
        types: Sequence[str],
        inputs: Sequence[Mapping[str, object]],
        now_ns: Sequence[int],
        zones: Sequence[str | None],
    ) -> Batch:
        """Evaluates events; all arguments have one entry an event.

        `inputs` map paths to values as in `nodes`, `Absent` or `Defaulted`; a missing path is absent.
        An integer beyond int64, a time or a date outside the years 1 to 9999, money of more units than int64
        and a list of more than LIST_MAX elements are given but have no value.
        Raises TypeError where a value is not of its input's type.
        """
        return Batch(self, types, inputs, now_ns, zones)


def _paths(columns: Columns) -> tuple[str, ...]:
    parts = (columns.plain, columns.numbers, columns.texts, columns.others)
    found = [entry[0] for part in parts for entry in part]
    return (*found, "now") if columns.now >= 0 else tuple(found)


class Batch:
    """Results of one batch, read by root number and the caller's event number.

    `rows`: the row of every event, sorted by type; `segments`, `values` .. as in `kernels.evaluate`.
    """

    __slots__ = (
        "_plan", "_pool", "_stride", "_types", "events", "possibles", "rows", "segments", "trues", "value_ok", "values",
    )  # fmt: skip

    def __init__(
        self,
        plan: Plan,
        types: Sequence[str],
        inputs: Sequence[Mapping[str, object]],
        now_ns: Sequence[int],
        zones: Sequence[str | None],
    ) -> None:
        self._plan = plan
        self._types = types
        self._pool = Pool(plan.constants)
        self.events = n = len(types)
        kinds = [plan.kinds.get(name, 0) for name in types]
        order = sorted(range(n), key=kinds.__getitem__)
        self.rows = [0] * n
        for row, i in enumerate(order):
            self.rows[i] = row
        by_row = [kinds[i] for i in order]
        self.segments = segments_of(by_row)
        self._stride = stride = padded(n)
        cells = np.zeros((plan.machine.width, stride), np.int64)
        given = np.zeros((plan.machine.width, stride), np.uint8)
        integers, states = cells.ravel().data, given.ravel().data
        doubles = integers.cast("B").cast("d")
        for row, i in enumerate(order):
            columns = plan.columns[kinds[i]]
            self._fill(columns, inputs[i], row, integers, doubles, states)
            if columns.now >= 0:
                self._set(Type.TIME, now_ns[i], OK | GIVEN, columns.now * stride + row, integers, states)
        uses_zone = plan.machine.uses_zone
        zone = np.array([ZONES.id(zones[i] or "") for i in order] if uses_zone and n else [-1], np.int64)
        grid = Grid(n, np.array(by_row, np.int32), self.segments, cells, given, zone, self._pool)
        results = plan.machine.run(grid)
        self.values, self.value_ok = results.values, results.value_ok
        self.trues, self.possibles = results.trues, results.possibles

    @classmethod
    def of_grid(cls, plan: Plan, types: Sequence[str], rows: Sequence[int], grid: Grid) -> Batch:
        """The evaluation of a grid that was filled elsewhere; `types` and `rows` by the caller's event number."""
        batch = object.__new__(cls)
        batch._plan, batch._types, batch._pool = plan, types, grid.pool
        batch.events, batch.rows, batch.segments = grid.events, rows, grid.segments  # type: ignore[assignment]
        batch._stride = padded(grid.events)
        results = plan.machine.run(grid)
        batch.values, batch.value_ok = results.values, results.value_ok
        batch.trues, batch.possibles = results.trues, results.possibles
        return batch

    def truth(self, root: int, i: int) -> bool | None:
        """A condition for event i; None where it is an error or not evaluated for the event's type."""
        output = self._plan.outputs[root]
        if output.on is not None and self._types[i] not in output.on:
            return None
        word, lane = divmod(self.rows[i], WORD)
        if int(self.trues[word, output.column]) >> lane & 1:
            return True
        return None if int(self.possibles[word, output.column]) >> lane & 1 else False

    def value(self, root: int, i: int) -> object | None:
        """A value of any type for event i; None where it is an error or not evaluated for the event's type."""
        output = self._plan.outputs[root]
        if output.type is Type.BOOL:
            return self.truth(root, i)
        if output.on is not None and self._types[i] not in output.on:
            return None
        if output.constant is not None:
            return output.constant
        row, column = self.rows[i], output.column
        word, lane = divmod(row, WORD)
        if not int(self.value_ok[word, column]) >> lane & 1:
            return None
        cells = tuple(self.values[column : column + width(output.type), row].tolist())
        return self._pool.value(output.type, cells)

    def values_of(self, wanted: Sequence[tuple[int, int]]) -> list[object | None]:
        """`value` of many roots and events: what is one number is read together."""
        if len(wanted) < _TOGETHER:
            return [self.value(root, i) for root, i in wanted]
        found: list[object | None] = [None] * len(wanted)
        plain: list[tuple[int, int, int, bool]] = []  # place in `found`, column, row, whether it is a double
        for k, (root, i) in enumerate(wanted):
            output = self._plan.outputs[root]
            number = output.type is Type.NUMBER
            if (
                (number or output.type is Type.INTEGER)
                and output.constant is None
                and (output.on is None or self._types[i] in output.on)
            ):
                plain.append((k, output.column, self.rows[i], number))
            else:
                found[k] = self.value(root, i)
        if plain:
            _, column, row, _ = np.array(plain, np.int64).T
            there = (self.value_ok[row >> 6, column] >> (row & 63).astype(np.uint64) & np.uint64(1)).tolist()
            cells = self.values[column, row]
            doubles, integers = cells.view(np.float64).tolist(), cells.tolist()
            for (k, _, _, number), fine, double, integer in zip(plain, there, doubles, integers, strict=True):
                if fine:
                    found[k] = double if number else integer
        return found

    def _fill(
        self,
        columns: Columns,
        inputs: Mapping[str, object],
        row: int,
        integers: memoryview[int],
        doubles: memoryview[float],
        given: memoryview[int],
    ) -> None:
        """Writes an event's inputs: the one loop of Python over every value."""
        get, stride = inputs.get, self._stride
        for path, column, expected in columns.plain:
            value = get(path)
            at = column * stride + row
            if type(value) is expected and -(2**63) <= value < 2**63:  # type: ignore[operator]
                integers[at] = value  # type: ignore[call-overload]
                given[at] = 3
            elif value is not None:
                value, state = _unwrap(value, expected)
                if value is not None and -(2**63) <= value < 2**63:  # type: ignore[operator]
                    integers[at] = value  # type: ignore[call-overload]
                    state |= OK
                given[at] = state
        for path, column in columns.numbers:
            value = get(path)
            at = column * stride + row
            if type(value) is float:
                doubles[at] = value
                given[at] = 3
            elif value is not None:
                value, state = _unwrap(value, float)
                if value is not None:
                    doubles[at] = value  # type: ignore[call-overload]
                    state |= OK
                given[at] = state
        text = self._pool.text
        for path, column in columns.texts:
            value, state = _unwrap(get(path), str)
            at = column * stride + row
            if value is not None:
                integers[at] = text(value)  # type: ignore[arg-type]
                state |= OK
            given[at] = state
        for path, column, kind in columns.others:
            value, state = _unwrap(get(path), python_type(kind))
            self._set(kind, value, state, column * stride + row, integers, given)

    def _set(
        self, kind: Type, value: object, state: int, at: int, integers: memoryview[int], given: memoryview[int]
    ) -> None:
        """Writes a value of any type, from the cell `at` of its first column on."""
        if value is not None and in_range(kind, value):
            for j, cell in enumerate(self._pool.cells(kind, value)):
                integers[at + j * self._stride] = cell
            state |= OK
        for j in range(width(kind)):
            given[at + j * self._stride] = state


def segments_of(kinds: Sequence[int]) -> I32:
    """Events of one type in a word, by the sorted types of a batch: see `kernels.evaluate`."""
    found: list[list[int]] = []
    for row, kind in enumerate(kinds):
        if kind:
            word, lane = divmod(row, WORD)
            if not lane or not found or found[-1][1] != kind:
                found.append([word, kind, lane, lane])
            found[-1][3] = lane + 1
    return np.array(found, np.int32).reshape(-1, 4)


def _unwrap(value: object, expected: type) -> tuple[object | None, int]:
    """The value without its wrapper, None where absent, and whether it was given."""
    state = GIVEN
    if value is None:
        return None, 0
    if isinstance(value, Absent):
        return None, GIVEN if value.has else 0
    if isinstance(value, Defaulted):
        value, state = value.value, 0
    if type(value) is not expected:
        if expected is float and type(value) is int:
            return float(value), state
        raise TypeError(f"expected {expected.__name__}, found {type(value).__name__}")
    return value, state
