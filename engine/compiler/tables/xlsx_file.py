"""Decision tables as XLSX, read by openpyxl; files are looked through first, because they may be hostile.

Every XML part must be small, plain UTF-8 and without a document type; macros and links to other files are refused.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple
from xml.etree import ElementTree

from engine.compiler.source import WARNING, Finding, did_you_mean
from engine.compiler.tables.grid import (
    COLUMNS_MAX,
    FILE_BYTES_MAX,
    ROWS_MAX,
    Cell,
    Grid,
    Read,
    Row,
    limited,
    refused,
    trimmed,
)

PARTS_MAX = 200
UNZIPPED_BYTES_MAX = 16 << 20
_ROW_MAX = 20_000  # formatted but empty rows below a table are common
SHEET_DEFAULT = "Table"
_GAP = ", "
_FIRST_STAMP = (1980, 1, 1, 0, 0, 0)  # the same table is the same bytes whenever it is written
_ENCODING = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9_.-]+)[\"']")
_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_FORBIDDEN = {"vbaproject.bin": "macros", "externallinks": "links to other files"}


class _Look(NamedTuple):
    """What openpyxl does not tell of a sheet when it streams: merged ranges and cells with formulas."""

    merged: list[str]
    formulas: dict[str, str]  # as they are typed, by cell


class _Refused(Exception):
    """The file is not read: a message, and a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def read_xlsx(path: str, content: bytes, sheet: str = "") -> Read:
    """The grid of one sheet; without `sheet` the only one that has something in it. Raises nothing."""
    if len(content) > FILE_BYTES_MAX:
        message = f"the file has {len(content)} bytes; at most {FILE_BYTES_MAX} are read"
        return refused(path, "table-too-large", message)
    try:
        looks = _look(content)
        name, rows = _values(content, sheet, looks)
    except _Refused as error:
        return refused(path, "table-file", str(error), error.hint)
    except Exception as error:  # openpyxl and the XML parser raise whatever a damaged part leads them to
        message = f"not a readable XLSX file ({type(error).__name__})"
        return refused(path, "table-file", message, "save it again as .xlsx, or as CSV")
    grid = Grid(path, name, _rows(trimmed(rows)))
    findings = limited(grid)
    if not findings:
        findings = _told(grid, looks[name])
    return Read(None if any(f.severity == "error" for f in findings) else grid, findings)


def write_xlsx(rows: Sequence[Sequence[str]], sheet: str = SHEET_DEFAULT) -> bytes:
    """Rows of texts as a workbook of one sheet. All cells are of format Text, so nothing is ever reinterpreted."""
    from openpyxl import Workbook
    from openpyxl.utils import get_column_letter

    book = Workbook()
    page: Any = book.active
    page.title = sheet
    page.freeze_panes = "A2"
    for r, texts in enumerate(rows, 1):
        for c, text in enumerate(texts, 1):
            if text:
                cell = page.cell(r, c)
                cell.value = text
                cell.data_type = "s"
                cell.number_format = "@"
    for c in range(1, max((len(r) for r in rows), default=0) + 1):
        width = max((len(r[c - 1]) for r in rows if len(r) >= c), default=0)
        page.column_dimensions[get_column_letter(c)].width = min(60, max(10, width + 2))
    book.properties.created = book.properties.modified = datetime(2000, 1, 1)
    stream = io.BytesIO()
    book.save(stream)
    return _restamped(stream.getvalue())


def _restamped(content: bytes) -> bytes:
    """The same archive without the moment of its writing."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == "docProps/core.xml":
                data = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2000-01-01T00:00:00Z", data)
            new.writestr(zipfile.ZipInfo(info.filename, _FIRST_STAMP), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _look(content: bytes) -> dict[str, _Look]:
    """Sheets by name. Raises _Refused where the file is not safe to be read."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise _Refused("not an XLSX file", "save it as 'Excel workbook (.xlsx)', or as CSV") from None
    with archive:
        infos = archive.infolist()
        if len(infos) > PARTS_MAX or sum(i.file_size for i in infos) > UNZIPPED_BYTES_MAX:
            raise _Refused("it unpacks to more than a table needs", "keep only the table in the file")
        parts: dict[str, bytes] = {}
        for info in infos:
            for word, what in _FORBIDDEN.items():
                if word in info.filename.lower():
                    raise _Refused(f"it has {what}, which are not read", "save the table alone as .xlsx")
            if info.flag_bits & 1:
                raise _Refused("it is locked with a password", "save it without one")
            if info.filename.endswith((".xml", ".rels")):
                if info.filename in parts:
                    raise _Refused("not a readable XLSX file: one part stands in it twice")
                parts[info.filename] = _plain(archive.read(info))
    return {name: _look_at(parts[part]) for name, part in _sheets(parts).items()}


def _plain(data: bytes) -> bytes:
    encoding = _ENCODING.match(data[:300])
    strange = b"\x00" in data or (encoding and encoding[1].lower() not in (b"utf-8", b"us-ascii", b"ascii"))
    if (
        strange
        or not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
        or b"<!DOCTYPE" in data
        or b"<!ENTITY" in data
    ):
        raise _Refused("not a plain XLSX file: its XML is not that of a spreadsheet", "save it again as .xlsx")
    return data


