"""Operators and functions of the language by static type, and the reasons for what is left out.

Tables only, with the readers of literal durations and times; the checker walks the tree.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.nodes import Type

NS = 1_000_000_000
DAY_NS = 86_400 * NS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MIN_NS = -62_135_596_800 * NS  # 0001-01-01T00:00:00Z
TIME_MAX_NS = 253_402_300_800 * NS - 1  # the last nanosecond of the year 9999

_B, _I, _N, _X = Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT
_T, _D = Type.TIME, Type.DURATION

COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}

OVERLOADS: dict[tuple[str, Type, Type], Type] = {
    **{(op, one, one): one for op in "+-*/" for one in (_I, _N)},
    ("%", _I, _I): _I,
    ("+", _D, _D): _D,
    ("-", _D, _D): _D,
    ("+", _T, _D): _T,
    ("+", _D, _T): _T,
    ("-", _T, _D): _T,
    ("-", _T, _T): _D,
    **{(op, one, one): _B for op in COMPARISONS for one in (_B, _I, _N, _X, _T, _D)},
}
NEGATABLE = (_I, _N, _D)

FUNCTIONS: dict[str, tuple[tuple[Type, ...], Type]] = {
    "ratio": ((_N, _N), _N),
    "days_since": ((_T,), _I),
    "days_until": ((_T,), _I),
}
CONVERSIONS: dict[str, Type] = {"double": _N, "int": _I}
LITERAL_FUNCTIONS: dict[str, str] = {
    "days": "30",
    "duration": '"1h30m"',
    "timestamp": '"2026-11-21T10:00:00Z"',
}
FUNCTION_NAMES = (*FUNCTIONS, *CONVERSIONS, *LITERAL_FUNCTIONS, "has")

_LISTS = ("a list of unknown length cannot run in a kernel yet", "name the constants: `x in [1, 2]`")
_TEXTS = ("functions on texts cannot run in a kernel yet", "compare with `==` or `in`")
_PARTS = (
    "parts of a time depend on a time zone",
    "use days_since(x), days_until(x) or a difference of times",
)
_DYNAMIC = ("every expression has one static type here", "")
_WIDTH = ("there is one kind of integer here", "")
UNSUPPORTED: dict[str, tuple[str, str]] = {  # of CEL: reason, hint
    **dict.fromkeys(("all", "exists", "exists_one", "existsOne", "filter", "map", "size"), _LISTS),
    **dict.fromkeys(("contains", "endsWith", "matches", "startsWith", "string", "join", "split"), _TEXTS),
    **dict.fromkeys(("charAt", "indexOf", "lowerAscii", "upperAscii", "replace", "substring", "trim"), _TEXTS),
    **dict.fromkeys(("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear"), _PARTS),
    **dict.fromkeys(("getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"), _PARTS),
    **dict.fromkeys(("dyn", "type"), _DYNAMIC),
    "uint": _WIDTH,
    "bytes": ("there are no bytes here", ""),
    "bool": ("a text is not turned into bool", "compare with `==`"),
    "months": ("calendar periods are not there yet", "use days(n)"),
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
