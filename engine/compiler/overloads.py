"""Operators and functions of the language by static type, and the reasons for what is left out.

Tables only, with the readers of literal durations and times; the checker walks the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.nodes import SCALARS, Type
from engine.compiler.written import parse_date

NS = 1_000_000_000
DAY_NS = 86_400 * NS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MIN_NS = -62_135_596_800 * NS  # 0001-01-01T00:00:00Z
TIME_MAX_NS = 253_402_300_800 * NS - 1  # the last nanosecond of the year 9999

_B, _I, _N, _X = Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT
_T, _D, _DAY, _M = Type.TIME, Type.DURATION, Type.DATE, Type.MONEY
_LISTS = tuple(kind for kind in Type if kind.element is not None)

COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}

OVERLOADS: dict[tuple[str, Type, Type], Type] = {
    **{(op, one, one): one for op in "+-*/" for one in (_I, _N)},
    **{(op, one, one): one for op in "+-" for one in (_D, _M)},
    **{("+", one, one): one for one in (_X, *_LISTS)},
    ("%", _I, _I): _I,
    ("+", _T, _D): _T,
    ("+", _D, _T): _T,
    ("-", _T, _D): _T,
    ("-", _T, _T): _D,
    ("*", _M, _I): _M,
    ("*", _I, _M): _M,
    **{(op, one, one): _B for op in COMPARISONS for one in SCALARS},
    **{(op, one, one): _B for op in ("==", "!=") for one in _LISTS},
}
SWAPPED = {("+", _D, _T), ("*", _I, _M)}  # lowered with the operands in the other order
NEGATABLE = (_I, _N, _D, _M)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function on static types: of `args` at least `least` are written. `op` is "" where it changes nothing."""

    op: str
    result: Type
    args: tuple[Type, ...]
    least: int


def _of(op: str, result: Type, *args: Type, least: int | None = None) -> Signature:
    return Signature(op, result, args, len(args) if least is None else least)


def _conversion(op: str, result: Type, *args: Type) -> tuple[Signature, ...]:
    return (_of("", result, result), *(_of(op, result, arg) for arg in args))


Signatures = tuple[Signature, ...]
_SIZE = tuple(_of("size", _I, one) for one in (_X, *_LISTS))
_MATCHES = (_of("matches", _B, _X, _X),)
METHODS: dict[str, Signatures] = {  # x.f(..): x is the first argument
    "size": _SIZE,
    "contains": (_of("contains", _B, _X, _X),),
    "startsWith": (_of("starts_with", _B, _X, _X),),
    "endsWith": (_of("ends_with", _B, _X, _X),),
    "matches": _MATCHES,
    "charAt": (_of("char_at", _X, _X, _I),),
    "indexOf": (_of("index_of", _I, _X, _X, _I, least=2),),
    "lastIndexOf": (_of("last_index_of", _I, _X, _X, _I, least=2),),
    "lowerAscii": (_of("lower_ascii", _X, _X),),
    "upperAscii": (_of("upper_ascii", _X, _X),),
    "replace": (_of("replace", _X, _X, _X, _X, _I, least=3),),
    "reverse": tuple(_of("reverse", one, one) for one in (_X, *_LISTS)),
    "split": (_of("split", Type.TEXTS, _X, _X, _I, least=2),),
    "join": (_of("join", _X, Type.TEXTS, _X, least=1),),
    "substring": (_of("substring", _X, _X, _I, _I, least=2),),
    "trim": (_of("trim", _X, _X),),
    "getFullYear": (_of("full_year", _I, _T, _X, least=1),),
    "getMonth": (_of("month", _I, _T, _X, least=1),),
    "getDate": (_of("date", _I, _T, _X, least=1),),
    "getDayOfMonth": (_of("day_of_month", _I, _T, _X, least=1),),
    "getDayOfWeek": (_of("day_of_week", _I, _T, _X, least=1),),
    "getDayOfYear": (_of("day_of_year", _I, _T, _X, least=1),),
    "getHours": (_of("hours", _I, _T, _X, least=1), _of("hours", _I, _D)),
    "getMinutes": (_of("minutes", _I, _T, _X, least=1), _of("minutes", _I, _D)),
    "getSeconds": (_of("seconds", _I, _T, _X, least=1), _of("seconds", _I, _D)),
    "getMilliseconds": (_of("milliseconds", _I, _T, _X, least=1), _of("milliseconds", _I, _D)),
}
FUNCTIONS: dict[str, Signatures] = {  # f(x, ..)
    "size": _SIZE,
    "matches": _MATCHES,
    "strings.quote": (_of("quote", _X, _X),),
    "bool": _conversion("to_bool", _B, _X),
    "int": _conversion("to_integer", _I, _N, _X, _T, _D),
    "double": _conversion("to_number", _N, _I, _X, _M),
    "string": _conversion("to_text", _X, _B, _I, _N, _T, _D, _DAY, _M),
    "timestamp": _conversion("to_time", _T, _X, _I),
    "duration": _conversion("to_duration", _D, _X),
    # ours, not CEL's
    "date": _conversion("to_date", _DAY, _X, _T),
    "ratio": (_of("ratio", _N, _N, _N),),
    "days_since": (_of("days_since", _I, _T), _of("days_since", _I, _DAY)),
    "days_until": (_of("days_until", _I, _T), _of("days_until", _I, _DAY)),
}
EXTENSIONS = ("ratio", "days_since", "days_until", "date", "days", "months")
PERIODS = {"days": 200_000, "months": 12_000}  # of a literal integer, and the largest
MACRO_OPS = {name: name for name in ("all", "exists", "exists_one", "filter", "map")} | {"existsOne": "exists_one"}
SAMPLES = {  # how a literal of the type is written
    _T: 'timestamp("2026-11-21T10:00:00Z")',
    _D: 'duration("1h30m")',
    _DAY: 'date("2026-11-21")',
}

