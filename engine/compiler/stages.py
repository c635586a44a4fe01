"""A lowered set of expressions as it runs: kernels, and between them what Python evaluates.

A `Machine` runs its stages in order and then the kernel for its results. A stage runs the kernel for the
arguments of its calls and adds their results as columns of the `Grid`, for the stages after it:

    Group    functions of the same arguments, evaluated once per distinct arguments and remembered
    Lanes    macros over the same list: each element of each event is an event of a machine of its own
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any

import numpy as np
import numpy.typing as npt
import re2

from engine.compiler.functions import PATTERN_BYTES_MAX
from engine.compiler.nodes import Type
from engine.compiler.pool import I64, Pool, in_range, width
from engine.kernels.direct import direct
from engine.kernels.evaluate import evaluate
from engine.zones import ZONES

I32 = npt.NDArray[np.int32]
U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
WORD = 64
OK, GIVEN = 1, 2
REMEMBERED_MAX = 16 << 20  # bytes, about, of arguments and results that a group remembers
_ENTRY_BYTES = 400  # measured: what remembering takes beside texts, lists and cells
_NOTHING = np.zeros(1, np.int64)
_NO_SEGMENTS = np.zeros((0, 4), np.int32)
_evaluate = direct(evaluate)


@dataclass(frozen=True, slots=True)
class Tables:
    """What `kernels.evaluate` runs on; shapes are given there."""

    spans: I32
    runs: I32
    ins: U32
    imm: I64
    lits: U32
    pool: I64
    loads: U32
    out_rows: U32
    out_planes: U32
    rows: int
    planes: int
    values: int
    conditions: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The events of a batch, sorted by type, or the elements of its lists; inputs as columns.

    `cells` and `given` (columns, `padded(events)`) as in `kernels.evaluate`; `kinds` the number of each event's type.
    """

    events: int
    kinds: I32
    segments: I32
    cells: I64
    given: U8
    zone: I64
    pool: Pool

    def with_value(self, columns: Sequence[int], kinds: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int64]:
        """Events of these types that have a value in all these columns."""
        fine = (self.given[columns, : self.events] & OK).all(axis=0)
        if kinds is not None:
            fine &= kinds[self.kinds]
        return np.flatnonzero(fine)


@dataclass(frozen=True, slots=True)
class Results:
    """values (V, events), value_ok (W, V), trues and possibles (W, B), as `kernels.evaluate` gives them."""

    values: I64
    value_ok: U64
    trues: U64
    possibles: U64


def padded(events: int) -> int:
    """Events and more, up to a multiple of the eight that kernels look at together."""
    return (events + 7) & ~7


def bits(planes: U64, column: int, events: int) -> U8:
    """A column of planes as one 0 or 1 an event."""
    words = np.ascontiguousarray(planes[:, column])
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:events]


class _Scratch(threading.local):
    """What the kernel works on; nothing in it outlives a call."""

    def __init__(self) -> None:
        self.rows = self.planes = 0
        self.arrays: tuple[npt.NDArray[Any], ...]
        self.grow(1, 1)

    def grow(self, rows: int, planes: int) -> None:
        self.rows, self.planes = max(rows, self.rows), max(planes, self.planes)
        cells = np.empty((self.rows, WORD), np.int64)
        ok, has = np.empty((2, self.rows), np.uint64)
        self.arrays = cells, cells.view(np.float64), ok, has, np.empty((self.planes, 2), np.uint64)


_SCRATCH = _Scratch()


