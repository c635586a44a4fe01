"""What is wrong with a table as a whole, found before it is deployed: overlaps, gaps, rows that never match.

Exact, by the cells between the constants that each column mentions, as if inputs were independent of one
another. The work is bounded; where it would be too much, that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.compiler.nodes import Node
from engine.compiler.source import WARNING, Finding
from engine.compiler.tables.compiling import Column, ranked
from engine.compiler.tables.regions import Axis, Bounds, axis_of
from engine.compiler.tables.table import Table
from engine.compiler.tables.unary import at_missing

STEPS_MAX = 300_000
_TOLD_MAX = 10


class _TooMuch(Exception):
    """The work would exceed the limit."""


class _Space(NamedTuple):
    """Axes with the columns that lie on them; per row and axis the regions where it is true, and true or an error."""

    axes: tuple[Axis, ...]
    names: tuple[str, ...]
    full: tuple[int, ...]
    true: tuple[tuple[int, ...], ...]
    reach: tuple[tuple[int, ...], ...]

    def example(self, regions: Sequence[int]) -> str:
        """Inputs within the regions, in words."""
        pairs = zip(self.names, self.axes, regions, strict=True)
        return ", ".join(f"{name} = {axis.example(region)}" for name, axis, region in pairs)


def analyse(table: Table, columns: Sequence[Column], bounds: Callable[[Node], Bounds]) -> list[Finding]:
    """Findings about the rows as a whole."""
    space = _space(table, columns, bounds)
    findings, able = _impossible(table, space)
    if table.hit == "unique":
        findings += _overlaps(table, space, able)
    try:
        search = _Search(space)
        if table.hit in ("first", "priority"):
            findings += _never(table, space, search, able)
        if table.collect not in ("list", "sum", "count"):
            findings += _gap(table, space, search)
    except _TooMuch:
        message = "the table is too large to look for gaps and for rows that never match"
        hint = "split it, or use fewer different constants"
        head = table.inputs[0].cell
        findings.append(table.grid.finding("table-not-checked", head, message, hint=hint, severity=WARNING))
    return findings


def _space(table: Table, columns: Sequence[Column], bounds: Callable[[Node], Bounds]) -> _Space:
    groups: dict[Node, list[Column]] = {}
    names: dict[Node, str] = {}
    for column, head in zip(columns, table.inputs, strict=True):
        groups.setdefault(column.node, []).append(column)
        names.setdefault(column.node, head.text)
    axes = [axis_of(n.type, (t for c in group for t in c.tests), bounds(n)) for n, group in groups.items()]
    full, true, reach = [], [], []
    for axis, group in zip(axes, groups.values(), strict=True):
        asked = any(column.asked for column in group)
        full.append(axis.possible | (axis.missing if asked else 0))
        true_here, reach_here = [], []
        for row in range(len(table.rows)):
            t = r = full[-1]
            for column in group:
                test = column.tests[row]
                region = axis.region(test)
                empty = at_missing(test)
                error = empty is None and (table.hit == "first" or not column.asked)
                t &= region | (axis.missing if empty else 0)
                r &= region | (axis.missing if empty or error else 0)
            true_here.append(t)
            reach_here.append(r)
        true.append(true_here)
        reach.append(reach_here)
    return _Space(
        tuple(axes), tuple(names.values()), tuple(full),
        tuple(zip(*true, strict=True)), tuple(zip(*reach, strict=True)),
    )  # fmt: skip


def _impossible(table: Table, space: _Space) -> tuple[list[Finding], list[int]]:
    """Rows with a test that no value passes; and the others."""
    findings, able = [], []
    for i, row in enumerate(table.rows):
        axis = next((a for a, region in enumerate(space.true[i]) if not region), None)
        if axis is None:
            able.append(i)
            continue
        head = next(head for head in table.inputs if head.text == space.names[axis])
        cell = row.cell(head.cell.column)
        message = f"row {row.number} can never match: no value of `{head.text}` passes `{cell.text.strip()}`"
        findings.append(table.grid.finding("table-row-never", cell, message, severity=WARNING))
    return findings[:_TOLD_MAX], able


def _overlaps(table: Table, space: _Space, able: Sequence[int]) -> list[Finding]:
    findings: list[Finding] = []
    for k, i in enumerate(able):
        mine = space.true[i]
        for j in able[:k]:
            shared = [a & b for a, b in zip(mine, space.true[j], strict=True)]
            if not all(shared):
                continue
            row, other = table.rows[i], table.rows[j]
            findings.append(
                table.grid.finding(
                    "table-overlap",
                    row.cells[0],
                    f"rows {other.number} and {row.number} match the same inputs",
                    found=space.example(shared),
                    hint="the hit policy is unique: make one of them narrower, or say `hit: first`",
                    also=other.cells[0],
                )
            )
            if len(findings) == _TOLD_MAX:
                return findings
    return findings


def _never(table: Table, space: _Space, search: _Search, able: Sequence[int]) -> list[Finding]:
    """Rows for which nothing is left by those that are asked before them."""
    known, before = set(able), 0
    asked: list[int] = []
    never: list[tuple[int, int]] = []  # row, how many are asked before it
    for i in (i for i in ranked(table) if i in known):
        if search.free(before, space.true[i]) is None:
            never.append((i, len(asked)))
        before |= 1 << i
        asked.append(i)
    return [_shadowed(table, space, i, asked[:count]) for i, count in sorted(never)[:_TOLD_MAX]]


def _shadowed(table: Table, space: _Space, i: int, asked: Sequence[int]) -> Finding:
    """The finding about a row that is never reached, with the one row that hides it where there is one."""
    row = table.rows[i]
    for j in asked:
        other = table.rows[j]
        if not all(a & ~b == 0 for a, b in zip(space.true[i], space.reach[j], strict=True)):
            continue
        hint = f"move row {row.number} above row {other.number}, or remove it"
        if space.true[i] == space.true[j]:
            same = all(output.values[i] == output.values[j] for output in table.outputs)
            told = "repeats" if same else "contradicts"
            message = f"row {row.number} {told} row {other.number}, which is asked before it"
            hint = f"remove row {row.number}" if same else "make one of them narrower"
        elif all(a & ~b == 0 for a, b in zip(space.true[i], space.true[j], strict=True)):
            message = f"row {row.number} can never match: row {other.number} matches first wherever it would"
        else:
            message = f"row {row.number} can never match: without the input, row {other.number} is an error before it"
        return table.grid.finding(
            "table-row-never", row.cells[0], message, hint=hint, also=other.cells[0], severity=WARNING
        )
    message = f"row {row.number} can never match: the rows asked before it leave nothing for it"
    return table.grid.finding(
        "table-row-never", row.cells[0], message, hint="remove it, or move it up", severity=WARNING
    )


def _gap(table: Table, space: _Space, search: _Search) -> list[Finding]:
    lacking = [output for output in table.outputs if output.name not in table.default]
    if not lacking:
        return []
    free = search.free((1 << len(table.rows)) - 1, space.full)
    if free is None:
        return []
    regions = [*free, *space.full[len(free) :]]
    names = ", ".join(f"{output.name}: .." for output in lacking)
    message = "no row matches some inputs, and there is no default: the result is then an error"
    return [
        table.grid.finding(
            "table-gap", lacking[0].cell, message, found=space.example(regions), severity=WARNING,
            hint=f"add a row with `-` at the end, or `default: {{{names}}}`",
        )
    ]  # fmt: skip


class _Search:
    """Finds inputs that none of some rows reaches."""

    def __init__(self, space: _Space) -> None:
        self._axes = space.axes
        self._steps = 0
        self._touched: list[dict[int, int]] = []  # per axis, position -> the rows that reach it, as bits
        for a, axis in enumerate(space.axes):
            everywhere = 0
            touched: dict[int, int] = {}
            for i, regions in enumerate(space.reach):
                if regions[a] == space.full[a]:
                    everywhere |= 1 << i
                    continue
                for position in axis.positions(regions[a]):
                    self._step()
                    touched[position] = touched.get(position, 0) | 1 << i
            self._touched.append({p: touched.get(p, 0) | everywhere for p in axis.positions(space.full[a])})

    def free(self, rows: int, within: Sequence[int]) -> tuple[int, ...] | None:
        """Positions, for some of the first axes, that no row of `rows` reaches; the other axes are then free."""
        dead: set[tuple[int, int]] = set()

        def look(axis: int, alive: int) -> tuple[int, ...] | None:
            if not alive:
                return ()
            if axis == len(self._axes) or (axis, alive) in dead:
                return None
            tried: set[int] = set()
            touched = self._touched[axis]
            for position in self._axes[axis].positions(within[axis]):
                self._step()
                left = alive & touched[position]
                if left in tried:
                    continue
                tried.add(left)
                found = look(axis + 1, left)
                if found is not None:
                    return (position, *found)
            dead.add((axis, alive))
            return None

        return look(0, rows)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise _TooMuch
