"""A decision table before its inputs have types: header, rows, outputs, hit policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.compiler.model import Position
from engine.compiler.nodes import Type
from engine.compiler.source import Finding
from engine.compiler.tables.grid import Cell, Grid, Row
from engine.compiler.tables.literals import OUTPUT_TYPES, Bad, guess, literal, way_to_write

HITS = ("unique", "first", "priority", "collect")
COLLECTS = ("list", "sum", "minimum", "maximum", "count")
_OUTPUT = re.compile(r"\s*out\s*:\s*(.*?)\s*", re.I | re.S)
_OUTPUT_NAME = re.compile(rf"([A-Za-z_]\w*)(?:\s+({'|'.join(OUTPUT_TYPES)}))?", re.A)
_LIKE_OUTPUT = re.compile(r"\s*(?:out|outputs?|results?)\b\s*:?\s*([A-Za-z_]\w*)\s*", re.I)
_NOTES = ("notes", "comment", "comments", "remark", "remarks")
_KEYWORDS = ("true", "false", "null", "in")


@dataclass(frozen=True, slots=True)
class Input:
    """A column whose header is an expression."""

    cell: Cell
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A column `out: name`: one constant of `type` per row."""

    cell: Cell
    name: str
    type: Type
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` are those below the header that are not blank. `collect` is "" but for the policy collect.

    `default` and `priority` (best first) are by output's name. A table that is not `sound` has findings already:
    its tests are read only to tell what is wrong with them too.
    """

    grid: Grid
    hit: str
    collect: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    rows: tuple[Row, ...]
    default: Mapping[str, object]
    priority: Mapping[str, tuple[object, ...]]
    sound: bool


@dataclass(frozen=True, slots=True)
class Header:
    """`outputs` are name, wanted type or None, and cell."""

    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, Type | None, Cell], ...]
    rows: tuple[Row, ...]


def read_header(grid: Grid, findings: list[Finding]) -> Header | None:
    """The header of a grid: its first row that is not blank."""
    filled = [row for row in grid.rows if not row.blank]
    if not filled:
        hint = "the first row holds expressions and `out: name`"
        findings.append(Finding("table-header", Position(grid.path, 1, 1), 1, "the table is empty", hint=hint))
        return None
    if not _has_output(filled[0]) and any(map(_has_output, filled[1:5])):
        message = "the first row must be the header, and this is none"
        hint = "delete what stands above the header, or put it into a column `note`"
        findings.append(grid.finding("table-header", filled[0].cells[0], message, found=filled[0].line_text, hint=hint))
        return None
    before = len(findings)
    inputs: list[Input] = []
    outputs: dict[str, tuple[str, Type | None, Cell]] = {}
    for cell in filled[0].cells:
        text = cell.text.strip()
        if not text:
            below = (row.cell(cell.column) for row in filled[1:])
            used = next((c for c in below if c.text.strip()), None)
            if used is not None:
                hint = "write an expression, `out: name` or `note` above it"
                findings.append(grid.finding("table-header", used, "this column has no header", hint=hint))
        elif output := _OUTPUT.fullmatch(cell.text):
            name = _OUTPUT_NAME.fullmatch(output[1])
            if name is None or name[1] in _KEYWORDS:
                expected = f"`out: name` or `out: name type`, the type one of {', '.join(OUTPUT_TYPES)}"
                findings.append(grid.finding("table-header", cell, "an output without a fit name", expected=expected))
            elif name[1] in outputs:
                message = f"the output '{name[1]}' stands twice in the header"
                findings.append(grid.finding("table-header", cell, message, also=outputs[name[1]][2]))
            else:
                outputs[name[1]] = (name[1], Type(name[2]) if name[2] else None, cell)
        elif (like := _LIKE_OUTPUT.fullmatch(text)) or text.lower() in _NOTES:
            hint = f"write `out: {like[1]}`" if like else "write `note`"
            findings.append(grid.finding("table-header", cell, f"`{text}` heads no column", hint=hint))
        elif text.lower() != "note":
            inputs.append(Input(cell, text))
    if not outputs and len(findings) == before:
        message = "the header has no output"
        hint = "write `out: name` above the column with the results"
        findings.append(grid.finding("table-header", filled[0].cells[0], message, hint=hint))
    if not inputs and len(findings) == before:
        message = "the header has no input"
        hint = "write an expression such as `features.x` above the column with the tests"
        findings.append(grid.finding("table-header", filled[0].cells[0], message, hint=hint))
    if len(filled) == 1 and len(findings) == before:
        findings.append(grid.finding("table-header", filled[0].cells[0], "the table has a header and no rows"))
    width = len(filled[0].cells)
    for row in filled[1:]:
        findings += [
            grid.finding("table-header", cell, "this column has no header", hint="write one, or empty the cell")
            for cell in row.cells[width:]
            if cell.text.strip()
        ][:1]
    if len(findings) > before:
        return None
    return Header(tuple(inputs), tuple(outputs.values()), tuple(filled[1:]))


def _has_output(row: Row) -> bool:
    return any(_OUTPUT.fullmatch(cell.text) for cell in row.cells)


def read_outputs(grid: Grid, header: Header, findings: list[Finding]) -> tuple[Output, ...]:
    """The output columns with their types; what cannot be read is told and its column left out."""
    result = []
    for name, wanted, head in header.outputs:
        cells = [row.cell(head.column) for row in header.rows]
        before = len(findings)
        for cell in cells:
            if not cell.text.strip():
                hint = 'write the result; an empty text is `""`'
                findings.append(grid.finding("table-empty-cell", cell, f"no result for '{name}'", hint=hint))
        kind = wanted or _type(grid, name, cells, findings)
        values = []
        if len(findings) == before:
            for cell in cells:
                try:
                    values.append(literal(cell.text, kind))
                except Bad as bad:
                    findings.append(told(grid, cell, bad, "table-output"))
        if len(findings) == before:
            result.append(Output(head, name, kind, tuple(values)))
    return tuple(result)


def _type(grid: Grid, name: str, cells: list[Cell], findings: list[Finding]) -> Type:
    """The one type of an output's cells; the first of those that look like another, the fewest, is told."""
    seen: dict[Type, list[Cell]] = {}
    for cell in cells:
        text = cell.text.strip()
        if text:
            seen.setdefault(guess(text), []).append(cell)
    kinds = set(seen)
    if kinds == {Type.INTEGER, Type.NUMBER}:
        return Type.NUMBER
    if len(kinds) <= 1:
        return next(iter(kinds), Type.TEXT)
    usual = max(seen, key=lambda kind: len(seen[kind]))
    odd = min((found for kind, found in seen.items() if kind is not usual), key=len)[0]
    listed = " and ".join(sorted(f"{kind} ({found[0].name})" for kind, found in seen.items()))
    message = f"the results of '{name}' are not of one type"
    hint = f'as a text it is written "{odd.text.strip()}"' if usual is Type.TEXT else way_to_write(odd.text, usual)
    findings.append(grid.finding("table-output", odd, message, found=listed, expected="one type", hint=hint))
    return Type.TEXT


def told(grid: Grid, cell: Cell, bad: Bad, code: str) -> Finding:
    """What is wrong with a cell's text."""
    return grid.finding(code, cell, str(bad), found=cell.text.strip(), expected=bad.expected, hint=bad.hint)