def run(t: Tables, grid: Grid, uses_zone: bool) -> Results:
    """Runs the kernel."""
    n = grid.events
    w = (n + WORD - 1) // WORD
    table = ZONES.table
    room = _SCRATCH
    if t.rows > room.rows or t.planes > room.planes:
        room.grow(t.rows, t.planes)
    values, value_ok = np.empty((t.values, n), np.int64), np.zeros((w, t.values), np.uint64)
    trues, possibles = np.empty((2, w, t.conditions), np.uint64)
    _evaluate(
        n, grid.segments, t.spans, t.runs, t.ins, t.imm, t.imm.view(np.float64), t.lits, t.pool,
        t.pool.view(np.float64), t.loads, t.out_rows, t.out_planes, grid.cells, grid.given,
        grid.zone if uses_zone else _NOTHING, table.starts, table.at_s, table.offset_s, grid.pool.ranks(),
        *room.arrays,
        values, value_ok, trues, possibles,
    )  # fmt: skip
    return Results(values, value_ok, trues, possibles)


@dataclass(frozen=True, slots=True)
class Result:
    """A function of a group, and where its value goes, counted from the group's first column."""

    apply: Callable[..., object]
    kind: Type
    at: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """Results of all functions of a group for some arguments; those of `pooled` have no code yet."""

    cells: tuple[int, ...]
    given: bytes
    pooled: tuple[tuple[int, Type, object], ...]


class Group:
    """Functions of the same arguments."""

    def __init__(
        self,
        kinds: Sequence[Type],
        columns: Sequence[int],
        wanted: npt.NDArray[np.bool_] | None,
        results: Sequence[Result],
        patterns: Sequence[tuple[int, str]],
        first: int,
    ) -> None:
        """`kinds` of the arguments and `columns` of their cells; `wanted` by event types, None for all.

        `patterns`: place and RE2 pattern of results that say whether the one argument matches.
        """
        self._kinds = tuple(kinds)
        self._columns = list(columns)
        self._wanted = wanted
        self._results = tuple(results)
        self._patterns = _Patterns(patterns)
        self._first = first
        self.width = sum(width(result.kind) for result in results) + len(patterns)
        self._known: dict[object, _Entry] = {}
        self._room = REMEMBERED_MAX

    def run(self, grid: Grid) -> None:
        """Adds the results for all events that have the arguments."""
        rows = grid.with_value(self._columns, self._wanted)
        if not len(rows):
            return
        keys = list(zip(*grid.cells[self._columns][:, rows].tolist(), strict=True))
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        entries = [self._entry(key, grid.pool) for key in places]
        cells = np.array([self._coded(entry, grid.pool) for entry in entries], np.int64)
        given = np.frombuffer(b"".join(entry.given for entry in entries), np.uint8).reshape(-1, self.width)
        which = [places[key] for key in keys]
        last = self._first + self.width
        grid.cells[self._first : last, rows] = cells[which].T
        grid.given[self._first : last, rows] = given[which].T

    def _coded(self, entry: _Entry, pool: Pool) -> Sequence[int]:
        if not entry.pooled:
            return entry.cells
        cells = list(entry.cells)
        for at, kind, value in entry.pooled:
            cells[at] = pool.cells(kind, value)[0]
        return cells

    def _entry(self, key: tuple[int, ...], pool: Pool) -> _Entry:
        args, at = [], 0
        for kind in self._kinds:
            args.append((kind, key[at : at + width(kind)]))
            at += width(kind)
        stable = tuple(pool.stable(kind, cells) for kind, cells in args)
        entry = self._known.get(stable)
        if entry is None:
            values = [pool.value(kind, cells) for kind, cells in args]
            entry = self._evaluated(values, pool)
            size = _ENTRY_BYTES + 9 * self.width
            size += sum(map(_bytes, values)) + sum(_bytes(value) for _, _, value in entry.pooled)
            if size > self._room:
                self._known.clear()
                self._room = REMEMBERED_MAX
            self._known[stable] = entry
            self._room -= size
        return entry

    def _evaluated(self, args: list[object], pool: Pool) -> _Entry:
        cells, given = [0] * self.width, bytearray(self.width)
        pooled = []
        for at, found in self._patterns.of(args):
            cells[at], given[at] = found, OK | GIVEN
        for result in self._results:
            try:
                value = result.apply(*args)
            except ValueError:
                continue
            if not in_range(result.kind, value):
                continue
            at, size = result.at, width(result.kind)
            given[at : at + size] = (OK | GIVEN).to_bytes() * size
            if result.kind is Type.TEXT or result.kind.element:
                pooled.append((at, result.kind, value))
            else:
                cells[at : at + size] = pool.cells(result.kind, value)
        return _Entry(tuple(cells), bytes(given), tuple(pooled))


