"""Dates, money and lists of texts in the schema, and how their values are written."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler import ruleset
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Type
from engine.compiler.written import (
    DATE_MAX,
    DATE_MIN,
    MONEY_MAX,
    date_text,
    duration_text,
    money_text,
    parse_date,
    parse_money,
    plain,
    time_text,
)
from engine.errors import RulesInvalid

SCHEMA = """
events:
  payment: {amount: {type: money, currency: EUR}, tags: texts, due: date, fee: {type: number, unit: USD}}
features:
  balance: {type: money, currency: EUR, above: 0, at_most: 1000000.5, default: "12.50"}
  next_due: {type: date, default: "2026-01-31"}
  interests: {type: texts, default: [travel, "08"]}
windows:
  spent: {sum: payment.amount, over: 7 days}
  last_amount: {last: payment.amount}
  last_due: {last: payment.due}
  fees: {sum: payment.fee, over: 7 days}
purposes: {p: {consent: not_required}}
"""
TESTS = """
tests:
  - name: all types can be given
    given:
      features: {balance: 12.5, next_due: 2026-02-28, interests: []}
      windows: {spent: -0.01, last_due: "2026-02-28"}
    event: {type: payment, amount: 9223372036854775807.999999999, tags: [a, "b c"], due: 2026-12-31}
    expect: {no_message: NO_RULE_FOR_EVENT}
"""
BILLION = 10**9


def load(text: str) -> RuleSet:
    return ruleset.load({"rules.yaml": textwrap.dedent(text).encode()})


def told(text: str) -> list[str]:
    with pytest.raises(RulesInvalid) as caught:
        load(text)
    return [f"{f.code}: {f.message}" + (f"; {f.hint}" if f.hint else "") for f in caught.value.findings]


def test_the_schema_declares_them() -> None:
    rules = load(SCHEMA)
    amount = rules.events["payment"].attributes["amount"]
    assert (amount.type, amount.unit) == (Type.MONEY, "EUR")
    assert rules.events["payment"].attributes["tags"].type is Type.TEXTS
    balance = rules.features["balance"]
    assert (balance.type, balance.unit, balance.default) == (Type.MONEY, "EUR", 12_500_000_000)
    assert (balance.above, balance.at_most) == (0, 1_000_000_500_000_000)
    assert (rules.features["next_due"].type, rules.features["next_due"].default) == (Type.DATE, 20_484)
    assert rules.features["interests"].default == ("travel", "08")


def test_windows_keep_the_unit() -> None:
    windows = load(SCHEMA).windows
    assert {n: (w.type, w.unit) for n, w in windows.items()} == {
        "spent": (Type.MONEY, "EUR"),
        "last_amount": (Type.MONEY, "EUR"),
        "last_due": (Type.DATE, None),
        "fees": (Type.NUMBER, "USD"),
    }
    other = load(SCHEMA.replace("amount: {type: money, currency: EUR}", "amount: {type: money, currency: USD}"))
    assert other.windows["spent"].definition != windows["spent"].definition  # euros are never counted on as dollars


def test_values_of_tests_are_typed() -> None:
    [test] = load(SCHEMA + TESTS).tests
    assert test.given.features == {"balance": 12_500_000_000, "next_due": 20_512, "interests": ()}
    assert test.given.windows == {"spent": -10_000_000, "last_due": 20_512}
    assert test.attributes == {"amount": MONEY_MAX, "tags": ("a", "b c"), "due": 20_818}


MISTAKES = [
    ("currency: EUR}, tags", "unit: EUR}, tags",
     ["bad-value: the attribute 'amount' is money: its unit is a currency; write `currency`"]),
    ("amount: {type: money, currency: EUR}", "amount: money",
     ["missing-key: the attribute 'amount' needs its currency"]),
    ("amount: {type: money, currency: EUR}", "amount: {type: money}",
     ["missing-key: the attribute 'amount' needs its currency"]),
    ("currency: EUR}, tags", "currency: eur}, tags",
     ["bad-value: the currency of the attribute 'amount' cannot be read; write EUR"]),
    ("currency: EUR}, tags", "currency: euros}, tags",
     ["bad-value: the currency of the attribute 'amount' cannot be read"]),
    ("unit: USD", "currency: USD",
     ["bad-value: 'currency' is for money, and the attribute 'fee' is number; write `unit`, or `type: money`"]),
    ("above: 0", "above: 1e3", ["bad-value: 'above' must be money: it is not an amount"]),
    ('"12.50"', "12.5000000001",
     ["bad-value: the default of the feature 'balance' must be money: it is not an amount"]),
    ('"12.50"', "12 EUR", ["bad-value: the default of the feature 'balance' must be money: it is not an amount"]),
    ('"12.50"', '"9223372036854775808"',
     ["bad-value: the default of the feature 'balance' must be money: it is more than 64 bits of units hold"]),
    ("{type: date,", "{type: date, at_least: 5,",
     ["bad-value: 'at_least' is for numbers and money, and the feature 'next_due' is date"]),
    ('"2026-01-31"', '"2026-02-30"',
     ["bad-value: the default of the feature 'next_due' must be date: there is no such day"]),
    ('"2026-01-31"', '"31.01.2026"',
     ["bad-value: the default of the feature 'next_due' must be date: it is not a date"]),
    ("[travel, \"08\"]", "travel",
     ["wrong-shape: the default of the feature 'interests' must be a list; write [travel]"]),
    ("[travel, \"08\"]", "[travel, [a]]",
     ["wrong-shape: an entry of the default of the feature 'interests' must be a single value"]),
    ("tags: texts", "tags: list of text",
     ["unknown-type: 'list of text': of lists only those of texts can be sent and stored; write 'texts'"]),
    ("tags: texts", "tags: integers",
     ["unknown-type: 'integers': of lists only those of texts can be sent and stored; write 'texts'"]),
    ("sum: payment.amount", "sum: payment.due", ["bad-value: 'sum' adds numbers and money, and 'due' is date"]),
    ("last: payment.due", "last: payment.tags",
     ["not-yet-supported: the last of a text is not supported in this version; use a feature that the bank writes"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_mistakes(old: str, new: str, expected: list[str]) -> None:
    assert SCHEMA.count(old) == 1, old
    assert told(SCHEMA.replace(old, new)) == expected


CURRENCIES = """
events:
  a: {amount: {type: money, currency: EUR}}
  b: {amount: {type: money, currency: USD}}
