"""Lowered expressions, frozen, and the evaluation of batches of events with them.

A `Plan` is shared by all batches and never changes; a `Batch` is one evaluation. Events are sorted by
type, each type starts a fresh machine word, and answers are given under the caller's own numbering.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.compiler.nodes import Node, Type
from engine.compiler.reference import Absent, Defaulted
from engine.kernels.evaluate import TIME_MAX_S, TIME_MIN_S, evaluate
from engine.zones import zone_table

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
WORD = 64
_NS = 1_000_000_000
_NOTHING = np.zeros(1, np.int64)
_OK, _GIVEN = 1, 2


@dataclass(frozen=True, slots=True)
class Root:
    """An expression to be evaluated, and the event types it is needed for (None: all)."""

    node: Node
    on: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Tables:
    """What `kernels.evaluate` runs on; shapes are given there."""

    spans: I32
    runs: I32
    order: I32
    ins: I32
    imm: I64
    lits: I32
    pool: I64
    loads: I32
    out_rows: I32
    out_planes: I32
    rows: int
    planes: int
    values: int
    conditions: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Inputs an event type reads: (path, column), by how a value becomes cells. Times take two columns."""

    plain: tuple[tuple[str, int, type], ...]  # integers, durations, flags
    numbers: tuple[tuple[str, int], ...]
    texts: tuple[tuple[str, int], ...]
    times: tuple[tuple[str, int], ...]
    now: int  # column of `now`, -1 where it is not read


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result of a root is: a column of the values or conditions, or `constant`, at once."""

    type: Type
    column: int
    constant: object | None
    on: frozenset[str] | None


class Texts:
    """Codes of the texts that the rules mention: 1, 2, .. in order of first mention."""

    __slots__ = ("_ranks", "_sorted", "codes", "names")

    def __init__(self, codes: Mapping[str, int], ordered: bool) -> None:
        """`ordered`: texts are compared by `<`, so codes need ranks."""
        self.codes = dict(codes)
        self.names = tuple(codes)
        self._sorted = sorted(codes) if ordered else None
        self._ranks = [0] * (len(codes) + 1)
        for place, text in enumerate(self._sorted or ()):
            self._ranks[codes[text]] = (place + 1) << 32

    def ranks(self, unseen: Mapping[str, int]) -> I64:
        """For each code, constants and then those of `unseen`, a number in the order of the texts."""
        if self._sorted is None:
            return _NOTHING
        ranks = self._ranks + [0] * len(unseen)
        for place, text in enumerate(sorted(unseen), 1):
            ranks[unseen[text]] = (bisect_right(self._sorted, text) << 32) + place
        return np.array(ranks, np.int64)


class Plan:
    """Roots lowered to instructions. Immutable, safe to share between threads.

    `paths`: event type -> the inputs that a batch reads for it; `common_paths`: for any other type.
    """

    __slots__ = (
        "columns",
        "common_paths",
        "kinds",
        "outputs",
        "paths",
        "tables",
        "texts",
        "uses_zone",
        "width",
    )

    def __init__(
        self,
        tables: Tables,
        kinds: Mapping[str, int],
        columns: Sequence[Columns],
        width: int,
        outputs: Sequence[Output],
        texts: Texts,
        uses_zone: bool,
    ) -> None:
        """`kinds`: event type -> its number, from 1; `columns` by that number; `width` of an input row."""
        self.tables = tables
        self.kinds = kinds
        self.columns = tuple(columns)
        self.width = width
        self.outputs = tuple(outputs)
        self.texts = texts
        self.uses_zone = uses_zone
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
        An integer beyond int64 and a time outside the years 1 to 9999 are given but have no value.
        Raises TypeError where a value is not of its input's type.
        """
        return Batch(self, types, inputs, now_ns, zones)


def _paths(columns: Columns) -> tuple[str, ...]:
    parts = (columns.plain, columns.numbers, columns.texts, columns.times)
    found = [entry[0] for part in parts for entry in part]
    return (*found, "now") if columns.now >= 0 else tuple(found)