def _bytes(value: object) -> int:
    """What a text or a list takes in memory."""
    return getsizeof(value) + (sum(map(getsizeof, value)) if isinstance(value, tuple) else 0)


class _Patterns:
    """RE2 patterns that one pass over a text tries all at once."""

    def __init__(self, patterns: Sequence[tuple[int, str]]) -> None:
        self._places = [place for place, _ in patterns]
        self._texts = [text for _, text in patterns]
        self._set: Any = None
        if patterns:
            options = re2.Options()
            options.log_errors = False
            options.max_mem = PATTERN_BYTES_MAX * (1 + len(patterns))
            self._set = re2.Set.SearchSet(options)
            for text in ("", *self._texts):  # the first always matches: without it, RE2 ran out of memory
                self._set.Add(text)
            self._set.Compile()

    def of(self, args: Sequence[object]) -> list[tuple[int, bool]]:
        """Places, and whether the pattern there matches."""
        if self._set is None:
            return []
        (text,) = args
        found = set(self._set.Match(text))
        if 0 in found:
            return [(place, number in found) for number, place in enumerate(self._places, 1)]
        pairs = zip(self._places, self._texts, strict=True)
        return [(place, re2.search(pattern, text) is not None) for place, pattern in pairs]


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro of `Lanes`: its bodies as results of the machine for elements, and the column of its value.

    `condition` is a column of the planes, -1 for `map` without one; `value` a column of the values, or of
    the planes for bool, for `map`.
    """

    op: str
    kind: Type
    condition: int
    value: int
    column: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """Macros over the same list. `captured`: columns of the grid and of the machine for elements."""

    machine: Machine
    list_kind: Type
    list_column: int
    wanted: npt.NDArray[np.bool_] | None
    captured: tuple[tuple[int, int], ...]
    element: int  # the element's first column, -1 where no body reads it
    macros: tuple[Macro, ...]

    def run(self, grid: Grid) -> None:
        """Adds the macros' values for all events that have the list."""
        rows = grid.with_value([self.list_column], self.wanted)
        if not len(rows):
            return
        codes = grid.cells[self.list_column, rows].tolist()
        each = [grid.pool.elements(self.list_kind, code) for code in codes]
        owner = np.repeat(np.arange(len(rows)), [part.shape[1] for part in each])
        results = self._results(grid, rows[owner], np.concatenate(each, axis=1)) if len(owner) else None
        for macro in self.macros:
            self._reduce(grid, macro, rows, codes, owner, results)

    def _results(self, grid: Grid, rows: npt.NDArray[np.int64], elements: I64) -> Results:
        events, machine = len(rows), self.machine
        shape = (machine.width, padded(events))
        cells, given = np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
        if self.element >= 0:
            last = self.element + len(elements)
            cells[self.element : last, :events] = elements
            given[self.element : last, :events] = OK | GIVEN
        for outer, own in self.captured:
            cells[own, :events] = grid.cells[outer, rows]
            given[own, :events] = (grid.given[outer, rows] & OK) * (OK | GIVEN)
        zone = grid.zone[rows] if machine.uses_zone else _NOTHING
        kinds = np.zeros(events, np.int32)
        return machine.run(Grid(events, kinds, _NO_SEGMENTS, cells, given, zone, grid.pool))

    def _reduce(
        self, grid: Grid, macro: Macro, rows: I64, codes: list[int], owner: npt.NDArray[np.intp], r: Results | None
    ) -> None:
        """The macro's value of every event from those of its elements."""
        none = np.zeros(0, np.uint8)
        true = possible = none if r is None else np.ones(len(owner), np.uint8)
        if r is not None and macro.condition >= 0:
            true, possible = (bits(planes, macro.condition, len(owner)) for planes in (r.trues, r.possibles))

        def count(lanes: npt.NDArray[Any]) -> I64:
            return np.bincount(owner[lanes != 0], minlength=len(rows))

        errors = count(possible & ~true & 1) > 0
        if macro.op in ("all", "exists"):
            hit = count(~possible & 1 if macro.op == "all" else true) > 0
            value, fine = (hit == (macro.op == "exists")).astype(np.int64), hit | ~errors
        elif macro.op == "exists_one":
            value, fine = (count(true) == 1).astype(np.int64), ~errors
        else:
            value, fine = self._lists(grid.pool, macro, codes, owner, true, errors, r)
        grid.cells[macro.column, rows] = value
        grid.given[macro.column, rows] = fine * np.uint8(OK | GIVEN)

    def _lists(
        self, pool: Pool, macro: Macro, codes: list[int], owner: Any, true: U8, errors: Any, r: Results | None
    ) -> tuple[I64, npt.NDArray[np.bool_]]:
        """What filter and map make, event by event."""
        made: list[list[object]] = [[] for _ in codes]
        fine = ~errors
        if macro.op == "filter":
            lists = [pool.value(self.list_kind, (code,)) for code in codes]
            items = [item for part in lists for item in part]  # type: ignore[attr-defined]
            ok = np.ones(len(owner), np.uint8)
        else:
            items, ok = _column(pool, macro, len(owner), r)
        for event, item, taken, here in zip(owner.tolist(), items, true.tolist(), ok.tolist(), strict=True):
            if taken:
                made[event].append(item)
                fine[event] &= bool(here)
        value = [
            pool.cells(macro.kind, tuple(part))[0] if good else 0
            for part, good in zip(made, fine.tolist(), strict=True)
        ]
        return np.array(value, np.int64), fine


