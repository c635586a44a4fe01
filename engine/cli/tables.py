"""`tact table convert`: a decision table from CSV to XLSX and back, losing nothing."""

from __future__ import annotations

from pathlib import Path

from engine.cli.output import FAILED, OK, CommandError, out, print_findings, print_json
from engine.compiler.source import ERROR
from engine.compiler.tables.csv_file import read_csv, write_csv
from engine.compiler.tables.grid import FILE_BYTES_MAX, Read
from engine.compiler.tables.xlsx_file import SHEET_DEFAULT, read_xlsx, write_xlsx

_SHEET_FORBIDDEN = set("[]:*?/\\")


def convert(source: Path, target: Path, sheet: str, force: bool, as_json: bool) -> int:
    """Writes `target` in the format of its name; 1 where the source has findings. Raises CommandError."""
    for path in (source, target):
        if path.suffix.lower() not in (".csv", ".xlsx"):
            raise CommandError(f"{path}: a table is a .csv or .xlsx file", 2)
    if target.exists() and not force:
        raise CommandError(f"{target} is there already: --force writes over it", 2)
    if sheet and (len(sheet) > 31 or _SHEET_FORBIDDEN & set(sheet)):
        raise CommandError("a sheet's name has at most 31 characters, and none of []:*?/\\", 2)
    try:
        with source.open("rb") as stream:
            read = _read(source, stream.read(FILE_BYTES_MAX + 1), sheet)
        if read.grid is None:
            print_findings(read.findings)
            return FAILED
        print_findings(f for f in read.findings if f.severity != ERROR)
        rows = [[cell.text for cell in row.cells] for row in read.grid.rows]
        name = sheet or read.grid.sheet or SHEET_DEFAULT
        target.write_bytes(write_csv(rows) if target.suffix.lower() == ".csv" else write_xlsx(rows, name))
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    if as_json:
        print_json({"source": str(source), "target": str(target), "rows": len(rows)})
    else:
        out().print(f"{target}: {len(rows)} rows", style="green", soft_wrap=True)
    return OK


def _read(path: Path, content: bytes, sheet: str) -> Read:
    if path.suffix.lower() == ".csv":
        return read_csv(str(path), content)
    return read_xlsx(str(path), content, sheet)
