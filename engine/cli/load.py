"""`tact load`: profiles from a file to a running server."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
from google.protobuf.message import Message
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from engine.cli.client import Client
from engine.cli.loading import protobuf_json
from engine.cli.loading.checkpoint import Checkpoint
from engine.cli.loading.columns import Columns, Schema, mapping_of, served_schema
from engine.cli.loading.files import JSON, PARQUET, Block, Source
from engine.cli.loading.rows import BadCell, profile_of
from engine.cli.loading.send import UNDER_WAY, Sender, requests
from engine.cli.loading.tables import FlatTables, Unusual
from engine.cli.output import FAILED, OK, USAGE, CommandError, complain, counted, err, out, print_json

_TOLD_MAX = 100  # in a terminal; `--rejects` and `--json` have more
_LISTED_MAX = 10_000
_TIMED = 10_000  # profiles from which on a rate means something
_FEATURE = re.compile(r'features\["([^"]*)"\]')


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. `mapped`: COLUMN=NAME."""

    customer: str = ""
    mapped: tuple[str, ...] = ()
    delimiter: str = ","
    rejects: Path | None = None
    resume: bool = False


class _Tables(Protocol):
    types: dict[str, pa.DataType]

    def encode(self, table: pa.Table) -> tuple[bytes, list[int]]: ...


@dataclass(slots=True)
class _Part:
    """A block under way: requests without an answer, and (line, column, message) of what is wrong."""

    block: Block
    lines: list[int] | None  # of the profiles sent; None: they are those of the block
    waiting: int = 0
    wrong: list[tuple[int, str, str]] = field(default_factory=list)


class Loader:
    """One file to one server. `stored` and `wrong` are counts."""

    def __init__(self, source: Source, schema: Schema, options: Options, sender: Sender) -> None:
        self._source = source
        self._sender = sender
        self._parts: deque[_Part] = deque()
        self._requests: deque[_Part] = deque()
        self.stored = self.wrong = 0
        first = json.loads(source.first) if source.kind == JSON and _is_json(source.first) else None
        self._columns: Columns | None = None
        tables: _Tables
        if isinstance(first, dict) and protobuf_json.is_profile(first, schema):
            if options.customer or options.mapped:
                raise CommandError("the lines are Profile messages: --customer and --map are for columns", USAGE)
            tables = protobuf_json.ProfileTables(schema, source.first)
        else:
            self._columns = Columns(source.names, schema, options.customer, mapping_of(options.mapped))
            tables = FlatTables(self._columns, source.kind)
        source.types = tables.types
        self._tables = tables

    def load(self, line: int) -> Iterable[_Part]:
        """Sends what comes behind a line; the blocks that are done, in order."""
        for block in self._source.blocks(line):
            part, payload, ends = self._encoded(block)
            self._parts.append(part)
            for places, fields, cuts in requests(payload, ends):
                while len(self._sender.under_way) >= UNDER_WAY:
                    yield from self._take()
                self._sender.send(places, fields, cuts)
                self._requests.append(part)
                part.waiting += 1
            yield from self._done()
        while self._sender.under_way:
            yield from self._take()
        yield from self._done()

    def _encoded(self, block: Block) -> tuple[_Part, bytes, list[int]]:
        try:
            payload, ends = self._tables.encode(block.table())
            return _Part(block, None), payload, ends
        except (pa.ArrowException, Unusual):
            return self._one_by_one(block)

    def _one_by_one(self, block: Block) -> tuple[_Part, bytes, list[int]]:
        lines: list[int] = []
        part, fields, ends, end = _Part(block, lines), [], [], 0
        for line, row in block.rows():
            try:
                if isinstance(row, str):
                    raise BadCell("", row)
                made = protobuf_json.profile_of(row) if self._columns is None else profile_of(self._columns, row)
            except BadCell as error:
                part.wrong.append((line, error.column, str(error)))
                continue
            fields.append(_field(made))
            end += len(fields[-1])
            ends.append(end)
            lines.append(line)
        return part, b"".join(fields), ends

    def _take(self) -> Iterable[_Part]:
        sent, refused = self._sender.take()
        part = self._requests.popleft()
        part.waiting -= 1
        self.stored += len(sent.places) - len(refused)
        if refused and part.lines is None:
            part.lines = [line for line, _ in part.block.rows()]
        for place, message in refused:
            assert part.lines is not None
            part.wrong.append((part.lines[place], self._column(message), message))
        yield from self._done()

    def _done(self) -> Iterable[_Part]:
        while self._parts and not self._parts[0].waiting:
            part = self._parts.popleft()
            part.wrong.sort()
            self.wrong += len(part.wrong)
            yield part

    def _column(self, message: str) -> str:
        """The column that a refusal is about."""
        found = _FEATURE.match(message)
        if found is None or self._columns is None:
            return found[1] if found else ""
        return next((c.name for c in self._columns.used if c.target == found[1]), found[1])


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _field(message: Message) -> bytes:
    """A profile as a field of a PutProfilesRequest."""
    raw, size = message.SerializeToString(), bytearray(b"\x0a")
    left = len(raw)
    while left > 127:
        size.append(left & 127 | 128)
        left >>= 7
    size.append(left)
    return bytes(size) + raw


