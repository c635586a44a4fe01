"""Functions of the language that no kernel does in machine code, as plain Python on plain values.

The reference twin calls them for every evaluation, kernels once per distinct argument tuple; both take
them from here, so both mean the same. A callable returns a value of the result's type (see `nodes`) or
raises ValueError with the cause: CEL's error value. Indices count code points, as CEL's extensions do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.nodes import SCALARS, Type
from engine.compiler.overloads import parse_duration, parse_timestamp
from engine.compiler.written import date_text, duration_text, money_text, parse_date, time_text

LIST_MAX = 256  # elements of a list, as input and as result
TEXT_MAX = 10_000  # characters of a text that a function makes
PATTERN_MAX = 1_000  # characters
PATTERN_BYTES_MAX = 1 << 20  # what RE2 may take for one compiled pattern
SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
SPACE += "\u2028\u2029\u202f\u205f\u3000"  # White_Space of Unicode

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?|(?i:inf|infinity))|(?i:nan)")
_OFFSET = re.compile(r"([+-]?)([01][0-9]|2[0-3]):([0-5][0-9])")
_BOOL = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}
_LOWER = {ord(c): ord(c) + 32 for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_UPPER = {lower: upper for upper, lower in _LOWER.items()}
_QUOTED = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\", '"': r"\"",
}  # fmt: skip


def function(op: str, arg_types: tuple[Type, ...]) -> Callable[..., Any]:
    """The implementation of `op` of `nodes`' table for these arguments. KeyError where it is not of this kind."""
    return TABLE[op, arg_types[0]]


