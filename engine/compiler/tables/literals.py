"""Constants in table cells: read by type, an output's type guessed, and the spreadsheet traps they fall into."""

from __future__ import annotations

import re
from datetime import date, timedelta

from engine.compiler.nodes import Type
from engine.compiler.overloads import NS, parse_duration, parse_timestamp

OUTPUT_TYPES = (Type.BOOL, Type.INTEGER, Type.NUMBER, Type.DATE, Type.TEXT)
ORDERED = (Type.INTEGER, Type.NUMBER, Type.DATE, Type.TIME, Type.DURATION, Type.MONEY)
EXPECTED = {
    Type.BOOL: "true or false",
    Type.INTEGER: "a whole number such as 6",
    Type.NUMBER: "a number such as 6 or 0.25",
    Type.TEXT: 'a text such as nascent or "nascent"',
    Type.DATE: "a date such as 2026-03-01",
    Type.TIME: "a time such as 2026-03-01T10:00:00Z",
    Type.DURATION: "a span such as 30 days or 36 hours",
    Type.MONEY: "an amount such as 12.50",
}
_NUMERIC = (Type.INTEGER, Type.NUMBER, Type.MONEY)
MONEY_UNIT = 1_000_000_000
_EPOCH = date(1970, 1, 1)
_INTEGER = re.compile(r"[-+]?\d{1,19}(?:\.0+)?")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?")
_MONEY = re.compile(r"([-+]?)(\d{1,9})(?:\.(\d{1,9}))?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SPAN = re.compile(r"(-?\d{1,6}) *(second|minute|hour|day|week)s?")
_SPAN_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
_PERCENT = re.compile(r"([-+]?\d+(?:\.\d+)?) *%")
_AMOUNT = re.compile(r"[-+]?[\d.]+ *(?:[A-Z]{3}|[€$£])|(?:[A-Z]{3}|[€$£]) *[\d.]+")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:\.\d{3})*\.000")
_DATE_LIKE = re.compile(
    r"\d{4}-\d{2}-\d{2}.*|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|(?:\d{1,2}[- ])?[A-Z][a-z]{2}(?:[- ]\d{2,4})?"
)
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?) *(?:-|–|—|\.\.|…|to) *(-?\d+(?:\.\d+)?)")
SMART_QUOTES = str.maketrans("“”„‟‘’‚‛«»", '""""\'\'\'\'""')


class Bad(ValueError):
    """What a cell says cannot be read: the message, what was expected, how it is written."""

    def __init__(self, message: str, expected: str = "", hint: str = "", code: str = "table-test") -> None:
        super().__init__(message)
        self.expected = expected
        self.hint = hint
        self.code = code


def literal(text: str, kind: Type) -> object:
    """`text` as a constant of `kind` (values as nodes.py lists them). Raises Bad."""
    text = text.strip()
    if kind is Type.TEXT:
        return _text(text)
    if kind in _NUMERIC and _THOUSANDS.fullmatch(text):
        hint = f"write {text.partition('.')[0]} or {text.replace('.', '')}"
        raise Bad(f"`{text}` can have decimals or thousands", EXPECTED[kind], hint)
    try:
        value = _value(text, kind)
    except ValueError:
        value = None
    if value is None:
        message, hint = _trap(text, kind)
        raise Bad(message or f"`{text[:40]}` is not of type {kind}", EXPECTED[kind], hint)
    return value


def _text(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1] if quoted[1] is not None else quoted[2])
    if text[:1] and text[0] in "“”„‟‘’‚‛«»":
        message = "typographic quotes, which would be part of the text"
        raise Bad(message, EXPECTED[Type.TEXT], f"write {text.translate(SMART_QUOTES)}")
    if text.startswith(('"', "'")):
        raise Bad("a quote that is not closed", EXPECTED[Type.TEXT], 'inside quotes, write a quote as `\\"`')
    return text


