"""What is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from engine.bundle import Bundle, compile_bundle
from engine.compiler.nodes import Type
from engine.compiler.written import duration_text
from engine.errors import InvalidInput
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import profile_pb2
from engine.service.codec import decode_outcome, decode_request, parse, split
from engine.service.profile_codec import decode_profile, encode_profile
from engine.service.values import Violations, decode_value, encode_value, parse_duration
from engine.state.model import Cell, Profile


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    rules = b"""\
events:
  deposit: {amount: number, channel: text, items: integer, vip: bool, due: time}
features: {balance: number, visits: integer, joined: time}
purposes: {service: {consent: not_required, if_state_unknown: silent}}
channels: {push: {}}
messages:
  thanks:
    {purpose: service, topic: savings, on: [deposit], value: 1.0, channels: [push], variants: {plain: {en: "Thanks."}}}
topics: {savings: {was: [deposits]}}
"""
    return compile_bundle({"rules.yaml": rules})


def request(**event: Any) -> pb.DecideRequest:
    return pb.DecideRequest(event=pb.Event(**{"event_id": "e", "customer_id": "c", "type": "deposit", **event}))


def value(**kind: Any) -> dict[str, pb.Value]:
    return {"amount": pb.Value(**kind)}


BAD = [
    (pb.DecideRequest(), [("event", "is missing")]),
    (
        pb.DecideRequest(event=pb.Event(), max_messages=11),
        [
            ("max_messages", "found 11: expected 0 to 10, 0 meaning 1"),
            ("event.event_id", "is missing: expected 1 to 256 characters"),
            ("event.customer_id", "is missing: expected 1 to 256 characters"),
            ("event.type", "is missing: expected an event type of the rule set"),
        ],
    ),
    (request(event_id="x" * 257), [("event.event_id", "has 257 characters: expected at most 256")]),
    (
        request(customer_id="a\nb"),
        [("event.customer_id", 'found control characters in "a\\nb": expected none')],
    ),
    (
        request(type="depositt"),
        [("event.type", "event type \"depositt\" is not in the rule set; did you mean 'deposit'?")],
    ),
    (
        request(attributes={"amont": pb.Value(number=1)}),
        [
            (
                'event.attributes["amont"]',
                "deposit attribute \"amont\" is not in the rule set; did you mean 'amount'?",
            )
        ],
    ),
    (
        request(attributes=value()),
        [('event.attributes["amount"]', "found a value without a kind: expected a number")],
    ),
    (
        request(attributes=value(number=float("nan"))),
        [('event.attributes["amount"]', "found number nan: expected a finite number")],
    ),
    (
        request(attributes=value(number=float("-inf"))),
        [('event.attributes["amount"]', "found number -inf: expected a finite number")],
    ),
    (
        request(attributes=value(integer=2**53 + 1)),
        [
            (
                'event.attributes["amount"]',
                "found integer 9007199254740993, which a number does not hold exactly: expected a number",
            )
        ],
    ),
    (
        request(attributes=value(text="500")),
        [('event.attributes["amount"]', 'found text "500": expected a number')],
    ),
    (
        request(attributes={"items": pb.Value(number=2.0)}),
        [('event.attributes["items"]', "found number 2.0: expected an integer")],
    ),
    (
        request(attributes={"vip": pb.Value(integer=1), "channel": pb.Value(flag=True)}),
        [
            ('event.attributes["channel"]', "found flag true: expected a text"),
            ('event.attributes["vip"]', "found integer 1: expected a flag"),
        ],
    ),
    (
        request(attributes={"channel": pb.Value(texts=pb.TextList(values=["a"]))}),
        [('event.attributes["channel"]', "found a list of texts: expected a text")],
    ),
    (
        request(attributes={"channel": pb.Value(text="x" * 1_000_000)}),
        [('event.attributes["channel"]', "found a text of 1000000 bytes: expected at most 16384")],
    ),
    (
        request(attributes={"due": pb.Value(time=Timestamp(seconds=253_402_300_800))}),
        [
            (
                'event.attributes["due"]',
                "found 253402300800 seconds since 1970: expected a time in the years 0001 to 9999",
            )
        ],
    ),
    (
        request(occurred_at=Timestamp(nanos=-1)),
        [("event.occurred_at", "found -1 nanos: expected 0 to 999999999")],
    ),
    (
        request(attributes={f"a{i}": pb.Value(flag=True) for i in range(257)}),
        [("event.attributes", "found 257 attributes: expected at most 256")],
    ),
]


@pytest.mark.parametrize(("message", "violations"), BAD)
def test_every_violation_is_told_at_once(
    bundle: Bundle, message: pb.DecideRequest, violations: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_request(message, bundle.ruleset)
    assert [(v.field, v.description) for v in caught.value.violations] == violations


def test_a_valid_request_is_decoded_by_declared_types(bundle: Bundle) -> None:
    message = request(
        occurred_at=Timestamp(seconds=1, nanos=5),
        attributes={
            "amount": pb.Value(integer=2**53),
            "items": pb.Value(integer=-(2**63)),
            "vip": pb.Value(flag=False),
            "channel": pb.Value(text="ü" * 8192),
            "due": pb.Value(time=Timestamp(seconds=-62_135_596_800)),
        },
    )
    decoded = decode_request(message, bundle.ruleset)
    assert decoded.event.attributes == {
        "amount": 9007199254740992.0,
        "items": -(2**63),
        "vip": False,
        "channel": "ü" * 8192,
        "due": -62_135_596_800_000_000_000,
    }
    assert isinstance(decoded.event.attributes["amount"], float)
    assert (decoded.event.occurred_at_ns, decoded.max_messages, decoded.dry_run) == (1_000_000_005, 1, False)


def test_hints_are_few_so_that_bad_input_costs_little(bundle: Bundle) -> None:
    message = request(attributes={f"amoun{i}": pb.Value(flag=True) for i in range(200)})
    with pytest.raises(InvalidInput) as caught:
        decode_request(message, bundle.ruleset)
    assert len(caught.value.violations) == 200
    assert sum("did you mean" in v.description for v in caught.value.violations) == 8


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x05ab", b"\x0a\x03\x0a\x01\xff", b"\x08\x96\x96\x96"])
def test_malformed_bytes_are_invalid(payload: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(pb.DecideRequest, payload)
    assert caught.value.reason == "MALFORMED_REQUEST"
    assert caught.value.violations[0].description.startswith(
        f"found {len(payload)} bytes that are not a tact.v1.DecideRequest"
    )


def test_a_batch_is_split_without_parsing_its_items() -> None:
    good = request().SerializeToString()
    assert split(b"\x0a\x02\xff\xff\x0a" + bytes([len(good)]) + good, "requests") == [b"\xff\xff", good]
    with pytest.raises(InvalidInput, match="requests: found 1001 items: expected at most 1000"):
        split(b"\x0a\x00" * 1001, "requests")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("3600s", 3_600_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("-1.5s", -1_500_000_000),
        ("0.000000001s", 1),
        ("", None),
        ("-", None),
        ("1", None),
        ("1h ", None),
        ("1d", None),
        ("1e3s", None),
        ("9223372037s", None),
    ],
)
def test_durations(text: str, ns: int | None) -> None:
    assert parse_duration(text) == ns
    if ns is not None:
        assert parse_duration(duration_text(ns)) == ns


def test_a_duration_is_a_text() -> None:
    into = Violations()
    assert decode_value(pb.Value(text="90m"), Type.DURATION, None, "f", into) == 5_400_000_000_000
    assert decode_value(pb.Value(text="soon"), Type.DURATION, None, "f", into) is None
    expected = "a text that is a duration, such as '3600s' or '1h30m'"
    assert [(v.field, v.description) for v in into.found] == [("f", f'found text "soon": expected {expected}')]
    assert encode_value("duration", 5_400_000_000_000) == pb.Value(text="5400s")


@pytest.mark.parametrize(
    ("report", "violations"),
    [
        (
            pb.OutcomeReport(),
            [
                ("decision_id", "is missing: expected a decision_id as a Decision gave it, or a customer_id"),
                (
                    "kind",
                    "found 0: expected one of DELIVERED, NOT_DELIVERED, OPENED, CLICKED, REPLIED, CONVERTED, "
                    "OPTED_OUT, DECLINED, COMPLAINED",
                ),
            ],
        ),
        (
            pb.OutcomeReport(
                decision_id=f"{0:032x}-{0:016x}-0",
                kind=1,
                value=float("inf"),
                failure="x" * 1025,
                outcome_id="\x00",
                category="x" * 65,
            ),
            [
                ("value", "found inf: expected a finite number"),
                ("outcome_id", 'found control characters in "\\u0000": expected none'),
                ("failure", "found a text of 1025 bytes: expected at most 1024"),
                ("category", "found a text of 65 bytes: expected at most 64"),
            ],
        ),
    ],
)
def test_outcomes(bundle: Bundle, report: pb.OutcomeReport, violations: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_outcome(report, bundle.ruleset)
    assert [(v.field, v.description) for v in caught.value.violations] == violations


def test_profiles(bundle: Bundle) -> None:
    hours = profile_pb2.PreferredHours(to="24:00")
    setattr(hours, "from", "8:00")
    message = profile_pb2.Profile(
        features={"balanc": pb.Value(number=1), "visits": pb.Value(text="many")},
        clear_features=["visits", "joind"],
        contact=profile_pb2.ContactPreferences(
            consents=[
                profile_pb2.Consent(purpose="servce", state=profile_pb2.Consent.GRANTED),
                profile_pb2.Consent(),
                profile_pb2.Consent(purpose="service", state=profile_pb2.Consent.GRANTED, channel="psh"),
                profile_pb2.Consent(purpose="service", state=profile_pb2.Consent.GRANTED, topic="saving"),
            ],
            blocked_topics=["savings", "deposits", "cards", "depsoits", ""],
            blocked_channels=["pus"],
            preferred_hours=hours,
        ),
    )
    with pytest.raises(InvalidInput) as caught:
        decode_profile(message, bundle.ruleset)
    time_of_day = 'expected a time of day as "HH:MM", "00:00" to "23:59"'
    assert [(v.field, v.description) for v in caught.value.violations] == [
        ("customer_id", "is missing: expected 1 to 256 characters"),
        ('features["balanc"]', "feature \"balanc\" is not in the rule set; did you mean 'balance'?"),
        ('features["visits"]', 'found text "many": expected an integer'),
        ("clear_features[0]", 'found "visits", which features sets: expected one of the two'),
        ("clear_features[1]", "feature \"joind\" is not in the rule set; did you mean 'joined'?"),
        ("contact.consents[0].purpose", "purpose \"servce\" is not in the rule set; did you mean 'service'?"),
        ("contact.consents[1].purpose", "is missing: expected a purpose of the rule set"),
        ("contact.consents[1].state", "found 0: expected GRANTED or WITHDRAWN"),
        ("contact.consents[2].channel", "channel \"psh\" is not in the rule set; did you mean 'push'?"),
        ("contact.consents[3].topic", "topic \"saving\" is not in the rule set; did you mean 'savings'?"),
        ("contact.blocked_topics[3]", "topic \"depsoits\" is not in the rule set; did you mean 'deposits'?"),
        ("contact.blocked_topics[4]", "is missing: expected 1 to 256 characters"),
        ("contact.blocked_channels[0]", "channel \"pus\" is not in the rule set; did you mean 'push'?"),
        ("contact.preferred_hours.from", f'found "8:00": {time_of_day}'),
        ("contact.preferred_hours.to", f'found "24:00": {time_of_day}'),
    ]


def test_a_profile_comes_back_as_it_was_written(bundle: Bundle) -> None:
    hours = profile_pb2.PreferredHours(to="08:05")
    setattr(hours, "from", "20:00")
    written = profile_pb2.Profile(
        customer_id="c",
        features={
            "balance": pb.Value(number=1.5),
            "visits": pb.Value(integer=3),
            "joined": pb.Value(time=Timestamp(seconds=-1, nanos=1)),
        },
        contact=profile_pb2.ContactPreferences(
            consents=[
                profile_pb2.Consent(
                    purpose="service",
                    state=profile_pb2.Consent.WITHDRAWN,
                    changed_at=Timestamp(seconds=5),
                    source="branch",
                    wording_version="2",
                ),
                profile_pb2.Consent(
                    purpose="service",
                    state=profile_pb2.Consent.GRANTED,
                    changed_at=Timestamp(seconds=6),
                    topic="cards",
                    channel="push",
                ),
            ],
            blocked_topics=["cards"],
            blocked_channels=["push"],
            preferred_hours=hours,
        ),
    )
    change = decode_profile(written, bundle.ruleset)
    types = {name: bundle.ruleset.features[name].type.value for name in change.features}
    cells = {name: Cell(types[name], v, 0) for name, v in change.features.items()}
    assert encode_profile("c", Profile(b"12345678", cells, change.contact)) == written