def run(file: Path, target: str, as_json: bool, options: Options = Options()) -> int:
    """Puts every row's profile; 1 where one was refused."""
    listed: list[dict[str, object]] = []
    with ExitStack() as stack:
        client = stack.enter_context(Client(target))
        source = stack.enter_context(Source(file, options.delimiter))
        loader = Loader(source, served_schema(client), options, Sender(client))
        checkpoint = Checkpoint(file, target)
        begin = checkpoint.read() if options.resume else 0
        rejects = stack.enter_context(_rejects(options.rejects, begin)) if options.rejects else None
        bar = stack.enter_context(_progress(as_json or str(file) == "-"))
        task = bar.add_task("loading", total=source.size or None)
        began_s = time.monotonic()
        what = "row" if source.kind == PARQUET else "line"
        try:
            for part in loader.load(begin):
                for line, column, message in part.wrong:
                    _tell(file, what, line, column, message, listed, rejects)
                checkpoint.reach(part.block.last)
                rate = loader.stored / (time.monotonic() - began_s)
                told = f"{loader.stored:,} stored, {rate:,.0f} a second"
                bar.update(task, completed=part.block.position, description=told)
        except BaseException as error:
            checkpoint.write()
            if isinstance(error, CommandError) and checkpoint.line and checkpoint.path is not None:
                go_on = (
                    f"{counted(loader.stored, 'profile')} stored; --resume goes on behind {what} {checkpoint.line:,}"
                )
                raise CommandError(f"{error}\n{go_on}", error.status) from None
            raise
        checkpoint.end()
        seconds = time.monotonic() - began_s
    _say(loader, listed, begin, seconds, as_json)
    return FAILED if loader.wrong else OK


def _rejects(path: Path, begin: int) -> IO[str]:
    try:
        return path.open("a" if begin else "w")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None


def _progress(quiet: bool) -> Progress:
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def _tell(
    file: Path,
    what: str,
    line: int,
    column: str,
    message: str,
    listed: list[dict[str, object]],
    rejects: IO[str] | None,
) -> None:
    """One bad row: in the terminal, in the file of rejects, in the list for `--json`."""
    found: dict[str, object] = {what: line, "column": column, "message": message}
    if rejects is not None:
        rejects.write(json.dumps(found, ensure_ascii=False) + "\n")
    if len(listed) < _LISTED_MAX:
        listed.append(found)
    if len(listed) <= _TOLD_MAX:
        said = f"column '{column}': {message}" if column and not message.startswith("features[") else message
        complain(f"{file}:{line}", said)


def _say(loader: Loader, listed: list[dict[str, object]], begin: int, seconds: float, as_json: bool) -> None:
    if as_json:
        rate = round(loader.stored / seconds) if seconds else 0
        figures = {"stored": loader.stored, "refused": loader.wrong, "seconds": round(seconds, 3), "per_second": rate}
        print_json({**figures, "resumed_behind": begin, "errors": listed})
        return
    more = loader.wrong - _TOLD_MAX
    if more > 0:
        err().print(f"{more:,} more are wrong; --rejects FILE keeps all")
    timed = f" in {seconds:,.1f} s, {loader.stored / seconds:,.0f} a second" if loader.stored >= _TIMED else ""
    refused = f", {loader.wrong:,} refused" if loader.wrong else ""
    out().print(f"{counted(loader.stored, 'profile')} stored{timed}{refused}", style="red" if refused else "green")