def _column(pool: Pool, macro: Macro, events: int, r: Results | None) -> tuple[list[object], U8]:
    """The values that `map` makes of the elements, and whether they are ones."""
    kind = macro.kind.element
    assert kind
    if r is None:
        return [], np.zeros(0, np.uint8)
    if kind is Type.BOOL:
        true, possible = bits(r.trues, macro.value, events), bits(r.possibles, macro.value, events)
        return [bool(value) for value in true.tolist()], true | (1 - possible)
    cells = zip(*r.values[macro.value : macro.value + width(kind)].tolist(), strict=True)
    ok = bits(r.value_ok, macro.value, events)
    return [pool.value(kind, own) if here else None for own, here in zip(cells, ok.tolist(), strict=True)], ok


@dataclass(frozen=True, slots=True)
class Stage:
    """Calls that can run at the same time, and the kernel for their arguments, None where these are inputs.

    The kernel's values go to the columns from `first` on; those of `given` are the bits of `of`.
    """

    tables: Tables | None
    first: int
    of: tuple[int, ...]
    calls: tuple[Group | Lanes, ...]

    def run(self, grid: Grid, uses_zone: bool) -> None:
        """Adds the columns of this stage."""
        if self.tables is not None:
            results = run(self.tables, grid, uses_zone)
            last = self.first + len(self.of)
            grid.cells[self.first : last, : grid.events] = results.values
            words = np.ascontiguousarray(results.value_ok.T[list(self.of)])
            fine = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, : grid.events]
            grid.given[self.first : last, : grid.events] = fine * np.uint8(OK | GIVEN)
        for call in self.calls:
            call.run(grid)


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that is run for a set of expressions; `width`: columns of its grid."""

    stages: tuple[Stage, ...]
    tables: Tables
    width: int
    uses_zone: bool

    def run(self, grid: Grid) -> Results:
        """The results for all events of a grid."""
        for stage in self.stages:
            stage.run(grid, self.uses_zone)
        return run(self.tables, grid, self.uses_zone)
