"""Dates, money and lists of texts on the wire: what is taken, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, Parse
from google.type.money_pb2 import Money
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bundle import Bundle, compile_bundle
from engine.compiler.nodes import Type
from engine.compiler.written import DATE_MAX, DATE_MIN, MONEY_MAX
from engine.errors import InvalidInput
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import profile_pb2
from engine.service.codec import content_fingerprint, decode_request
from engine.service.profile_codec import decode_profile, encode_profile
from engine.service.values import Violations, decode_value, encode_value
from engine.state.model import Profile
from engine.step.inputs import stored

RULES = b"""\
events:
  payment: {amount: {type: money, currency: EUR}, due: date, tags: texts, paid_at: time, share: number}
features: {balance: {type: money, currency: EUR}, next_due: date, interests: texts}
purposes: {service: {consent: not_required}}
channels: {push: {}}
messages:
  thanks: {purpose: service, on: [payment], channels: [push], variants: {plain: {en: "Thank you."}}}
"""
TYPES: dict[str, tuple[Type, str | None]] = {
    "money": (Type.MONEY, "EUR"),
    "date": (Type.DATE, None),
    "texts": (Type.TEXTS, None),
    "time": (Type.TIME, None),
    "number": (Type.NUMBER, None),
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle({"rules.yaml": RULES})


DATE = "expected a text that is a date, such as '2026-01-31'"


def money(units: int = 0, nanos: int = 0, currency: str = "EUR") -> pb.Value:
    return pb.Value(money=Money(currency_code=currency, units=units, nanos=nanos))


def texts(*values: str) -> pb.Value:
    return pb.Value(texts=pb.TextList(values=values))


TAKEN: list[tuple[str, pb.Value, object]] = [
    ("money", money(12, 500_000_000), 12_500_000_000),
    ("money", money(-12, -500_000_000), -12_500_000_000),
    ("money", money(0, -1), -1),
    ("money", money(), 0),
    ("money", money(2**63 - 1, 999_999_999), MONEY_MAX),
    ("money", money(1 - 2**63, -999_999_999), 1 - 2**63 * 10**9),
    ("date", pb.Value(text="2026-01-31"), 20_484),
    ("date", pb.Value(text="0001-01-01"), DATE_MIN),
    ("texts", texts(), ()),
    ("texts", texts("b", "a", "b"), ("b", "a", "b")),
    ("texts", texts(*["x" * 64] * 256), ("x" * 64,) * 256),
]


@pytest.mark.parametrize(("kind", "value", "expected"), TAKEN)
def test_what_is_taken(kind: str, value: pb.Value, expected: object) -> None:
    into = Violations()
    assert decode_value(value, *TYPES[kind], "f", into) == expected
    assert into.found == []


REFUSED = [
    ("money", money(5, 0, "USD"), 'found money in "USD": expected money in EUR'),
    ("money", money(5, 0, "eur"), 'found money in "eur": expected money in EUR'),
    ("money", money(5, 0, ""), "found money without a currency: expected money in EUR"),
    ("money", pb.Value(integer=5), "found integer 5: expected money in EUR"),
    ("money", pb.Value(number=5.5), "found number 5.5: expected money in EUR"),
    ("money", pb.Value(text="5.50 EUR"), 'found text "5.50 EUR": expected money in EUR'),
    ("money", money(1, -1), "found 1 units and -1 nanos: expected both of one sign"),
    ("money", money(-1, 1), "found -1 units and 1 nanos: expected both of one sign"),
    ("money", money(0, 10**9), "found 1000000000 nanos: expected -999999999 to 999999999"),
    ("money", money(-1, -(2**31)), "found -2147483648 nanos: expected -999999999 to 999999999"),
    ("money", money(-(2**63)), "found -9223372036854775808 units: expected at least -9223372036854775807"),
    ("number", money(5), 'found money in "EUR": expected a number'),
    ("date", pb.Value(text="31.01.2026"), f'found text "31.01.2026": {DATE}'),
    ("date", pb.Value(text="2026-02-29"), f'found text "2026-02-29": {DATE}'),
    ("date", pb.Value(time={"seconds": 1}), f"found a time: {DATE}"),
    ("time", pb.Value(text="2026-01-31"), 'found text "2026-01-31": expected a time'),
    ("texts", pb.Value(text="a"), 'found text "a": expected a list of texts'),
    ("texts", texts(*["x"] * 257), "found 257 texts: expected at most 256"),
    ("texts", texts("ü" * 8192, "x"), "found texts of 16385 bytes together: expected at most 16384"),
    ("number", texts("a"), "found a list of texts: expected a number"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "told"), REFUSED)
def test_what_is_refused(kind: str, value: pb.Value, told: str) -> None:
    into = Violations()
    assert decode_value(value, *TYPES[kind], "f", into) is None
    assert [(v.field, v.description) for v in into.found] == [("f", told)]


@settings(deadline=None, max_examples=50)
@given(st.integers(-MONEY_MAX, MONEY_MAX), st.integers(DATE_MIN, DATE_MAX), st.lists(st.text(max_size=5), max_size=5))
def test_values_come_back(amount: int, days: int, words: list[str]) -> None:
    into = Violations()
    for kind, value in (("money", amount), ("date", days), ("texts", tuple(words))):
        type_, unit = TYPES[kind]
        encoded = encode_value(type_.value, value, unit or "")
        assert decode_value(encoded, type_, unit, "f", into) == value
    assert into.found == []


def test_an_event_in_protobuf_json(bundle: Bundle) -> None:
    line = """{"event": {"eventId": "e", "customerId": "c", "type": "payment", "attributes": {
      "amount": {"money": {"currencyCode": "EUR", "units": "12", "nanos": 500000000}},
      "due": {"text": "2026-01-31"}, "tags": {"texts": {"values": ["rent", "home"]}}}}}"""
    message = Parse(line, pb.DecideRequest())
    decoded = decode_request(message, bundle.ruleset)
    assert decoded.event.attributes == {"amount": 12_500_000_000, "due": 20_484, "tags": ("rent", "home")}
    other = Parse(line.replace("EUR", "USD"), pb.DecideRequest())
    assert content_fingerprint(other) != content_fingerprint(message)
    with pytest.raises(InvalidInput) as caught:
        decode_request(other, bundle.ruleset)
    assert [(v.field, v.description) for v in caught.value.violations] == [
        ('event.attributes["amount"]', 'found money in "USD": expected money in EUR')
    ]


def test_a_profile_comes_back_as_it_was_written(bundle: Bundle) -> None:
    features: dict[str, Any] = {
        "balance": money(-3, -250_000_000),
        "next_due": pb.Value(text="2026-01-31"),
        "interests": texts("travel", "food"),
    }
    written = profile_pb2.Profile(customer_id="c", features=features)
    change = decode_profile(written, bundle.ruleset)
    cells = {name: stored(bundle.ruleset.features[name], value, 5) for name, value in change.features.items()}
    read = encode_profile("c", Profile(b"12345678", cells))
    assert read == written
    assert MessageToDict(read)["features"]["balance"] == {
        "money": {"currencyCode": "EUR", "units": "-3", "nanos": -250000000}
    }
