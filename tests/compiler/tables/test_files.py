"""Table files: CSV and XLSX give the same grid, hostile files are refused, a round trip loses nothing."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from engine.compiler.tables.csv_file import read_csv, write_csv
from engine.compiler.tables.grid import Grid, Read
from engine.compiler.tables.xlsx_file import read_xlsx, write_xlsx


def texts(read: Read) -> list[list[str]]:
    assert read.findings == []
    assert read.grid is not None
    return [[cell.text for cell in row.cells] for row in read.grid.rows]


def only(read: Read) -> str:
    """`code line:column message` of the single finding."""
    (finding,) = read.findings
    return f"{finding.code} {finding.position.line}:{finding.position.column} {finding.message}"


def book(*sheets: tuple[str, list[list[object]]]) -> Workbook:
    workbook = Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets:
        page = workbook.create_sheet(name)
        for row in rows:
            page.append(row)
    return workbook


def saved(workbook: Workbook) -> bytes:
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"features.a,out: b\n1,x\n",
        b"features.a;out: b\r\n1;x\r\n",
        b"features.a\tout: b\r1\tx",
        b"\xef\xbb\xbffeatures.a,out: b\n1,x\n",
        b'"features.a","out: b"\n"1" , x\n'.replace(b" , x", b",x"),
        b"features.a,out: b,,\n1,x,,\n,,,\n\n",
    ],
)
def test_csv_as_programs_write_it(content: bytes) -> None:
    assert texts(read_csv("t.csv", content)) == [["features.a", "out: b"], ["1", "x"]]


def test_csv_cells_know_where_they_stand() -> None:
    read = read_csv("t.csv", b'"ratio(a, b)",out: b\n"say ""x""\nand y",1\nz,2\n')
    assert read.grid is not None
    places = [(c.text, c.name, read.grid.position(c).line, c.start) for row in read.grid.rows for c in row.cells]
    assert places == [
        ("ratio(a, b)", "A1", 1, 0),
        ("out: b", "B1", 1, 14),
        ('say "x"\nand y', "A2", 2, 0),
        ("1", "B2", 2, 18),
        ("z", "A3", 4, 0),
        ("2", "B3", 4, 2),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,out: b\n\xe9,x\n", "not-utf8 2:1 not UTF-8: the byte 0xE9"),
        (b"\xff\xfea\0,\0", "not-utf8 1:1 not UTF-8: the file says that it is UTF-16"),
        (b'a,out: b\n"x,y\n', "table-csv 2:1 a quote that is not closed, or text behind a closing quote"),
        (b'a,out: b\nx,"y" z\n', "table-csv 2:3 a quote that is not closed, or text behind a closing quote"),
        (b"a,out: b\nx,\x01\n", "table-character 2:3 cell B2: the character U+0001 is not allowed in a table"),
        (b"a,out: b\n" + b"1,x\n" * 2000, "table-too-large 2001:1 cell A2001: a table has at most 2000 rows"),
        (b"a," * 64 + b"out: b\n", "table-too-large 1:129 cell BM1: a table has at most 64 columns"),
        (
            b"a,out: b\n" + b"x" * 1001 + b",y\n",
            "table-too-large 2:1 cell A2: 1001 characters in a cell; at most 1000 are read",
        ),
    ],
)
def test_csv_that_is_refused(content: bytes, expected: str) -> None:
    assert only(read_csv("t.csv", content)) == expected


def test_a_workbook_as_spreadsheets_write_it() -> None:
    workbook = book(
        ("Notes", []),
        (
            "Paying",
            [
                ["features.a", "out: b"],
                [1.0, True],
                [0.25, date(2026, 3, 1)],
                [0.05, datetime(2026, 3, 1, 9, 30)],
                [None, None],
            ],
        ),
    )
    page = workbook["Paying"]
    page["A4"].number_format = "0%"
    page["F9"].number_format = "0.00"  # formatted, and empty
    read = read_xlsx("t.xlsx", saved(workbook))
    assert texts(read) == [
        ["features.a", "out: b"],
        ["1", "true"],
        ["0.25", "2026-03-01"],
        ["5%", "2026-03-01T09:30:00"],
    ]
    assert isinstance(read.grid, Grid)
    assert read.grid.sheet == "Paying"


def test_the_sheet_is_named_where_there_are_several() -> None:
    content = saved(book(("A", [["features.a", "out: b"]]), ("B", [["features.b", "out: b"]])))
    assert only(read_xlsx("t.xlsx", content)) == "table-file 1:1 it has several sheets: 'A', 'B'"
    assert texts(read_xlsx("t.xlsx", content, "B")) == [["features.b", "out: b"]]
    read = read_xlsx("t.xlsx", content, "C")
    assert only(read) == "table-file 1:1 there is no sheet 'C'"


def test_formulas_and_merged_cells_are_told() -> None:
    workbook = book(("S", [["features.a", "out: b"], ["=>6", "x"], ["1", "=1+1"], ["2", "y"], ["", "z"]]))
    workbook["S"].merge_cells("A4:A5")
    read = read_xlsx("t.xlsx", saved(workbook))
    assert read.grid is None
    assert [f"{f.code} {f.message}" for f in read.findings] == [
        "table-formula sheet 'S', cell A2: a formula without a value",
        "table-formula sheet 'S', cell B3: a formula without a value",
        "table-merged sheet 'S', cell A4: the cells A4:A5 are merged: only the first of them has a value",
    ]


def parts(content: bytes, **changes: bytes) -> bytes:
    """A workbook with parts replaced or added; `__` stands for `/`, `_dot_` for `.`."""
    stream = io.BytesIO()
    renamed = {name.replace("__", "/").replace("_dot_", "."): data for name, data in changes.items()}
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename not in renamed:
                new.writestr(info.filename, old.read(info))
        for name, data in renamed.items():
            new.writestr(name, data)
    return stream.getvalue()


PLAIN = saved(book(("S", [["features.a", "out: b"], ["1", "x"]])))
SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
LAUGH = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK not a zip", "not an XLSX file"),
        (PLAIN[:-100], "not an XLSX file"),
        (parts(PLAIN, xl__vbaProject_dot_bin=b"x"), "it has macros, which are not read"),
        (
            parts(PLAIN, xl__externalLinks__externalLink1_dot_xml=b"<a/>"),
            "it has links to other files, which are not read",
        ),
        (parts(PLAIN, xl__media__a_dot_png=b"\0" * (17 << 20)), "it unpacks to more than a table needs"),
        (parts(PLAIN, xl__sharedStrings_dot_xml=LAUGH), "not a plain XLSX file: its XML is not that of a spreadsheet"),
        (
            parts(PLAIN, xl__sharedStrings_dot_xml=LAUGH.decode().encode("utf-16")),
            "not a plain XLSX file: its XML is not that of a spreadsheet",
        ),
        (parts(PLAIN, xl__worksheets__sheet1_dot_xml=b"<a><b></a>"), "not a readable XLSX file (ParseError)"),
        (
            parts(PLAIN, xl__worksheets__sheet1_dot_xml=SHEET % b'<row r="99999999999"/>'),
            "a cell in row 99999999999 is far from the table",
        ),
        (
            parts(PLAIN, xl__worksheets__sheet1_dot_xml=SHEET % b'<row r="1"><c r="XFD1"/></row>'),
            "a cell in XFD1 is far from the table",
        ),
        (
            parts(PLAIN, xl__worksheets__sheet1_dot_xml=SHEET % b'<row r="2001"><c r="A2001"><v>1</v></c></row>'),
            "row 2001 of sheet 'S' is filled; a table has at most 2000 rows",
        ),
    ],
)
def test_hostile_and_broken_workbooks_are_refused(content: bytes, message: str) -> None:
    assert only(read_xlsx("t.xlsx", content)) == f"table-file 1:1 {message}"


def test_a_file_has_a_limit() -> None:
    for read in (read_csv("t.csv", b"x" * (1 << 20) + b"x"), read_xlsx("t.xlsx", b"x" * (1 << 20) + b"x")):
        assert only(read) == "table-too-large 1:1 the file has 1048577 bytes; at most 1048576 are read"


CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t=-\"',;%"), max_size=12
)
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5).map(
    lambda rows: [["features.a", "out: b"], *rows]
)


def cut(rows: list[list[str]]) -> list[list[str]]:
    """Without what is blank at the ends, which no file keeps."""
    result = [row[: max((i + 1 for i, text in enumerate(row) if text.strip()), default=0)] for row in rows]
    while not result[-1]:
        result.pop()
    return result


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_a_round_trip_loses_nothing(rows: list[list[str]]) -> None:
    written = write_csv(rows)
    from_csv = texts(read_csv("t.csv", written))
    from_xlsx = texts(read_xlsx("t.xlsx", write_xlsx(from_csv)))
    assert from_csv == from_xlsx == cut(rows)
    assert write_csv(from_xlsx) == write_csv(from_csv)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.text(st.sampled_from('a",;\n\t \r: out'), max_size=40).map(str.encode))
def test_no_bytes_break_the_csv_reader(content: bytes) -> None:
    read = read_csv("t.csv", content)
    assert (read.grid is None) == bool(read.findings)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255))
def test_no_damage_breaks_the_workbook_reader(at: int, byte: int) -> None:
    read = read_xlsx("t.xlsx", PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :])
    assert (read.grid is None) == any(f.severity == "error" for f in read.findings)


def test_a_workbook_is_the_same_bytes_whenever_it_is_written() -> None:
    rows = [["features.a", "out: b"], ["=>6", "1-3"]]
    assert write_xlsx(rows) == write_xlsx(rows)
    assert texts(read_xlsx("t.xlsx", write_xlsx(rows))) == rows
