"""Decision tables as CSV: RFC 4180, with `,`, `;` or tabs between the cells, and a byte-order mark if need be."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from engine.compiler.characters import not_utf8
from engine.compiler.model import Position
from engine.compiler.source import Finding
from engine.compiler.tables.grid import FILE_BYTES_MAX, Cell, Grid, Read, Row, limited, refused, trimmed

SEPARATORS = ",;\t"
_LINE_BREAK = re.compile(r"\r\n|\r")
_OUTPUT = re.compile(r"\s*out\s*:")


class _Piece(NamedTuple):
    """A cell's text and its place in the file's text, quotes included."""

    text: str
    start: int
    end: int


def read_csv(path: str, content: bytes) -> Read:
    """The grid of a CSV file. Raises nothing."""
    if len(content) > FILE_BYTES_MAX:
        message = f"the file has {len(content)} bytes; at most {FILE_BYTES_MAX} are read"
        return refused(path, "table-too-large", message)
    try:
        text = _LINE_BREAK.sub("\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        message = not_utf8(content, error.start)
        hint = "save it as 'CSV UTF-8', or keep the table as XLSX"
        return Read(None, [Finding("not-utf8", Position(path, line, column), 1, message, hint=hint)])
    pieces = _records(text, _separator(text))
    if pieces is None:
        line, start = _open_quote(text)
        message = "a quote that is not closed, or text behind a closing quote"
        hint = 'inside a quoted cell, a quote is written twice: `"say ""yes"""`'
        line_text = text.split("\n")[line - 1]
        at = Position(path, line, start)
        return Read(None, [Finding("table-csv", at, 1, message, hint=hint, line_text=line_text)])
    grid = Grid(path, "", _rows(text, pieces))
    findings = limited(grid)
    return Read(None if findings else grid, findings)


def write_csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Rows of texts as CSV with commas and line feeds, in UTF-8, all rows as long as the longest."""
    stream = io.StringIO()
    width = max(map(len, rows), default=0)
    csv.writer(stream, lineterminator="\n").writerows([*row, *[""] * (width - len(row))] for row in rows)
    return stream.getvalue().encode()


def _separator(text: str) -> str:
    """What stands between the cells: the one that makes most cells of the header, an `out:` among them."""
    header = next((line for line in text.split("\n") if line.strip(SEPARATORS + " ")), "")

    def cells(separator: str) -> int:
        records = _records(header, separator) or [[]]
        return len(records[0]) if any(_OUTPUT.match(p.text) for p in records[0]) else 0

    return max(SEPARATORS, key=cells)


def _records(text: str, separator: str) -> list[list[_Piece]] | None:
    """The records of a CSV text; None where its quotes cannot be read."""
    records: list[list[_Piece]] = []
    record: list[_Piece] = []
    bare = re.compile(rf"[^{separator}\n]*")
    quoted = re.compile(rf' *"((?:[^"]|"")*)" *(?=[{separator}\n]|\Z)')
    at = 0
    while at < len(text) or record:
        match = quoted.match(text, at)
        if match:
            record.append(_Piece(match[1].replace('""', '"'), at, match.end()))
        else:
            match = bare.match(text, at)
            assert match is not None
            if match[0].lstrip().startswith('"'):
                return None
            record.append(_Piece(match[0], at, match.end()))
        at = match.end()
        if text[at : at + 1] != separator:
            records.append(record)
            record = []
        at += 1
    return records


def _open_quote(text: str) -> tuple[int, int]:
    """Line and column of the last cell that begins with a quote."""
    starts = [m.end() for m in re.finditer(r'(?:^|[,;\t\n])[ ]*(?=")', text)]
    at = starts[-1] if starts else 0
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _rows(text: str, records: list[list[_Piece]]) -> tuple[Row, ...]:
    kept = trimmed([p.text for p in record] for record in records)
    rows: list[Row] = []
    line, at = 1, 0
    for number, (texts, record) in enumerate(zip(kept, records, strict=False), 1):
        begin, end = record[0].start, record[-1].end
        line += text.count("\n", at, begin)
        at = begin
        line_text = text[begin:end].split("\n", 1)[0]
        cells = tuple(
            Cell(p.text, number, column, p.start - begin, p.end - begin)
            for column, p in enumerate(record[: len(texts)], 1)
        )
        rows.append(Row(number, line, line_text, cells))
    return tuple(rows)