features: {limit: {type: money, currency: EUR}, cap: {type: money, currency: USD}}
facts: {large: "event.amount > features.%s"}
purposes: {p: {consent: not_required}}
messages:
  m: {purpose: p, on: [%s], channels: [sms], when: "%s", variants: {v: {en: "hi {%s}"}}}
"""


@pytest.mark.parametrize(
    ("limit", "on", "when", "slot", "expected"),
    [
        ("limit", "a", "facts.large", "event.amount", None),
        ("cap", "b", "facts.large && event.amount > features.cap", "event.amount", None),
        ("limit", "b", "event.amount > features.limit", "cap", "currency-mismatch: USD and EUR do not mix"),
        ("limit", "a, b", "event.amount > features.limit", "cap", "event-types-differ: 'amount' is not of one type"),
        ("limit", "a, b", "true", "event.amount", "event-types-differ: 'amount' is not of one type"),
        ("limit", "b", "facts.large", "cap",
         "fact-not-for-event: the fact 'large' cannot serve event type 'b': USD and EUR do not mix"),
    ],
)  # fmt: skip
def test_currencies_never_mix(limit: str, on: str, when: str, slot: str, expected: str | None) -> None:
    rules = CURRENCIES % (limit, on, when, slot)
    if expected is None:
        load(rules)
    else:
        assert told(rules)[0].partition(";")[0] == expected


@settings(deadline=None)
@given(st.integers(-MONEY_MAX, MONEY_MAX))
def test_money_comes_back_from_its_text(value: int) -> None:
    text = money_text(value, "EUR")
    assert text.endswith(" EUR")
    assert parse_money(text.removesuffix(" EUR")) == value
    assert plain(value, Type.MONEY, "EUR") == text


@settings(deadline=None)
@given(st.integers(DATE_MIN, DATE_MAX))
def test_dates_come_back_from_their_text(days: int) -> None:
    assert parse_date(date_text(days)) == days


def test_texts_of_values() -> None:
    assert (money_text(-1_200_000_000_000, None), money_text(10_000_001, "JPY")) == ("-1200.00", "0.010000001 JPY")
    assert (date_text(DATE_MAX), date_text(DATE_MAX + 1)) == ("9999-12-31", "day 2932897")
    assert (time_text(5), time_text(-BILLION)) == ("1970-01-01T00:00:00.000000005Z", "1969-12-31T23:59:59Z")
    assert time_text(10**30) == f"{10**21}s"
    assert duration_text(-1_500_000_000) == "-1.5s"
    assert plain(("a", "b"), Type.TEXTS) == ["a", "b"]
    assert plain((20_484, 0), Type.DATES) == ["2026-01-31", "1970-01-01"]
    assert plain(True, Type.BOOL) is True
    for text in ("2026-1-31", "2026-01-31T00:00:00Z", "٢٠٢٦-01-31", "0000-01-01", "20260131"):
        with pytest.raises(ValueError):
            parse_date(text)
    for text in ("", ".5", "1,5", "1e3", "٣", "--1", "1.0000000000"):
        with pytest.raises(ValueError):
            parse_money(text)
