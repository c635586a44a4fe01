"""Rows of a table (CSV or JSON lines, plain or gzip) as events: bounded memory, bad rows told and left out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, cast
from zoneinfo import ZoneInfo

from engine.compiler.model import RuleSet
from engine.compiler.nodes import Type
from engine.compiler.overloads import parse_duration, parse_timestamp
from engine.compiler.written import parse_date, parse_money
from engine.decision import DecideRequest, Event
from engine.errors import TactError
from engine.replay.mapping import DayMonth, TableMapping, TimeColumn, Value, check_columns, columns_of

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FLAGS = {"yes": True, "true": True, "1": True, "y": True, "no": False, "false": False, "0": False, "n": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"[-+]?\d{1,19}")
_LOOK_AHEAD = 1000  # JSON lines have no header: so many rows say which columns there are
_FIELD_MAX = 1 << 20
_ID_MAX = 256


class UnreadableTable(TactError):
    """The table cannot be read on: what, and where."""


@dataclass(slots=True)
class Row:
    """One row as the pipeline needs it. `positive` is None where no outcome is mapped."""

    number: int
    request: DecideRequest
    at_ms: int
    features: dict[str, object]
    positive: bool | None


@dataclass(slots=True)
class BadRow:
    """A row that is left out, and why."""

    number: int
    problem: str


class Table:
    """The rows of one file, as a context. `position` and `size` are bytes of the file as it is on disk.

    Raises UnreadableTable, and RulesInvalid where the mapping names columns that are not there.
    """

    def __init__(self, path: Path, mapping: TableMapping, rules: RuleSet) -> None:
        self.path = path
        self.mapping = mapping
        self._converter = _Converter(mapping, rules)
        self._raw = path.open("rb")
        self.size = path.stat().st_size
        binary = cast("IO[bytes]", gzip.GzipFile(fileobj=self._raw) if path.suffix == ".gz" else self._raw)
        self._text = io.TextIOWrapper(binary, encoding=self.mapping.encoding, newline="")

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self._raw.close()

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._raw.tell()

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row in order, converted, or what is wrong with it."""
        number = 0
        try:
            for number, row in enumerate(self._dictionaries(), 1):
                if isinstance(row, str):
                    yield BadRow(number, row)
                    continue
                try:
                    yield self._converter.row(row, number)
                except ValueError as error:
                    yield BadRow(number, str(error))
        except UnicodeDecodeError as error:
            told = f"byte 0x{error.object[error.start]:02x} is not {self.mapping.encoding}"
            raise UnreadableTable(f"{self.path}, after row {number}: {told}; `format: encoding` says how") from None
        except (OSError, EOFError, csv.Error) as error:
            raise UnreadableTable(f"{self.path}, after row {number}: {error}") from None

    def _dictionaries(self) -> Iterator[dict[str, str] | str]:
        """Rows by column; a text says what is wrong with one."""
        suffixes = [s for s in self.path.suffixes if s != ".gz"]
        if suffixes and suffixes[-1] in (".jsonl", ".ndjson", ".json"):
            yield from self._json_rows()
            return
        csv.field_size_limit(_FIELD_MAX)
        reader = csv.reader(self._text, delimiter=self.mapping.separator)
        header = next(reader, None)
        if header is None:
            raise UnreadableTable(f"{self.path} is empty: expected a header line with the columns")
        header[0] = header[0].removeprefix("\ufeff")
        check_columns(self.mapping, header, str(self.path))
        width = len(header)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != width:
                yield f"found {len(cells)} cells, expected {width} as in the header"
            else:
                yield dict(zip(header, cells, strict=True))

    def _json_rows(self) -> Iterator[dict[str, str] | str]:
        lines = (_json_row(line) for line in self._text if line.strip())
        first = [row for row, _ in zip(lines, range(_LOOK_AHEAD), strict=False)]
        if not first:
            raise UnreadableTable(f"{self.path} is empty: expected one JSON object a line")
        known = columns_of(row for row in first if not isinstance(row, str))
        if known:
            check_columns(self.mapping, known, str(self.path))
        yield from first
        yield from lines


def _json_row(line: str) -> dict[str, str] | str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(value, dict):
        return f"found {type(value).__name__}, expected a JSON object"
    return {name: _as_cell(v) for name, v in value.items()}


def _as_cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


