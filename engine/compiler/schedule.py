"""From the instructions of a `Builder` to a `Machine`: what runs when, for which event types.

Each event type gets the instructions that its own roots need beyond those for any type, sorted by level
and operation. Type 0 is any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.compiler.frozen import frozen
from engine.compiler.instructions import INPUT, Builder, Call, Function, Lane, Value
from engine.compiler.macros import ELEMENT
from engine.compiler.nodes import Node, Type
from engine.compiler.pool import width
from engine.compiler.stages import Group, Lanes, Machine, Macro, Result, Stage, Tables

I32 = npt.NDArray[np.int32]


class Places:
    """Columns of results; equal values share theirs."""

    def __init__(self) -> None:
        self.size = 0
        self._of: dict[tuple[Value, int], int] = {}

    def of(self, value: Value, cells: int) -> int:
        """The first column of a value."""
        place = self._of.setdefault((value, cells), self.size)
        if place == self.size:
            self.size += cells
        return place


@frozen
class Wanted:
    """A result of the last stage: a row of so many cells, or a plane where `cells` is 0, and its column."""

    value: Value
    cells: int
    place: int


@dataclass(frozen=True, slots=True)
class Assembly:
    """A machine, where its grid has each input (a path of a type), and which of them each event type reads."""

    machine: Machine
    columns: Mapping[tuple[str, Type], int]
    reads: tuple[frozenset[tuple[str, Type]], ...]


def assemble(builder: Builder, wanted: Sequence[Sequence[Wanted]], values: int, conditions: int) -> Assembly:
    """The machine for results `wanted` by event type, in so many columns of values and conditions."""
    needed = [_closure(builder, [w.value.number for w in own]) for own in wanted]
    reads = tuple(
        frozenset(p for p, v in builder.inputs.items() if v.number in own or v.number in needed[0]) for own in needed
    )
    grid = _Grid(builder)
    last = max((w.value.stage for own in wanted for w in own), default=0)
    stages = tuple(_stage(builder, stage, needed, grid) for stage in range(last))
    schedule = _Schedule(builder, len(wanted), grid.column_of)
    for own in wanted:
        schedule.add(own)
    return Assembly(
        Machine(stages, schedule.tables(values, conditions), grid.width, builder.uses_zone),
        {key: grid.column_of[value.number] for key, value in builder.inputs.items()},
        reads,
    )


def _closure(builder: Builder, numbers: Iterable[int]) -> set[int]:
    """All values that these depend on, through calls too."""
    needed: set[int] = set()
    stack = list(numbers)
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack.extend(builder.values[number].needs)
    return needed


class _Grid:
    """Columns of inputs, of arguments and of what calls give."""

    def __init__(self, builder: Builder) -> None:
        self.width = 0
        self.column_of: dict[int, int] = {}
        for (_, kind), value in builder.inputs.items():
            self.column_of[value.number] = self.take(width(kind))

    def take(self, cells: int) -> int:
        self.width += cells
        return self.width - cells


def _stage(builder: Builder, stage: int, needed: Sequence[set[int]], grid: _Grid) -> Stage:
    """The calls whose results are of the next stage, with the kernel for their arguments."""
    calls = [
        call
        for call in builder.calls
        if call.result.stage == stage + 1 and any(call.result.number in own for own in needed)
    ]
    places = Places()
    wanted: list[dict[Wanted, None]] = [{} for _ in needed]
    of: dict[int, int] = {}
    computed: list[tuple[Value, int, Type]] = []
    for call in calls:
        for value, kind in zip(call.args, call.kinds, strict=True):
            if value.op == INPUT:
                continue
            cells = width(kind)
            place = places.of(value, cells)
            of.update((place + j, place) for j in range(cells))
            computed.append((value, place, kind))
            for own, own_wanted in zip(needed, wanted, strict=True):
                if call.result.number in own:
                    own_wanted[Wanted(value, cells, place)] = None
    tables = None
    first = grid.take(places.size)
    if places.size:
        schedule = _Schedule(builder, len(needed), grid.column_of)
        for own_wanted in wanted:
            schedule.add(list(own_wanted))
        tables = schedule.tables(places.size, 0)
    columns = {value.number: first + place for value, place, _ in computed}

    def columns_of(value: Value, kind: Type) -> range:
        column = grid.column_of[value.number] if value.op == INPUT else columns[value.number]
        return range(column, column + width(kind))

    steps: list[Group | Lanes] = []
    for group in _grouped(calls):
        kinds = np.array([any(call.result.number in own for call in group) for own in needed])
        kinds |= kinds[0]
        own_kinds = None if kinds.all() else kinds
        make = _group if isinstance(group[0].work, Function) else _lanes
        steps.append(make(builder, group, own_kinds, columns_of, grid))
    return Stage(tables, first, tuple(of[place] for place in range(places.size)), tuple(steps))


def _grouped(calls: Sequence[Call]) -> list[list[Call]]:
    """Functions of the same arguments, and macros over the same list."""
    groups: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        key = call.args if isinstance(call.work, Function) else ("lanes", call.args[0])
        groups.setdefault(key, []).append(call)
    return list(groups.values())


def _group(
    builder: Builder,
    calls: Sequence[Call],
    wanted: npt.NDArray[np.bool_] | None,
    columns_of: Callable[[Value, Type], range],
    grid: _Grid,
) -> Group:
    first = grid.width
    results, patterns = [], []
    several = sum(isinstance(call.work, Function) and call.work.pattern is not None for call in calls) > 1
    for call in calls:
        assert isinstance(call.work, Function)
        column = grid.take(width(call.kind))
        grid.column_of[call.result.number] = column
        if several and call.work.pattern is not None:
            patterns.append((column - first, call.work.pattern))
        else:
            results.append(Result(call.work.apply, call.kind, column - first))
    args = list(zip(calls[0].args, calls[0].kinds, strict=True))
    columns = [column for value, kind in args for column in columns_of(value, kind)]
    return Group(calls[0].kinds, columns, wanted, results, patterns, first)


def _lanes(
    builder: Builder,
    calls: Sequence[Call],
    wanted: npt.NDArray[np.bool_] | None,
    columns_of: Callable[[Value, Type], range],
    grid: _Grid,
) -> Lanes:
    inner = Builder(builder.constants)
    rows, planes = Places(), Places()
    roots: list[Wanted] = []

    def column(node: Node) -> int:
        value = inner.lower(node)
        if node.type is Type.BOOL:
            place = planes.of(value, 1)
            roots.append(Wanted(value, 0, place))
        else:
            place = rows.of(value, width(node.type))
            roots.append(Wanted(value, width(node.type), place))
        return place

    macros = []
    outer: dict[str, tuple[Value, Type]] = {}
    for call in calls:
        assert isinstance(call.work, Lane)
        op, bodies = call.work.op, call.work.bodies
        outer.update(zip(call.work.paths, zip(call.args[1:], call.kinds[1:], strict=True), strict=True))
        condition = column(bodies[0]) if op != "map" or len(bodies) == 2 else -1
        value = column(bodies[-1]) if op == "map" else -1
        own = grid.take(1)
        grid.column_of[call.result.number] = own
        macros.append(Macro(op, call.kind, condition, value, own))
    assembly = assemble(inner, [list(dict.fromkeys(roots))], rows.size, planes.size)
    builder.uses_zone |= inner.uses_zone
    captured = tuple(
        pair
        for path, kind in assembly.reads[0]
        if path != ELEMENT
        for pair in zip(columns_of(*outer[path]), _range(assembly.columns[path, kind], outer[path][1]), strict=True)
    )
    element = next((assembly.columns[key] for key in assembly.reads[0] if key[0] == ELEMENT), -1)
    (source,) = columns_of(calls[0].args[0], calls[0].kinds[0])
    return Lanes(assembly.machine, calls[0].kinds[0], source, wanted, captured, element, tuple(macros))


def _range(column: int, kind: Type) -> range:
    return range(column, column + width(kind))


class _Schedule:
    """What each event type runs, reads and hands back; types are added in order, any first."""

    def __init__(self, builder: Builder, kinds: int, column_of: Mapping[int, int]) -> None:
        self._builder = builder
        self._column_of = column_of
        self._cells_of = {value.number: width(kind) for (_, kind), value in builder.inputs.items()}
        self._cells_of.update((call.result.number, width(call.kind)) for call in builder.calls)
        self._spans = np.zeros((kinds, 8), np.int32)
        self._kind = 0
        self._orders: list[I32] = []
        self._runs: list[I32] = []
        self._done = [0, 0, 0, 0, 0]  # instructions, and the ends of runs, loads, out_rows, out_planes
        self._common: set[int] = set()
        self._ops = np.array([v.op for v in builder.values], np.int32)
        self._lengths = np.array([len(v.needs) for v in builder.values], np.int32)
        self._levels = np.array([v.level for v in builder.values], np.int32)
        self._loads: list[int] = []
        self._out_rows: list[int] = []
        self._out_planes: list[int] = []

    def add(self, wanted: Sequence[Wanted]) -> None:
        """Schedules what the results of the next type need."""
        needed: set[int] = set()
        stack = [w.value.number for w in wanted]
        values, common = self._builder.values, self._common
        while stack:
            number = stack.pop()
            if number not in needed and number not in common:
                needed.add(number)
                if values[number].op != INPUT:
                    stack.extend(values[number].needs)
        if self._kind == 0:
            self._common = needed
        for n in sorted(n for n in needed if values[n].op == INPUT):
            for j in range(self._cells_of[n]):
                self._loads += (self._column_of[n] + j, values[n].slot + j)
        self._run(np.array(sorted(n for n in needed if values[n].op != INPUT), np.int32))
        for w in wanted:
            for j in range(w.cells):
                self._out_rows += (w.place + j, w.value.slot + j)
            if not w.cells:
                self._out_planes += (w.place, w.value.slot)
        self._close()

    def _run(self, numbers: I32) -> None:
        """Sorts by level, then operation, then length (branches are predicted), and finds the runs."""
        keys = (self._lengths, self._ops, self._levels)
        numbers = numbers[np.lexsort((numbers, *(key[numbers] for key in keys)))]
        ops, levels = self._ops[numbers], self._levels[numbers]
        edges = np.flatnonzero((np.diff(ops) != 0) | (np.diff(levels) != 0)) + 1
        ends = [0, *edges.tolist(), len(numbers)] if len(numbers) else [0]
        first = self._done[0]
        runs = [(int(ops[a]), first + a, first + b) for a, b in pairwise(ends)]
        self._runs.append(np.array(runs, np.int32).reshape(-1, 3))
        self._orders.append(numbers)
        self._done[0] += len(numbers)

    def _close(self) -> None:
        """Notes where the type's parts end."""
        ends = [
            self._done[1] + len(self._runs[-1]),
            len(self._loads),
            len(self._out_rows),
            len(self._out_planes),
        ]
        for part, end in enumerate(ends):
            self._spans[self._kind, 2 * part : 2 * part + 2] = self._done[part + 1], end
            self._done[part + 1] = end
        self._kind += 1

    def tables(self, values: int, conditions: int) -> Tables:
        """The tables of all types added, for so many columns of values and conditions."""
        b = self._builder
        order = np.concatenate(self._orders)
        return Tables(
            spans=self._spans,
            runs=np.concatenate(self._runs),
            ins=b.settled(b.ins).reshape(-1, 4)[order],
            imm=np.array(b.imm, np.int64)[order],
            lits=b.settled(b.lits),
            pool=np.array(b.pool, np.int64),
            loads=np.array(self._loads, np.uint32),
            out_rows=np.array(self._out_rows, np.uint32),
            out_planes=b.settled(self._out_planes),
            rows=b.rows,
            planes=b.tests + b.formulas,
            values=values,
            conditions=conditions,
        )