def _value(text: str, kind: Type) -> object | None:
    if kind is Type.BOOL:
        return {"true": True, "false": False}.get(text.lower())
    if kind is Type.INTEGER and _INTEGER.fullmatch(text):
        value = int(text.partition(".")[0])
        return value if -(2**63) <= value < 2**63 else None
    if kind is Type.NUMBER and _NUMBER.fullmatch(text):
        return float(text) if abs(float(text)) != float("inf") else None
    if kind is Type.DATE and _DATE.fullmatch(text):
        return (date.fromisoformat(text) - _EPOCH).days
    if kind is Type.TIME:
        return parse_timestamp(text)
    if kind is Type.DURATION:
        span = _SPAN.fullmatch(text)
        return int(span[1]) * _SPAN_S[span[2]] * NS if span else parse_duration(text)
    if kind is Type.MONEY and (money := _MONEY.fullmatch(text)):
        whole = int(money[2]) * MONEY_UNIT + int((money[3] or "").ljust(9, "0"))
        return -whole if money[1] == "-" else whole
    return None


def way_to_write(text: str, kind: Type) -> str:
    """A hint how `text`, which is no constant of `kind`, may be written as one."""
    return _trap(text.strip(), kind)[1]


def _trap(text: str, kind: Type) -> tuple[str, str]:
    """What went wrong, and the form that works."""
    numeric = kind in _NUMERIC
    if text.lower() in ("*", "any", "all", "n/a", "egal"):
        return f"`{text}` is no test", "write `-` where the input does not matter"
    if percent := _PERCENT.fullmatch(text):
        share = f"{float(percent[1]) / 100:g}"
        message = f"`{text}` is {share} to a spreadsheet"
        return message, f"write {share}, or {percent[1]} where the input counts in percent"
    if numeric and _DATE_LIKE.fullmatch(text):
        message = f"`{text}` is a date: a spreadsheet makes one of `1-3` and the like"
        return message, "write the interval as [1..3], in a cell of format Text"
    if numeric and (between := _RANGE.fullmatch(text)):
        return f"`{text}` is no test", f"write the interval as [{between[1]}..{between[2]}]"
    if numeric and re.fullmatch(r"[-+]?\d+,\d+", text):
        one = text.replace(",", "" if re.search(r",\d{3}$", text) else ".")
        return f"`{text}` has a comma", f"write {one}"
    if kind is Type.INTEGER and _NUMBER.fullmatch(text):
        return f"`{text}` is not a whole number", ""
    if numeric and _AMOUNT.fullmatch(text):
        return f"`{text}` names a currency: a number stands alone here", f"write {re.sub('[A-Z€$£ ]', '', text)}"
    if kind is Type.DATE and _DATE_LIKE.fullmatch(text):
        return f"`{text}` can be read in more than one way", "write year-month-day: 2026-03-01"
    if kind is Type.BOOL and text.lower() in ("yes", "no", "1", "0"):
        return "", f"write {'true' if text.lower() in ('yes', '1') else 'false'}"
    if text.startswith(('"', "'", "“")):
        return f"a text, where the input is {kind}", "remove the quotes" if numeric else ""
    return "", ""


def guess(text: str) -> Type:
    """The type that an output's cell looks like; anything may be a text."""
    for kind in (Type.BOOL, Type.INTEGER, Type.NUMBER, Type.DATE):
        try:
            if _value(text.strip(), kind) is not None:
                return kind
        except ValueError:
            continue
    return Type.TEXT


def shown(value: object, kind: Type) -> str:
    """A constant as it is written in a table."""
    if kind is Type.BOOL:
        return "true" if value else "false"
    if kind is Type.TEXT:
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if kind is Type.DATE and isinstance(value, int):
        try:
            return (_EPOCH + timedelta(days=value)).isoformat()
        except OverflowError:
            return f"day {value}"
    if kind is Type.MONEY and isinstance(value, int):
        sign, (whole, part) = "-" if value < 0 else "", divmod(abs(value), MONEY_UNIT)
        return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".")
    if kind is Type.DURATION and isinstance(value, int):
        for unit in ("day", "hour", "minute"):
            amount, rest = divmod(value, _SPAN_S[unit] * NS)
            if not rest:
                return f"{amount} {unit}{'' if amount == 1 else 's'}"
        return f"{value / NS:g} seconds"
    if kind is Type.TIME and isinstance(value, int):
        try:
            day = _EPOCH + timedelta(days=value // (86400 * NS))
        except OverflowError:
            return f"{value} ns"
        seconds = value // NS % 86400
        return f"{day.isoformat()}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"
    return f"{value:g}" if isinstance(value, float) and value == float(f"{value:g}") else str(value)