def _sheets(parts: dict[str, bytes]) -> dict[str, str]:
    """Names of the sheets to the parts that hold them."""
    links = {}
    for link in ElementTree.fromstring(parts["xl/_rels/workbook.xml.rels"]):
        target = link.get("Target", "")
        links[link.get("Id")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    found: dict[str, str] = {}
    for element in ElementTree.fromstring(parts["xl/workbook.xml"]).iter():
        if element.tag.endswith("}sheet"):
            link_id = next((v for k, v in element.attrib.items() if k.endswith("}id")), None)
            part = links.get(link_id, "")
            if part in parts and "worksheets/" in part:
                found[element.get("name", "")] = part
    return found


def _look_at(data: bytes) -> _Look:
    look = _Look([], {})
    last = 0
    for element in ElementTree.fromstring(data).iter():
        kind = element.tag.rpartition("}")[2]
        if kind == "mergeCell":
            look.merged.append(element.get("ref", ""))
        elif kind == "row":  # openpyxl fills up what is left out, so that one number can cost any time
            number = int(element.get("r", last + 1))
            if not last < number <= _ROW_MAX:
                raise _Refused(f"a cell in row {number} is far from the table", "delete what is below the table")
            last = number
        elif kind == "c":
            place = _PLACE.fullmatch(element.get("r", "A1"))
            if place is None or len(place[1]) > 2:
                raise _Refused(f"a cell in {element.get('r')} is far from the table", "delete what is beside the table")
            for formula in (e for e in element if e.tag.endswith("}f")):
                look.formulas[element.get("r", "")] = f"={formula.text or ''}"
    return look


def _values(content: bytes, sheet: str, looks: dict[str, _Look]) -> tuple[str, list[list[str]]]:
    """The chosen sheet's name and its cells as texts."""
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
    names = [name for name in book.sheetnames if name in looks]
    if sheet and sheet not in names:
        raise _Refused(f"there is no sheet '{sheet[:40]}'", did_you_mean(sheet, names) or "it has " + ", ".join(names))
    if not sheet and len(names) > 1:
        filled = [name for name in names if any(any(row) for row in _texts(book[name]))]
        if len(filled) > 1:
            listed = ", ".join(f"'{name}'" for name in filled[:5])
            raise _Refused(f"it has several sheets: {listed}", f"say which: `sheet: {filled[0]}`")
        names = filled or names
    if not names:
        raise _Refused("it has no sheet with cells")
    name = sheet or names[0]
    return name, _texts(book[name])


def _texts(page: Any) -> list[list[str]]:
    page.reset_dimensions()
    rows: list[list[str]] = []
    for number, row in enumerate(page.iter_rows(), 1):
        texts = [_text(cell) for cell in row[: COLUMNS_MAX + 1]]
        if number > ROWS_MAX and any(texts):
            raise _Refused(f"row {number} of sheet '{page.title}' is filled; a table has at most {ROWS_MAX} rows")
        if any(texts):
            rows += [[]] * (number - 1 - len(rows))
            rows.append(texts)
    return rows


def _text(cell: Any) -> str:
    """A cell as somebody would type it into a CSV file."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if "%" in (cell.number_format or ""):
            return f"{(Decimal(repr(value)) * 100).normalize():f}%"
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value).replace("\r\n", "\n").replace("\r", "\n")


def _rows(rows: list[list[str]]) -> tuple[Row, ...]:
    result = []
    for number, texts in enumerate(rows, 1):
        cells, at = [], 0
        for column, text in enumerate(texts, 1):
            cells.append(Cell(text, number, column, at, at + len(text)))
            at += len(text) + len(_GAP)
        line_text = _GAP.join(text.replace("\n", " ") for text in texts)
        result.append(Row(number, number, line_text, tuple(cells)))
    return tuple(result)


def _told(grid: Grid, look: _Look) -> list[Finding]:
    """Merged cells and formulas inside the table."""
    cells = {cell.name: cell for row in grid.rows for cell in row.cells}
    findings = []
    for merged in look.merged:
        first = merged.partition(":")[0]
        if first in cells:
            message = f"the cells {merged} are merged: only the first of them has a value"
            hint = "unmerge them and write the value into each"
            findings.append(grid.finding("table-merged", cells[first], message, hint=hint))
    for place, formula in look.formulas.items():
        cell = cells.get(place)
        if cell is not None and cell.text:
            message = "a formula: what counts is its value when the file was saved"
            hint = "paste it as a value; a test such as `=>6` is written `>= 6`"
            findings.append(grid.finding("table-formula", cell, message, found=cell.text, hint=hint, severity=WARNING))
        elif (match := _PLACE.fullmatch(place)) and int(match[2]) <= len(grid.rows):
            row = grid.rows[int(match[2]) - 1]
            column = 0
            for letter in match[1]:
                column = column * 26 + ord(letter) - 64
            message = "a formula without a value"
            hint = "write the value; a test such as `=>6` is written `>= 6`"
            findings.append(grid.finding("table-formula", row.cell(column), message, found=formula, hint=hint))
    return sorted(findings, key=lambda f: (f.position.line, f.position.column))[:20]
