"""Files to blocks of rows: CSV, JSON lines (both plain or .gz) and Parquet, piece by piece.

A block knows its rows twice: as an Arrow table, where all of it can be read at once, and one by one, where something in
it cannot, or a row must be told by its line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from engine.cli.output import USAGE, CommandError
from engine.compiler.nodes import Type

BLOCK_BYTES = 2 << 20
BLOCK_ROWS = 4000
_BLOCK_MAX = 64 << 20  # a row, or a quoted field, that does not end
_FIELD_MAX = 1 << 20
CSV, JSON, PARQUET = "csv", "json", "parquet"
_KINDS = {
    ".csv": CSV, ".tsv": CSV, ".txt": CSV, ".jsonl": JSON, ".ndjson": JSON, ".json": JSON, ".parquet": PARQUET,
    ".pq": PARQUET,
}  # fmt: skip
ARROW = {
    Type.BOOL: pa.bool_(), Type.INTEGER: pa.int64(), Type.NUMBER: pa.float64(), Type.DATE: pa.date32(),
    Type.TIME: pa.timestamp("ns", "UTC"),
}  # fmt: skip
_TRUE = [w for word in ("yes", "true", "y") for w in (word, word.upper(), word.capitalize())] + ["1"]
_FALSE = [w for word in ("no", "false", "n") for w in (word, word.upper(), word.capitalize())] + ["0"]

Row = tuple[int, dict[str, object] | str]  # its line (of Parquet its number), and its values, or what is wrong


@dataclass(slots=True)
class Block:
    """Some rows of a file. `line`: of the first; `last`: of the last; `position`: bytes up to the block's end."""

    line: int
    last: int
    position: int
    table: Callable[[], pa.Table]  # raises pa.ArrowException
    rows: Callable[[], Iterator[Row]]


def kind_of(path: Path) -> str:
    """By the file's name; JSON lines for anything else, and for standard input."""
    suffixes = [s for s in path.suffixes if s != ".gz"]
    return _KINDS.get(suffixes[-1].lower(), JSON) if suffixes else JSON


