"""Protobuf bytes to the pipeline's requests, checked against the schema.

All that is wrong with a request is told at once, by field. A fresh message is parsed per call: upb
messages that are assigned to again and again grow without bound (protobuf#10294).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from engine.compiler.model import Attribute, RuleSet
from engine.decision import BY_CHANNEL, BY_PRODUCT, DecideRequest, Event, OutcomeKind, Outcomes
from engine.errors import InvalidInput, Violation
from engine.identity import fingerprint, parse_decision_id
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.service.values import (
    MAX_LISTED,
    Violations,
    check_id,
    check_text,
    decode_value,
    quote,
    timestamp_ms,
    timestamp_ns,
)

MAX_ITEMS = 1000
MAX_MESSAGES = 10
_MAX_FAILURE_BYTES = 1024
_MAX_CATEGORY_BYTES = 64
_EXACT = 1 << 53  # a double holds every integer up to this
_M = TypeVar("_M", bound=Message)


def parse(kind: type[_M], payload: bytes) -> _M:
    """The message in these bytes. Raises InvalidInput where they are not one."""
    message = kind()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        what = f"found {len(payload)} bytes that are not a {kind.DESCRIPTOR.full_name}: {error}"
        raise InvalidInput([Violation("request", what)], "MALFORMED_REQUEST") from error
    return message


def _envelope() -> type[Message]:
    """A message `{ repeated bytes items = 1; }`: the outer shape of every batch, its items unparsed."""
    file = descriptor_pb2.FileDescriptorProto(name="tact/envelope.proto", package="tact.internal", syntax="proto3")
    field = file.message_type.add(name="Envelope").field.add(name="items", number=1)
    field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tact.internal.Envelope"))


_Envelope = _envelope()


def split(payload: bytes, field: str) -> list[bytes]:
    """The items of a batch, not yet parsed: one that is malformed costs itself only.

    `field` is the batch's only field, number 1. Raises InvalidInput above 1,000 items.
    """
    items: list[bytes] = list(parse(_Envelope, payload).items)  # type: ignore[attr-defined]
    if len(items) > MAX_ITEMS:
        raise InvalidInput([Violation(field, f"found {len(items)} items: expected at most {MAX_ITEMS}")])
    return items


def decode_request(message: pb.DecideRequest, rules: RuleSet, prefix: str = "") -> DecideRequest:
    """A request whose event fits the schema. Raises InvalidInput with all violations.

    `prefix` stands before field names: "what_if." where the request is part of another.
    """
    into = Violations()
    if not 0 <= message.max_messages <= MAX_MESSAGES:
        into.add(f"{prefix}max_messages", f"found {message.max_messages}: expected 0 to {MAX_MESSAGES}, 0 meaning 1")
    if not message.HasField("event"):
        into.add(f"{prefix}event", "is missing")
        into.check()
    event = decode_event(message.event, rules, f"{prefix}event", into)
    into.check()
    return DecideRequest(event, message.max_messages or 1, message.dry_run, content_fingerprint(message))


def content_fingerprint(message: pb.DecideRequest) -> int:
    """Of the event's content as it came, so that a retry is known for one whatever the rule set has become.

    Attributes are sorted; a whole number is the same as an integer.
    """
    event = message.event
    at = event.occurred_at
    occurred_at_ns = at.seconds * 1_000_000_000 + at.nanos if event.HasField("occurred_at") else None
    values = {name: _raw(value) for name, value in event.attributes.items()}
    return fingerprint(event.type, occurred_at_ns, values, message.max_messages or 1)


def _raw(value: pb.Value) -> object:
    kind = value.WhichOneof("kind")
    if kind == "number":
        number = value.number
        return int(number) if abs(number) <= _EXACT and number.is_integer() else number
    if kind == "time":
        return ("time", value.time.seconds, value.time.nanos)
    if kind == "money":
        return ("money", value.money.currency_code, value.money.units, value.money.nanos)
    if kind == "texts":
        return ("texts", *value.texts.values)
    return () if kind is None else getattr(value, kind)


def decode_event(event: pb.Event, rules: RuleSet, field: str, into: Violations) -> Event:
    """An event that fits the schema; what does not goes to `into`."""
    check_id(event.event_id, f"{field}.event_id", into)
    check_id(event.customer_id, f"{field}.customer_id", into)
    occurred_at_ns = None
    if event.HasField("occurred_at"):
        occurred_at_ns = timestamp_ns(event.occurred_at, f"{field}.occurred_at", into)
    attributes: dict[str, object] = {}
    declared = rules.events.get(event.type)
    if declared is not None:
        attributes = _decode_attributes(event, declared.attributes, f"{field}.attributes", into)
    elif event.type:
        into.unknown(f"{field}.type", "event type", event.type, rules.events)
    else:
        into.add(f"{field}.type", "is missing: expected an event type of the rule set")
    return Event(event.event_id, event.customer_id, event.type, occurred_at_ns, attributes)


def _decode_attributes(
    event: pb.Event, declared: Mapping[str, Attribute], field: str, into: Violations
) -> dict[str, object]:
    decoded: dict[str, object] = {}
    given = event.attributes
    before = len(into.found)
    if len(given) > MAX_LISTED:
        into.add(field, f"found {len(given)} attributes: expected at most {MAX_LISTED}")
        return decoded
    for name, value in given.items():
        attribute = declared.get(name)
        if attribute is None:
            into.unknown(f"{field}[{quote(name)}]", f"{event.type} attribute", name, declared)
        else:
            decoded[name] = decode_value(value, attribute.type, attribute.unit, f'{field}["{name}"]', into)
    into.found[before:] = sorted(into.found[before:], key=lambda v: v.field)  # maps have no order of their own
    return decoded


def decode_outcome(report: pb.OutcomeReport, rules: RuleSet) -> Outcomes:
    """A report on a decision, or on what a customer did. Raises InvalidInput with all violations."""
    into = Violations()
    kind = OutcomeKind(report.kind) if report.kind in _KINDS else None
    given = [name for name in _INSTEAD if getattr(report, name)]
    if given and not report.decision_id:
        _check_credit(report, kind, rules, into)
    elif not report.decision_id:
        into.add("decision_id", "is missing: expected a decision_id as a Decision gave it, or a customer_id")
    else:
        check_decision_id(report.decision_id, "decision_id", into)
        for name in given:
            into.add(name, "found beside decision_id: expected one of them, as a decision says whose it is and of what")
    if kind is None:
        into.add("kind", f"found {report.kind}: expected one of {', '.join(k.name for k in OutcomeKind)}")
    occurred_at_ms = None
    if report.HasField("occurred_at"):
        occurred_at_ms = timestamp_ms(report.occurred_at, "occurred_at", into)
    if not math.isfinite(report.value):
        into.add("value", f"found {report.value!r}: expected a finite number")
    if report.outcome_id:
        check_id(report.outcome_id, "outcome_id", into)
    check_text(report.failure, "failure", into, _MAX_FAILURE_BYTES)
    check_text(report.category, "category", into, _MAX_CATEGORY_BYTES)
    into.check()
    assert kind is not None
    return Outcomes(
        report.decision_id, kind, occurred_at_ms, report.value, report.outcome_id, report.failure, report.category,
        report.customer_id, report.product, report.channel,
    )  # fmt: skip


_KINDS = frozenset(int(kind) for kind in OutcomeKind)
_INSTEAD = ("customer_id", "product", "channel")  # of a decision_id


def _check_credit(report: pb.OutcomeReport, kind: OutcomeKind | None, rules: RuleSet, into: Violations) -> None:
    """What a report needs that names no decision: whose it is, of what, when, and an id to know it by again."""
    check_id(report.customer_id, "customer_id", into)
    if not report.HasField("occurred_at"):
        into.add("occurred_at", "is missing: expected when it happened, where no decision_id is given")
    if not report.outcome_id:
        into.add("outcome_id", "is missing: expected the id by which it counts once, where no decision_id is given")
    if kind in BY_PRODUCT:
        _check_about(report, kind, "product", "channel", into)
        if report.product and report.product not in rules.products:
            into.unknown("product", "product", report.product, rules.products)
    elif kind in BY_CHANNEL:
        _check_about(report, kind, "channel", "product", into)
        if report.channel and report.channel not in rules.channels:
            used = {choice.channel for message in rules.messages.values() for choice in message.channels}
            if report.channel not in used:
                into.unknown("channel", "channel", report.channel, used | set(rules.channels))
    elif kind is OutcomeKind.OPTED_OUT:
        told = "without one use PutProfiles, so that the consent is withdrawn whatever was sent"
        into.add("decision_id", f"is missing: an OPTED_OUT stops the purpose of a decision; {told}")
    elif kind is not None:
        into.add("decision_id", f"is missing: expected the one that is {kind.name}")


def _check_about(report: pb.OutcomeReport, kind: OutcomeKind, needed: str, other: str, into: Violations) -> None:
    if not getattr(report, needed):
        into.add(needed, f"is missing: expected the {needed} of a {kind.name} without decision_id")
    if getattr(report, other):
        into.add(other, f"found {quote(getattr(report, other))}: expected none, as a {kind.name} goes by {needed}")


def check_decision_id(text: str, field: str, into: Violations) -> None:
    """An id as `Decision.decision_id` gave it."""
    if not text:
        into.add(field, "is missing: expected a decision_id as a Decision gave it")
    elif len(text) > MAX_LISTED or parse_decision_id(text) is None:
        into.add(field, f"found {quote(text)}: expected a decision_id as a Decision gave it")