class Batch:
    """Results of one batch, read by root number and the caller's event number."""

    __slots__ = (
        "_lanes",
        "_new_texts",
        "_plan",
        "_rows",
        "_types",
        "_unseen",
        "_words",
        "possibles",
        "trues",
        "value_ok",
        "values",
        "words",
    )

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
        self._unseen: dict[str, int] = {}
        order = self._arrange()
        cells = bytearray(8 * plan.width * len(order))
        given = bytearray(plan.width * len(order))
        integers, doubles = memoryview(cells).cast("q"), memoryview(cells).cast("d")
        for row, i in enumerate(order):
            columns = plan.columns[plan.kinds.get(types[i], 0)]
            self._fill(columns, inputs[i], row * plan.width, integers, doubles, given)
            if columns.now >= 0:
                _set_time(integers, given, row * plan.width + columns.now, now_ns[i], _OK | _GIVEN)
        self._new_texts = tuple(self._unseen)
        self._evaluate(cells, given, order, zones)

    @property
    def rows(self) -> Sequence[int]:
        """The row in `values` of every event."""
        return self._rows

    def truth(self, root: int, i: int) -> bool | None:
        """A condition for event i; None where it is an error or not evaluated for the event's type."""
        output = self._plan.outputs[root]
        if output.on is not None and self._types[i] not in output.on:
            return None
        word, lane = self._words[i], self._lanes[i]
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
        row, column = self._rows[i], output.column
        if not int(self.value_ok[self._words[i], column]) >> self._lanes[i] & 1:
            return None
        if output.type is Type.NUMBER:
            return float(self.values[row, column].view(np.float64))
        cell = int(self.values[row, column])
        if output.type is Type.TIME:
            return cell * _NS + int(self.values[row, column + 1])
        return self._text(cell) if output.type is Type.TEXT else cell

    def _text(self, code: int) -> str:
        names = self._plan.texts.names
        return names[code - 1] if code <= len(names) else self._new_texts[code - len(names) - 1]

    def _arrange(self) -> list[int]:
        """Cuts the events, sorted by type, into words; returns their order."""
        kinds = [self._plan.kinds.get(name, 0) for name in self._types]
        order = sorted(range(len(kinds)), key=kinds.__getitem__)
        self._rows, self._words, self._lanes = [0] * len(kinds), [0] * len(kinds), [0] * len(kinds)
        words: list[list[int]] = []
        for row, i in enumerate(order):
            if not words or words[-1][0] != kinds[i] or words[-1][2] == WORD:
                words.append([kinds[i], row, 0])
            self._rows[i], self._words[i], self._lanes[i] = row, len(words) - 1, words[-1][2]
            words[-1][2] += 1
        self.words: I32 = np.array(words, np.int32).reshape(-1, 3)
        return order

    def _fill(
        self,
        columns: Columns,
        inputs: Mapping[str, object],
        base: int,
        integers: memoryview[int],
        doubles: memoryview[float],
        given: bytearray,
    ) -> None:
        """Writes an event's inputs from cell `base` on: the one loop of Python over every value."""
        get = inputs.get
        for path, column, expected in columns.plain:
            value = get(path)
            if type(value) is expected and -(2**63) <= value < 2**63:  # type: ignore[operator]
                integers[base + column] = value  # type: ignore[call-overload]
                given[base + column] = 3
            elif value is not None:
                value, state = _unwrap(value, expected)
                if value is not None and -(2**63) <= value < 2**63:  # type: ignore[operator]
                    integers[base + column] = value  # type: ignore[call-overload]
                    state |= _OK
                given[base + column] = state
        for path, column in columns.numbers:
            value = get(path)
            if type(value) is float:
                doubles[base + column] = value
                given[base + column] = 3
            elif value is not None:
                value, state = _unwrap(value, float)
                if value is not None:
                    doubles[base + column] = value  # type: ignore[call-overload]
                    state |= _OK
                given[base + column] = state
        for path, column in columns.texts:
            value, state = _unwrap(get(path), str)
            if value is not None:
                integers[base + column] = self._code(value)  # type: ignore[arg-type]
                state |= _OK
            given[base + column] = state
        for path, column in columns.times:
            value, state = _unwrap(get(path), int)
            if value is not None:
                _set_time(integers, given, base + column, value, state)  # type: ignore[arg-type]
            else:
                given[base + column] = state

    def _code(self, text: str) -> int:
        codes = self._plan.texts.codes
        return codes.get(text) or self._unseen.setdefault(text, len(codes) + len(self._unseen) + 1)

    def _evaluate(self, cells: bytearray, given: bytearray, order: list[int], zones: Sequence[str | None]) -> None:
        t, n, w = self._plan.tables, len(order), len(self.words)
        zone_ids, starts, at_s, offset_s = _NOTHING, _NOTHING, _NOTHING, _NOTHING
        if self._plan.uses_zone:
            table = zone_table(tuple(sorted({name for name in zones if name})))
            ids = table.ids
            zone_ids = np.array([ids.get(zones[i] or "", -1) for i in order], np.int64)
            starts, at_s, offset_s = table.starts, table.at_s, table.offset_s
        scratch = np.empty((t.rows, WORD), np.int64)
        bits = np.empty((2, t.rows), np.uint64)
        planes = np.empty((2, t.planes), np.uint64)
        self.values: I64 = np.empty((n, t.values), np.int64)
        self.value_ok = np.empty((w, t.values), np.uint64)
        self.trues, self.possibles = np.empty((2, w, t.conditions), np.uint64)
        evaluate(
            self.words, t.spans, t.runs, t.order, t.ins, t.imm, t.imm.view(np.float64), t.lits, t.pool,
            t.pool.view(np.float64), t.loads, t.out_rows, t.out_planes,
            np.frombuffer(cells, np.int64).reshape(n, -1) if cells else np.zeros((n, 0), np.int64),
            np.frombuffer(given, np.uint8).reshape(n, -1) if given else np.zeros((n, 0), np.uint8),
            zone_ids, starts, at_s, offset_s, self._plan.texts.ranks(self._unseen),
            scratch, scratch.view(np.float64), bits[0], bits[1], planes[0], planes[1],
            self.values, self.value_ok, self.trues, self.possibles,
        )  # fmt: skip


def _unwrap(value: object, expected: type) -> tuple[object | None, int]:
    """The value without its wrapper, None where absent, and whether it was given."""
    state = _GIVEN
    if value is None:
        return None, 0
    if isinstance(value, Absent):
        return None, _GIVEN if value.has else 0
    if isinstance(value, Defaulted):
        value, state = value.value, 0
    if type(value) is not expected:
        if expected is float and type(value) is int:
            return float(value), state
        raise TypeError(f"expected {expected.__name__}, found {type(value).__name__}")
    return value, state


def _set_time(integers: memoryview[int], given: bytearray, at: int, value: int, state: int) -> None:
    second, nanos = divmod(value, _NS)
    if TIME_MIN_S <= second <= TIME_MAX_S:
        integers[at], integers[at + 1] = second, nanos
        state |= _OK
    given[at] = given[at + 1] = state
