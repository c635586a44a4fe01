"""A table file as rows of cells that know where they stand, whatever the file's format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.compiler.model import Position
from engine.compiler.source import ERROR, Finding

FILE_BYTES_MAX = 1 << 20
ROWS_MAX = 2_000
COLUMNS_MAX = 64
TEXT_MAX = 1_000  # characters in a cell


@dataclass(frozen=True, slots=True)
class Cell:
    """`start` and `end` enclose the cell in its row's line text; `row` and `column` count from 1."""

    text: str
    row: int
    column: int
    start: int
    end: int

    @property
    def name(self) -> str:
        """As a spreadsheet names it: `C7`."""
        letters, rest = "", self.column
        while rest:
            rest, letter = divmod(rest - 1, 26)
            letters = chr(ord("A") + letter) + letters
        return f"{letters}{self.row}"


@dataclass(frozen=True, slots=True)
class Row:
    """`line` is where it begins in the file (for XLSX the row's number)."""

    number: int
    line: int
    line_text: str
    cells: tuple[Cell, ...]

    @property
    def blank(self) -> bool:
        return not any(cell.text.strip() for cell in self.cells)

    def cell(self, column: int) -> Cell:
        """The cell in a column; an empty one where the row is shorter."""
        if column <= len(self.cells):
            return self.cells[column - 1]
        end = len(self.line_text)
        return Cell("", self.number, column, end, end + 1)


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows from the top, blank ones included; rows may have different lengths. `sheet` is "" for CSV."""

    path: str
    sheet: str
    rows: tuple[Row, ...]

    def finding(
        self,
        code: str,
        cell: Cell,
        message: str,
        *,
        found: str = "",
        expected: str = "",
        hint: str = "",
        span: tuple[int, int] | None = None,
        also: Cell | None = None,
        severity: str = ERROR,
    ) -> Finding:
        """A finding about a cell, or about the characters `span` of its text where they can be shown."""
        row = self._row(cell)
        start, end = cell.start, cell.end
        if span is not None and row.line_text[start:end] == cell.text:
            start, end = cell.start + span[0], cell.start + span[1]
        start = min(start, len(row.line_text))
        sheet = f"sheet '{self.sheet}', " if self.sheet else ""
        return Finding(
            code,
            Position(self.path, row.line, start + 1),
            max(1, min(end, len(row.line_text)) - start),
            f"{sheet}cell {cell.name}: {message}",
            found[:200],
            expected,
            hint,
            row.line_text,
            self.position(also) if also else None,
            severity,
            self._row(also).line_text if also else "",
        )

    def position(self, cell: Cell) -> Position:
        """Where a cell begins in the file."""
        return Position(self.path, self._row(cell).line, cell.start + 1)

    def written(self, cell: Cell) -> str:
        """The cell as it stands in its row's text, with its quotes."""
        return self._row(cell).line_text[cell.start : cell.end]

    def _row(self, cell: Cell) -> Row:
        return self.rows[cell.row - 1]


class Read(NamedTuple):
    """What came of a file. `grid` is None where it could not be read; warnings may stand beside one."""

    grid: Grid | None
    findings: list[Finding]


def refused(path: str, code: str, message: str, hint: str = "", found: str = "") -> Read:
    """Nothing could be read, and why."""
    return Read(None, [Finding(code, Position(path, 1, 1), 1, message, found, hint=hint)])


def trimmed(texts: Iterable[Sequence[str]]) -> list[list[str]]:
    """Rows without what is empty at their ends and at the bottom: spreadsheets leave such rests."""
    rows = [list(row) for row in texts]
    for row in rows:
        while row and not row[-1].strip():
            row.pop()
    while rows and not rows[-1]:
        rows.pop()
    return rows


def limited(grid: Grid) -> list[Finding]:
    """What is too large or cannot be written in a table, told once each."""
    if len(grid.rows) > ROWS_MAX:
        cell = next((c for row in grid.rows[ROWS_MAX:] for c in row.cells), Cell("", ROWS_MAX + 1, 1, 0, 1))
        return [grid.finding("table-too-large", cell, f"a table has at most {ROWS_MAX} rows", hint="split the table")]
    findings = []
    for cell in (c for row in grid.rows for c in row.cells):
        if cell.column > COLUMNS_MAX:
            message = f"a table has at most {COLUMNS_MAX} columns"
            return [grid.finding("table-too-large", cell, message, hint="split the table")]
        if len(cell.text) > TEXT_MAX:
            message = f"{len(cell.text)} characters in a cell; at most {TEXT_MAX} are read"
            findings.append(grid.finding("table-too-large", cell, message))
        elif bad := next((c for c in cell.text if (ord(c) < 32 and c not in "\n\t") or ord(c) in (0xFFFE, 0xFFFF)), ""):
            message = f"the character U+{ord(bad):04X} is not allowed in a table"
            findings.append(grid.finding("table-character", cell, message))
    return findings[:20]
