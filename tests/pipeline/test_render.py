"""Values in the words of a language."""

from __future__ import annotations

import pytest

from engine.compiler.nodes import Type
from engine.compiler.written import DATE_MAX, MONEY_MAX
from engine.step.render import shown

EURO, DAY_NS = 10**9, 86_400 * 10**9
LATE = 1_767_222_000 * 10**9  # 2025-12-31T23:00Z

CASES: list[tuple[object, Type, str, str, str | None, str]] = [
    (1_234_500_000_000, Type.MONEY, "money", "en", "EUR", "€1,234.50"),
    (1_234_500_000_000, Type.MONEY, "money", "de", "EUR", "1.234,50\xa0€"),
    (-5 * EURO, Type.MONEY, "money", "en", "JPY", "-¥5"),
    (5 * EURO, Type.MONEY, "money", "en", None, "5.00"),
    (MONEY_MAX // 10**7 * 10**7, Type.MONEY, "money", "en", "EUR", "€9,223,372,036,854,775,807.99"),
    (1234.5, Type.NUMBER, "money", "en", "EUR", "€1,234.50"),
    (3, Type.INTEGER, "money", "en", "EUR", "€3.00"),
    (20_484, Type.DATE, "date", "en", None, "January 31, 2026"),
    (20_484, Type.DATE, "date", "es", None, "31 de enero de 2026"),
    (DATE_MAX, Type.DATE, "date", "en", None, "December 31, 9999"),
    (LATE, Type.TIME, "date", "en", None, "December 31, 2025"),
    (253_402_300_799 * 10**9, Type.TIME, "date", "en", None, "December 31, 9999"),
    (3, Type.INTEGER, "days", "en", None, "3 days"),
    (36 * DAY_NS // 24, Type.DURATION, "days", "en", None, "1 day"),
    (-DAY_NS - 1, Type.DURATION, "days", "en", None, "-1 day"),
    (("rent",), Type.TEXTS, "text", "en", None, "rent"),
    (("a", "b", "c"), Type.TEXTS, "text", "en", None, "a, b, and c"),
    (("a", "b", "c"), Type.TEXTS, "text", "es", None, "a, b y c"),
    ("Ana", Type.TEXT, "text", "en", None, "Ana"),
]


@pytest.mark.parametrize(("value", "kind", "shape", "language", "currency", "expected"), CASES)
def test_values_are_written(
    value: object, kind: Type, shape: str, language: str, currency: str | None, expected: str
) -> None:
    assert shown(value, kind, shape, language, currency, None) == expected


def test_the_date_of_a_time_is_the_customers() -> None:
    assert shown(LATE, Type.TIME, "date", "en", None, "Europe/Madrid") == "January 1, 2026"
    assert shown(LATE, Type.TIME, "date", "en", None, "No/Where") == "December 31, 2025"
    assert shown(253_402_300_799 * 10**9, Type.TIME, "date", "en", None, "Pacific/Kiritimati") == "December 31, 9999"
    assert shown(20_484, Type.DATE, "date", "en", None, "Pacific/Kiritimati") == "January 31, 2026"
