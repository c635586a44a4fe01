"""Texts: templates with slots, filled per language. Numbers, money, dates and plurals are Babel's (CLDR)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, localcontext
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal
from babel.units import format_unit

from engine.compiler.model import Text
from engine.compiler.nodes import Type
from engine.compiler.written import BILLION, DATE_MAX, DATE_MIN, to_date
from engine.zones import local_day

_DAY_NS = 86_400 * BILLION
_ALL_DIGITS = Context(prec=400)  # of any double: Babel rounds to a place, which takes all digits ahead of it
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@lru_cache(maxsize=4096)
def pieces(template: str) -> tuple[tuple[bool, str], ...]:
    """(is a slot, its name or the plain text) in order; `{{` and `}}` stand for braces."""
    found: list[tuple[bool, str]] = []
    at = 0
    for match in _PIECE.finditer(template):
        if match.start() > at:
            found.append((False, template[at : match.start()]))
        slot = match.group(1)
        found.append((False, match.group()[0]) if slot is None else (True, slot.strip()))
        at = match.end()
    if at < len(template):
        found.append((False, template[at:]))
    return tuple(found)


@lru_cache(maxsize=4096)
def slots_used(template: str) -> tuple[str, ...]:
    """The slots a template names, each once, in order."""
    return tuple(dict.fromkeys(name for is_slot, name in pieces(template) if is_slot))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its slots filled. Every slot must have a value."""
    return "".join(values[part] if is_slot else part for is_slot, part in pieces(template))


@lru_cache(maxsize=512)
def _locale(language: str) -> Locale:
    try:
        return Locale.parse(language.replace("-", "_"))
    except (ValueError, UnknownLocaleError, TypeError):
        return Locale.parse("en")


def shown(value: object, kind: Type, shape: str, language: str, currency: str | None, zone: str | None) -> str:
    """A slot's value, of type `kind`, in the words of a language.

    `shape` is text, integer, number, money, date or days. Money without a currency is a number with
    two decimals. The date of a time is the one in the customer's zone, UTC where it is unknown. Days of
    a duration are whole ones. Texts are listed with the language's commas and 'and'.
    """
    if isinstance(value, tuple):
        return format_list([str(item) for item in value], locale=_locale(language))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if shape == "date":
        day = local_day(int(value) // 1_000_000, zone) if kind is Type.TIME else int(value)
        return _date(max(DATE_MIN, min(DATE_MAX, day)), language)
    if shape == "days":
        return _days(
            abs(int(value)) // _DAY_NS * (1 if value > 0 else -1) if kind is Type.DURATION else int(value), language
        )
    if shape == "integer":
        return _whole(int(value), language)
    if shape == "money":
        amount = Decimal(int(value)) / BILLION if kind is Type.MONEY else value
        return _money(amount, currency, language)
    return _decimal(value, None, language)


# Remembered: Babel takes some 10 us for each, and the same few come again and again.


@lru_cache(maxsize=16384)
def _whole(value: int, language: str) -> str:
    return _decimal(value, None, language)


@lru_cache(maxsize=1024)
def _days(value: int, language: str) -> str:
    return format_unit(value, "duration-day", locale=_locale(language))


@lru_cache(maxsize=4096)
def _date(day: int, language: str) -> str:
    return format_date(to_date(day), "long", _locale(language))


def _money(amount: Decimal | float, currency: str | None, language: str) -> str:
    if currency is None:
        return _decimal(amount, "#,##0.00", language)
    with localcontext(_ALL_DIGITS):
        return format_currency(amount, currency, locale=_locale(language))


def _decimal(value: Decimal | float, pattern: str | None, language: str) -> str:
    with localcontext(_ALL_DIGITS):
        return format_decimal(value, pattern, locale=_locale(language))


def language_for(wanted: str | None, default: str, texts: Mapping[str, Text]) -> str | None:
    """The language to speak: exact, then its base, then the rule set's default; None where none fits."""
    if wanted:
        for candidate in (wanted, wanted.replace("_", "-").split("-")[0]):
            if candidate in texts:
                return candidate
    return default if default in texts else None
