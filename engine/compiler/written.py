"""Times, dates, durations and money as people, JSON and the log write them. A leaf module.

Python values are those of `nodes`: days, nanoseconds, billionths of the currency's unit.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from engine.compiler.nodes import Type

BILLION = 1_000_000_000
MONEY_MAX = (BILLION << 63) - 1  # units of int64, as in google.type.Money; the bound holds for both signs
DATE_MIN, DATE_MAX = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_0 = _EPOCH.toordinal()
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONEY = re.compile(r"([-+]?)([0-9]{1,19})(?:\.([0-9]{0,9}))?")
_CURRENCY = re.compile(r"[A-Z]{3}")


def parse_date(text: str) -> int:
    """Days since 1970-01-01 of `2026-01-31`. Raises ValueError with the reason."""
    if not _DATE.fullmatch(text):
        raise ValueError("it is not a date")
    try:
        return date.fromisoformat(text).toordinal() - _DAY_0
    except ValueError:
        raise ValueError("there is no such day") from None


def date_text(days: int) -> str:
    """`2026-01-31`; a number of days where the year is not 1 to 9999."""
    if not DATE_MIN <= days <= DATE_MAX:
        return f"day {days}"
    return to_date(days).isoformat()


def to_date(days: int) -> date:
    """The date of a number of days since 1970. Raises ValueError outside the years 1 to 9999."""
    return date.fromordinal(days + _DAY_0)


def is_currency(text: str) -> bool:
    """Whether it has the shape of ISO 4217: three capital letters."""
    return _CURRENCY.fullmatch(text) is not None


def parse_money(text: str) -> int:
    """Billionths of `12.50`, exactly. Raises ValueError with the reason."""
    found = _MONEY.fullmatch(text)
    if found is None:
        raise ValueError("it is not an amount")
    value = int(found[2]) * BILLION + int((found[3] or "").ljust(9, "0"))
    if value > MONEY_MAX:
        raise ValueError("it is more than 64 bits of units hold")
    return -value if found[1] == "-" else value


def money_text(value: int, unit: str | None) -> str:
    """`12.50 EUR`: at least two decimals, and all that are needed."""
    units, rest = divmod(abs(value), BILLION)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if value < 0 else ''}{units}.{decimals}{f' {unit}' if unit else ''}"


def duration_text(ns: int) -> str:
    """Nanoseconds as protobuf writes durations: `3600s`, `0.5s`."""
    seconds, rest = divmod(abs(ns), BILLION)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if ns < 0 else ''}{seconds}{fraction}s"


def time_text(ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC; seconds where the year is not 1 to 9999."""
    seconds, rest = divmod(ns, BILLION)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds}s"
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"


def plain(value: object, kind: Type, unit: str | None = None) -> object:
    """A value of `kind` as JSON can hold it: bool, int, float, text, or a list of them."""
    if isinstance(value, tuple) and kind.element is not None:
        return [plain(item, kind.element) for item in value]
    if isinstance(value, int):
        if kind is Type.DATE:
            return date_text(value)
        if kind is Type.MONEY:
            return money_text(value, unit)
        if kind is Type.TIME:
            return time_text(value)
        if kind is Type.DURATION:
            return duration_text(value)
    return value