@lru_cache(maxsize=10_000)
def pattern(text: str) -> Any:
    """The compiled RE2 pattern. Raises ValueError with the reason."""
    if len(text) > PATTERN_MAX:
        raise ValueError(f"it is longer than {PATTERN_MAX} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_BYTES_MAX
    try:
        return re2.compile(text, options)
    except re2.error as error:
        told = error.args[0] if error.args else error
        raise ValueError(told.decode() if isinstance(told, bytes) else str(told)) from None


def zone_offset_s(text: str) -> int | None:
    """Seconds ahead of UTC of a fixed zone such as `+05:30` or `-02:30`, None where it is not written so."""
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return -seconds if found[1] == "-" else seconds


def _text(value: str) -> str:
    if len(value) > TEXT_MAX:
        raise ValueError(f"the text is longer than {TEXT_MAX} characters")
    return value


def _list(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(values) > LIST_MAX:
        raise ValueError(f"the list has more than {LIST_MAX} elements")
    return values


# texts


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise ValueError("charAt: the index is out of range")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise ValueError("indexOf: the index is out of range")
    return start if not part else text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise ValueError("lastIndexOf: the index is out of range")
    return text.rfind(part, 0, start + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= last <= len(text):
        raise ValueError("substring: the index is out of range")
    return text[start:last]


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    count = text.count(old) if limit < 0 else min(text.count(old), limit)
    if len(text) + count * (len(new) - len(old)) > TEXT_MAX:
        return _text(" " * (TEXT_MAX + 1))
    return text.replace(old, new, count)


def _split(text: str, separator: str, limit: int = -1) -> tuple[object, ...]:
    if limit == 0:
        return ()
    if separator:
        cuts = LIST_MAX if limit < 0 else min(limit - 1, LIST_MAX)
        return _list(tuple(text.split(separator, cuts)))
    if limit < 0 or limit > len(text):
        return _list(tuple(text))
    return _list((*text[: limit - 1], text[limit - 1 :]))


def _join(parts: tuple[str, ...], separator: str = "") -> str:
    if sum(map(len, parts)) + max(0, len(parts) - 1) * len(separator) > TEXT_MAX:
        return _text(" " * (TEXT_MAX + 1))
    return separator.join(parts)


def _quote(text: str) -> str:
    return _text('"' + "".join(_QUOTED.get(c, c) for c in text) + '"')


def _matches(text: str, regex: str) -> bool:
    return pattern(regex).search(text) is not None


# conversions


def number_text(value: float) -> str:
    """The shortest text that reads back as this number, as Go's `%g` writes it: `0.1`, `1e+06`."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{value!r}".partition("e")
    sign, digits = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    power = int(exponent or 0) + len(whole) - 1
    digits = (whole + ("" if fraction == "0" else fraction)).lstrip("0")
    power -= len(whole + ("" if fraction == "0" else fraction)) - len(digits)
    digits = digits.rstrip("0") or "0"
    if digits == "0":
        return f"{sign}0"
    if power < -4 or power >= 6:
        point = "." if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}{digits[1:]}e{power:+03d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    digits = digits.ljust(power + 1, "0")
    point = "." if len(digits) > power + 1 else ""
    return f"{sign}{digits[: power + 1]}{point}{digits[power + 1 :]}"


def _to_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("double: the text is not a number")
    value = float(text)
    if value in (float("inf"), float("-inf")) and "n" not in text.lower():
        raise ValueError("double: the number is out of range")
    return value


def _to_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("int: the text is not an integer")
    value = int(text)
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("int: the number is out of range")
    return value


def _to_bool(text: str) -> bool:
    if text not in _BOOL:
        raise ValueError("bool: the text is neither true nor false")
    return _BOOL[text]


def _named(name: str, reader: Callable[[str], int]) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            return reader(text)
        except ValueError as error:
            raise ValueError(f"{name}: '{text[:60]}' cannot be read: {error}") from None

    return read


# lists


def _index(items: tuple[object, ...], index: int) -> object:
    if not 0 <= index < len(items):
        raise ValueError("the index is outside the list")
    return items[index]


def _collect(*parts: object) -> tuple[object, ...]:
    return _list(tuple(value for condition, value in zip(parts[::2], parts[1::2], strict=True) if condition))


_X = Type.TEXT
_TEXTS: dict[str, Callable[..., Any]] = {
    "size": len,
    "concat": lambda a, b: _text(a + b),
    "contains": lambda text, part: part in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "matches": _matches,
    "char_at": _char_at,
    "index_of": _index_of,
    "last_index_of": _last_index_of,
    "lower_ascii": lambda text: text.translate(_LOWER),
    "upper_ascii": lambda text: text.translate(_UPPER),
    "replace": _replace,
    "reverse": lambda text: text[::-1],
    "split": _split,
    "substring": _substring,
    "trim": lambda text: text.strip(SPACE),
    "quote": _quote,
    "to_number": _to_number,
    "to_integer": _to_integer,
    "to_bool": _to_bool,
    "to_time": _named("timestamp", parse_timestamp),
    "to_duration": _named("duration", parse_duration),
    "to_date": _named("date", parse_date),
}
_TO_TEXT: dict[Type, Callable[[Any], str]] = {
    Type.BOOL: lambda value: "true" if value else "false",
    Type.INTEGER: str,
    Type.NUMBER: number_text,
    Type.TEXT: lambda value: value,
    Type.TIME: time_text,
    Type.DURATION: duration_text,
    Type.DATE: date_text,
    Type.MONEY: lambda value: money_text(value, None),
}
_LISTS: dict[str, Callable[..., Any]] = {
    "size": len,
    "concat": lambda a, b: _list(a + b),
    "index": _index,
    "reverse": lambda items: items[::-1],
}

# (op, type of the first argument) -> implementation
TABLE: dict[tuple[str, Type], Callable[..., Any]] = {
    **{(op, _X): call for op, call in _TEXTS.items()},
    **{("to_text", kind): call for kind, call in _TO_TEXT.items()},
    **{(op, kind.listed): call for op, call in _LISTS.items() for kind in SCALARS if kind is not Type.MONEY},
    **{("list", kind): lambda *items: _list(items) for kind in SCALARS},
    ("join", Type.TEXTS): _join,
    ("collect", Type.BOOL): _collect,
}
