"""Values against the schema: what was found, what was expected, in which field."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from engine.compiler.nodes import Type
from engine.compiler.source import did_you_mean
from engine.compiler.written import BILLION, MONEY_MAX, date_text, duration_text, parse_date
from engine.errors import InvalidInput, Violation
from engine.pb.tact.v1 import decision_pb2 as pb

MAX_ID_CHARACTERS = 256
MAX_TEXT_BYTES = 16 << 10
MAX_LISTED = 256  # entries of any map or list of a request
MIN_SECONDS = -62_135_596_800  # 0001-01-01T00:00:00Z
MAX_SECONDS = 253_402_300_799  # 9999-12-31T23:59:59Z
_EXACT = 1 << 53
_INT64 = 1 << 63
_HINTS = 8  # a hint costs a search through the schema, so a request gets few

_EXPECTED = {
    Type.BOOL: "a flag",
    Type.INTEGER: "an integer",
    Type.NUMBER: "a number",
    Type.TEXT: "a text",
    Type.TIME: "a time",
    Type.DURATION: "a text that is a duration, such as '3600s' or '1h30m'",
    Type.DATE: "a text that is a date, such as '2026-01-31'",
    Type.TEXTS: "a list of texts",
}
_DURATION_PART = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?(h|ms|m|s|us|ns)")
_UNIT_NS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class Violations:
    """Gathers all that is wrong with one request, so that it is told at once."""

    def __init__(self, reason: str = "INVALID_REQUEST") -> None:
        self.found: list[Violation] = []
        self._reason = reason
        self._hints_left = _HINTS

    def add(self, field: str, description: str) -> None:
        """Notes one wrong field."""
        self.found.append(Violation(field, description))

    def unknown(self, field: str, what: str, name: str, known: Iterable[str]) -> None:
        """Notes a name that the rule set does not declare, with the nearest one that it does."""
        hint = ""
        if self._hints_left and len(name) <= 64:
            self._hints_left -= 1
            hint = did_you_mean(name, known)
        self.add(field, f"{what} {quote(name)} is not in the rule set" + (f"; {hint}" if hint else ""))

    def check(self) -> None:
        """Raises InvalidInput where anything was found."""
        if self.found:
            raise InvalidInput(self.found, self._reason)


def quote(text: str) -> str:
    """A caller's text in quotes, cut to a length that fits a message."""
    return json.dumps(text if len(text) <= 64 else text[:61] + "...", ensure_ascii=False)


def check_id(text: str, field: str, into: Violations) -> None:
    """An id that a caller chose: 1 to 256 characters, none of them a control character."""
    if not text or text.isspace():
        into.add(field, "is missing: expected 1 to 256 characters" if not text else "is blank: expected an id")
    elif len(text) > MAX_ID_CHARACTERS:
        into.add(field, f"has {len(text)} characters: expected at most {MAX_ID_CHARACTERS}")
    elif not text.isprintable() and any(unicodedata.category(c) == "Cc" for c in text):
        into.add(field, f"found control characters in {quote(text)}: expected none")


def check_text(text: str, field: str, into: Violations, limit: int = MAX_TEXT_BYTES) -> None:
    """A text of at most `limit` bytes of UTF-8."""
    if len(text) * 4 > limit and (size := len(text.encode())) > limit:
        into.add(field, f"found a text of {size} bytes: expected at most {limit}")


def timestamp_ns(time: Timestamp, field: str, into: Violations) -> int | None:
    """Nanoseconds since 1970; None where it is no valid time (years 1 to 9999)."""
    seconds, nanos = time.seconds, time.nanos
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        into.add(field, f"found {seconds} seconds since 1970: expected a time in the years 0001 to 9999")
    elif not 0 <= nanos < 1_000_000_000:
        into.add(field, f"found {nanos} nanos: expected 0 to 999999999")
    else:
        return seconds * 1_000_000_000 + nanos
    return None


def timestamp_ms(time: Timestamp, field: str, into: Violations) -> int | None:
    """Milliseconds since 1970, rounded down; None where it is no valid time."""
    ns = timestamp_ns(time, field, into)
    return None if ns is None else ns // 1_000_000