class Source:
    """A file as a context. `names`: its columns, of JSON lines those of the first hundred rows. Raises CommandError."""

    def __init__(self, path: Path, delimiter: str = ",") -> None:
        self.path = path
        self.kind = kind_of(path)
        self.delimiter = "\t" if delimiter == "," and ".tsv" in path.suffixes else delimiter
        self.types: dict[str, pa.DataType] = {}  # of columns, for what is read at once
        self.names: list[str] = []
        self.first = b""  # the first line of JSON
        self.size = 0
        self._parquet: pa.parquet.ParquetFile | None = None
        try:
            self._raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else path.open("rb")
            if str(path) != "-":
                self.size = path.stat().st_size
            self._open()
        except FileNotFoundError:
            raise CommandError(f"{path} does not exist", USAGE) from None
        except (OSError, EOFError, pa.ArrowException) as error:
            raise self._unreadable(error) from None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _unreadable(self, error: Exception) -> CommandError:
        return CommandError(f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}")

    def _open(self) -> None:
        if self.kind == PARQUET:
            self._parquet = pa.parquet.ParquetFile(self._raw)
            self.names = self._parquet.schema_arrow.names
            return
        packed = self.path.suffix == ".gz"
        self._bytes: Any = gzip.GzipFile(fileobj=self._raw) if packed else self._raw
        self._ahead = self._bytes.read(BLOCK_BYTES)
        if self._ahead.startswith(b"\xef\xbb\xbf"):
            self._ahead = self._ahead[3:]
        if self.kind == CSV:
            head, end, rest = self._ahead.partition(b"\n")
            if not head.strip():
                raise CommandError(f"{self.path} is empty: expected a header line with the columns")
            self._ahead = rest
            self._header_bytes = len(head + end)
            self.names = next(csv.reader([_text(head)], delimiter=self.delimiter), [])
            return
        self._header_bytes = 0
        known: dict[str, None] = {}
        for line in self._ahead.split(b"\n")[:100]:
            if line.strip():
                self.first = self.first or line
                found = _object(line)
                known.update(dict.fromkeys(found) if isinstance(found, dict) else {})
        self.names = list(known)

    def blocks(self, line: int = 0) -> Iterator[Block]:
        """All rows in order, but those up to a line (of Parquet a number) that were read before."""
        try:
            yield from self._parquet_blocks(line) if self.kind == PARQUET else self._text_blocks(line)
        except (OSError, EOFError, pa.ArrowException) as error:
            raise self._unreadable(error) from None

    def _parquet_blocks(self, done: int) -> Iterator[Block]:
        assert self._parquet is not None
        total = max(1, self._parquet.metadata.num_rows)
        number = 1
        for batch in self._parquet.iter_batches(BLOCK_ROWS, use_threads=False):
            first, number = number, number + batch.num_rows
            if number - 1 <= done:
                continue
            table = pa.Table.from_batches([batch])
            if first <= done:
                table, first = table.slice(done + 1 - first), done + 1
            rows = _parquet_rows(table, first)
            yield Block(first, number - 1, self.size * (number - 1) // total, lambda t=table: t, rows)  # type: ignore[misc]

    def _text_blocks(self, done: int) -> Iterator[Block]:
        line = 2 if self.kind == CSV else 1
        rest, more = self._ahead, True
        while rest or more:
            cut = self._cut(rest)
            if cut == 0 and more:
                if len(rest) > _BLOCK_MAX:
                    raise CommandError(f"{self.path}, from line {line}: a row of more than {_BLOCK_MAX >> 20} MB")
                found = self._bytes.read(BLOCK_BYTES)
                more, rest = bool(found), rest + found
                continue
            block, rest = (rest[:cut], rest[cut:]) if cut else (rest, b"")
            first, line = line, line + block.count(b"\n") + (not block.endswith(b"\n"))
            if line - 1 > done and block.strip():
                if first <= done:
                    block, first = self._without(block, first, done)
                yield Block(first, line - 1, self._raw.tell() if self.size else 0, *self._ways(block, first))

    def _cut(self, data: bytes) -> int:
        """Where the last whole row ends: behind a line's end that is not within quotes. 0: there is none."""
        at = data.rfind(b"\n", 0, 2 * BLOCK_BYTES) + 1
        while self.kind == CSV and at and data.count(b'"', 0, at) % 2:
            at = data.rfind(b"\n", 0, at - 1) + 1
        return at

    def _without(self, block: bytes, first: int, done: int) -> tuple[bytes, int]:
        for _ in range(done + 1 - first):
            block = block[block.index(b"\n") + 1 :]
        return block, done + 1

    def _ways(self, block: bytes, first: int) -> tuple[Callable[[], pa.Table], Callable[[], Iterator[Row]]]:
        if self.kind == CSV:
            return lambda: self._csv_table(block), lambda: self._csv_rows(block, first)
        return lambda: self._json_table(block), lambda: _json_rows(block, first)

    def _csv_table(self, block: bytes) -> pa.Table:
        return pa.csv.read_csv(
            io.BytesIO(block),
            pa.csv.ReadOptions(column_names=self.names, use_threads=False, block_size=len(block) + 1),
            pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=b'"' in block),
            pa.csv.ConvertOptions(
                column_types={name: self.types.get(name, pa.string()) for name in self.names},
                null_values=[""],
                strings_can_be_null=True,
                true_values=_TRUE,
                false_values=_FALSE,
            ),
        )

    def _csv_rows(self, block: bytes, first: int) -> Iterator[Row]:
        csv.field_size_limit(_FIELD_MAX)
        width, line = len(self.names), first
        try:
            text = block.decode()
        except UnicodeDecodeError:
            yield from self._not_utf8(block, first)
            return
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield first + reader.line_num - 1, f"not CSV: {error}"
                continue
            at, line = line, first + reader.line_num
            if not cells:
                continue
            if len(cells) != width:
                yield at, f"found {len(cells)} cells, expected {width} as in the header"
            else:
                yield at, dict(zip(self.names, cells, strict=True))

    def _not_utf8(self, block: bytes, first: int) -> Iterator[Row]:
        for number, line in enumerate(block.splitlines(keepends=True), first):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                yield number, f"not UTF-8 text: byte {error.start + 1} is 0x{line[error.start]:02x}"
            else:
                yield from self._csv_rows(line, number)

    def _json_table(self, block: bytes) -> pa.Table:
        schema = pa.schema(list(self.types.items()))
        return pa.json.read_json(
            io.BytesIO(block),
            pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )


def _text(line: bytes) -> str:
    try:
        return line.decode().rstrip("\r")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"the header is not UTF-8 text: byte {error.start + 1} is 0x{line[error.start]:02x}"
        ) from None


def _object(line: bytes) -> dict[str, object] | str:
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        return f"not UTF-8 text: byte {error.start + 1} is 0x{error.object[error.start]:02x}"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return "nested too deeply"
    return value if isinstance(value, dict) else f"found {type(value).__name__}, expected an object"


def _json_rows(block: bytes, first: int) -> Iterator[Row]:
    for number, line in enumerate(block.split(b"\n"), first):
        if line.strip():
            yield number, _object(line)


def _parquet_rows(table: pa.Table, first: int) -> Callable[[], Iterator[Row]]:
    return lambda: iter([(first + k, row) for k, row in enumerate(table.to_pylist())])