class _Converter:
    """From cells to requests; what cannot be read raises ValueError naming the column."""

    def __init__(self, mapping: TableMapping, rules: RuleSet) -> None:
        self._mapping = mapping
        self._rules = rules
        at = mapping.occurred_at
        self._time: Callable[[Mapping[str, str]], int] = (
            _Calendar(at).read if isinstance(at, DayMonth) else _Clock(at).read
        )

    def row(self, row: Mapping[str, str], number: int) -> Row:
        mapping = self._mapping
        at_ns = self._time(row)
        kind = mapping.event_type
        if mapping.type_column is not None:
            kind = row.get(mapping.type_column, "")
            if kind not in self._rules.events:
                raise ValueError(f"column '{mapping.type_column}': found '{kind[:60]}', expected an event type")
        declared = self._rules.events[kind].attributes
        attributes = {v.name: x for v in mapping.attributes if v.name in declared and (x := _value(v, row)) is not None}
        features = {v.name: x for v in mapping.features if (x := _value(v, row)) is not None}
        customer, event_id = mapping.customer.fill(row, number), mapping.event_id.fill(row, number)
        for what, name in (("customer", customer), ("event id", event_id)):
            if not 0 < len(name) <= _ID_MAX:
                raise ValueError(f"the {what} has {len(name)} characters, expected 1 to {_ID_MAX}")
        rule = mapping.outcome
        positive = None if rule is None else row.get(rule.column, "") == rule.equals
        request = DecideRequest(Event(event_id, customer, kind, at_ns, attributes))
        return Row(number, request, at_ns // 1_000_000, features, positive)


def _value(value: Value, row: Mapping[str, str]) -> object | None:
    text = row.get(value.column, "")
    if text in value.missing:
        return None
    try:
        return CONVERT[value.type](text)
    except ValueError:
        expected = EXPECTED[value.type]
        raise ValueError(f"column '{value.column}': found '{text[:60]}', expected {expected}") from None


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _flag(text: str) -> bool:
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise ValueError
    return flag


def _texts(text: str) -> tuple[str, ...]:
    if not text.startswith("["):
        return tuple(part.strip() for part in text.split("|"))
    found = json.loads(text)
    if not all(isinstance(item, str) for item in found):
        raise ValueError
    return tuple(found)


CONVERT: dict[Type, Callable[[str], object]] = {
    Type.INTEGER: _integer,
    Type.NUMBER: _number,
    Type.TEXT: str,
    Type.BOOL: _flag,
    Type.TIME: parse_timestamp,
    Type.DURATION: parse_duration,
    Type.DATE: parse_date,
    Type.MONEY: parse_money,
    Type.TEXTS: _texts,
}
EXPECTED = {
    Type.INTEGER: "a whole number",
    Type.NUMBER: "a number",
    Type.TEXT: "a text",
    Type.BOOL: "yes or no",
    Type.TIME: "a time such as 2026-11-21T10:00:00+01:00",
    Type.DURATION: "a duration such as 90s",
    Type.DATE: "a date such as 2026-01-31",
    Type.MONEY: "an amount such as 12.50",
    Type.TEXTS: "texts such as a|b, or a JSON array of texts",
}


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


class _Clock:
    """Times from one column."""

    def __init__(self, at: TimeColumn) -> None:
        self._at = at
        self._zone = ZoneInfo(at.zone)

    def read(self, row: Mapping[str, str]) -> int:
        """Nanoseconds since 1970."""
        text, kind = row.get(self._at.column, ""), self._at.format
        try:
            if kind == "rfc3339":
                return parse_timestamp(text)
            if kind in ("seconds", "milliseconds"):
                return round(_number(text) * (1000 if kind == "seconds" else 1)) * 1_000_000
            moment = datetime.strptime(text, kind)
        except (ValueError, OverflowError):
            found = f"column '{self._at.column}': found '{text[:60]}'"
            raise ValueError(f"{found}, expected a time as '{kind}'") from None
        return _ns(moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone))


class _Calendar:
    """Day and month; the year goes up whenever the month goes back."""

    def __init__(self, at: DayMonth) -> None:
        self._at = at
        self._zone = ZoneInfo(at.zone)
        self._year = at.start_year
        self._month = 0
        self._known: dict[tuple[int, int, int], int] = {}

    def read(self, row: Mapping[str, str]) -> int:
        """Nanoseconds since 1970."""
        at = self._at
        written = row.get(at.month, "").strip()
        month = _month(written)
        if month is None:
            raise ValueError(f"column '{at.month}': found '{written[:60]}', expected a month (may, 5)")
        text = row.get(at.day, "").strip()
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"column '{at.day}': found '{text[:60]}', expected a day of the month")
        year = self._year + (month < self._month)
        key = (year, month, int(text))
        ns = self._known.get(key)
        if ns is None:
            try:
                moment = datetime(*key, at.hour, tzinfo=self._zone)
            except (ValueError, OverflowError):
                raise ValueError(f"column '{at.day}': there is no {text} {written} in {year}") from None
            ns = self._known[key] = _ns(moment)
        self._year, self._month = year, month
        return ns


def _month(text: str) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text) if 1 <= int(text) <= 12 else None
    short = text[:3].lower()
    return _MONTHS.index(short) + 1 if short in _MONTHS else None