def decode_value(value: pb.Value, expected: Type, unit: str | None, field: str, into: Violations) -> object:
    """The Python value of a declared type and unit (see compiler.nodes). None where it is refused."""
    kind = value.WhichOneof("kind")
    if kind == "number":
        number = value.number
        if expected is Type.NUMBER and math.isfinite(number):
            return number
    elif kind == "text":
        if expected is Type.TEXT:
            text = value.text
            check_text(text, field, into)
            return text
        if expected is Type.DURATION and (duration := parse_duration(value.text)) is not None:
            return duration
        if expected is Type.DATE:
            with suppress(ValueError):
                return parse_date(value.text)
    elif kind == "integer":
        if expected is Type.INTEGER:
            return value.integer
        if expected is Type.NUMBER and -_EXACT <= value.integer <= _EXACT:
            return float(value.integer)
    elif kind == "flag":
        if expected is Type.BOOL:
            return value.flag
    elif kind == "time":
        if expected is Type.TIME:
            return timestamp_ns(value.time, field, into)
    elif kind == "money":
        if expected is Type.MONEY and value.money.currency_code == unit:
            return _billionths(value.money, field, into)
    elif kind == "texts" and expected is Type.TEXTS:
        return _texts(value.texts, field, into)
    wanted = f"money in {unit}" if expected is Type.MONEY else _EXPECTED[expected]
    if kind == "number" and expected is Type.NUMBER:
        wanted = "a finite number"
    into.add(field, f"found {_found(value, kind, expected)}: expected {wanted}")
    return None


def _billionths(money: Money, field: str, into: Violations) -> int | None:
    """The amount as one integer; None where units and nanos do not make one."""
    units, nanos = money.units, money.nanos
    amount: int = units * BILLION + nanos
    if not -BILLION < nanos < BILLION:
        into.add(field, f"found {nanos} nanos: expected -999999999 to 999999999")
    elif units * nanos < 0:
        into.add(field, f"found {units} units and {nanos} nanos: expected both of one sign")
    elif abs(amount) > MONEY_MAX:
        into.add(field, f"found {units} units: expected at least {-(MONEY_MAX // BILLION)}")
    else:
        return amount
    return None


def _texts(texts: pb.TextList, field: str, into: Violations) -> tuple[str, ...] | None:
    """The entries; None where they are too many. All together may be as long as one text."""
    values = tuple(texts.values)
    if len(values) > MAX_LISTED:
        into.add(field, f"found {len(values)} texts: expected at most {MAX_LISTED}")
        return None
    if (size := sum(len(text.encode()) for text in values)) > MAX_TEXT_BYTES:
        into.add(field, f"found texts of {size} bytes together: expected at most {MAX_TEXT_BYTES}")
        return None
    return values


def _found(value: pb.Value, kind: str | None, expected: Type) -> str:
    """What a refused value is, in words."""
    if kind is None:
        return "a value without a kind"
    if kind == "number":
        return f"number {value.number!r}"
    if kind == "integer":
        beyond = ", which a number does not hold exactly" if expected is Type.NUMBER else ""
        return f"integer {value.integer}{beyond}"
    if kind == "text":
        return f"text {quote(value.text)}"
    if kind == "flag":
        return f"flag {str(value.flag).lower()}"
    if kind == "texts":
        return "a list of texts"
    if kind == "money":
        currency = value.money.currency_code
        return f"money in {quote(currency)}" if currency else "money without a currency"
    return "a time"


def parse_duration(text: str) -> int | None:
    """Nanoseconds of '3600s', '1.5h' or '1h30m', with a sign or without; None where it is not one."""
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text)
    total = end = 0
    if not body or len(body) > 64:
        return None
    for part in _DURATION_PART.finditer(body):
        if part.start() != end:
            return None
        end = part.end()
        unit = _UNIT_NS[part[3]]
        total += int(part[1]) * unit + int((part[2] or "").ljust(9, "0")) * unit // 1_000_000_000
    total *= sign
    return total if end == len(body) and -_INT64 <= total < _INT64 else None


def encode_value(kind: str, value: object, unit: str = "") -> pb.Value:
    """The protobuf value of a stored cell; `kind` is a `Type` value, `unit` the currency of money."""
    if isinstance(value, bool):
        return pb.Value(flag=value)
    if isinstance(value, float):
        return pb.Value(number=value)
    if isinstance(value, str):
        return pb.Value(text=value)
    if isinstance(value, tuple):
        return pb.Value(texts=pb.TextList(values=value))
    assert isinstance(value, int)
    if kind == Type.MONEY.value:
        units, nanos = divmod(abs(value), BILLION)
        sign = -1 if value < 0 else 1
        return pb.Value(money=Money(currency_code=unit, units=sign * units, nanos=sign * nanos))
    if kind == Type.DATE.value:
        return pb.Value(text=date_text(value))
    if kind == Type.TIME.value:
        return pb.Value(time=Timestamp(seconds=value // 1_000_000_000, nanos=value % 1_000_000_000))
    if kind == Type.DURATION.value:
        return pb.Value(text=duration_text(value))
    return pb.Value(integer=value)