UNSUPPORTED: dict[str, tuple[str, str]] = {  # of CEL: reason, hint
    "type": ("every expression has one static type here", ""),
    "uint": ("there is one kind of integer here", "write `int(x)`"),
    "bytes": ("there are no bytes here", ""),
    "format": ("texts for people are made in a message", "join with `+` and `string(x)`"),
}

_UNITS = {
    "h": 3600 * NS,
    "m": 60 * NS,
    "s": NS,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ns": 1,
}
_DURATION = re.compile(r"([+-]?)((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:h|ms|m|s|us|µs|μs|ns))+|0)")
_DURATION_PART = re.compile(r"([0-9]*)\.?([0-9]*)(h|ms|m|s|us|µs|μs|ns)")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration as Go writes it: "1h30m", "-1.5s". Raises ValueError with the reason."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("it is not a duration")
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(found[2]):
        if len(whole.lstrip("0")) > 20 or len(fraction) > 20:
            raise ValueError("it has too many digits")
        parts, rest = divmod(int("0" + whole + fraction) * _UNITS[unit], 10 ** len(fraction))
        if rest:
            raise ValueError("it is finer than a nanosecond")
        total += parts
    total = -total if found[1] == "-" else total
    if not INT_MIN <= total <= INT_MAX:
        raise ValueError("it is longer than about 292 years")
    return total


def parse_timestamp(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time. Raises ValueError with the reason."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError("it is not a time of RFC 3339")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    offset_minutes = 0
    if found[8]:
        hours, minutes = int(found[9]), int(found[10])
        if hours > 23 or minutes > 59:
            raise ValueError("there is no such offset")
        offset_minutes = (hours * 60 + minutes) * (-1 if found[8] == "-" else 1)
    if year == 0:
        raise ValueError("it is not in the years 1 to 9999")
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise ValueError("there is no such day or hour") from None
    seconds = (local - _EPOCH) // timedelta(seconds=1) - 60 * offset_minutes
    value = seconds * NS + int((found[7] or "").ljust(9, "0"))
    if not TIME_MIN_NS <= value <= TIME_MAX_NS:
        raise ValueError("it is not in the years 1 to 9999")
    return value


READERS: dict[Type, Callable[[str], int]] = {_T: parse_timestamp, _D: parse_duration, _DAY: parse_date}
