"""Tests that stand beside the rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.compiler.model import EventType, Expect, Feature, Given, Message, Product, Test
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.tree import ListNode, MapNode, Node, Scalar
from engine.compiler.values import typed_value

REASONS = (
    "NO_RULE_FOR_EVENT", "NOT_IN_AUDIENCE", "NOT_ELIGIBLE", "DATA_MISSING", "DATA_STALE", "WINDOW_INCOMPLETE",
    "LEFT_ALONE", "NO_CONSENT", "OPTED_OUT", "TOPIC_BLOCKED", "CHANNEL_BLOCKED", "OUTSIDE_PREFERRED_HOURS",
    "QUIET_HOURS", "CAP_REACHED", "GAP_NOT_ELAPSED", "VOLUME_REACHED", "ALREADY_CONVERTED",
    "ALREADY_DECLINED", "REPEATEDLY_IGNORED", "NO_CHANNEL", "HOLDOUT", "VARIANT_UNAVAILABLE", "NOT_IN_TRIAL",
    "BELOW_RESERVE", "TEXT_UNAVAILABLE", "EVENT_TOO_OLD", "SEND_BY_PASSED", "STATE_UNKNOWN", "PAUSED",
    "LOG_FULL",
)  # fmt: skip
_OFFSET = re.compile(r"([+-])(\d\d):00$")
_EXPECT = ("send", "no_message", "eligible", "variant", "channel", "text")


class Schema(NamedTuple):
    """What tests are typed against. `declared` holds names by kind, also of what could not be read."""

    events: Mapping[str, EventType]
    features: Mapping[str, Feature]
    windows: Mapping[str, Type]
    broken: set[str]
    declared: Mapping[str, frozenset[str]]
    messages: Mapping[str, Message]
    products: Mapping[str, Product]


def read_tests(reading: Reading, nodes: Sequence[Node], schema: Schema) -> tuple[Test, ...]:
    """Tests in the order written; names are unique."""
    tests: list[Test] = []
    names: dict[str, Node] = {}
    for node in nodes:
        known = ("name", "given", "event", "expect", "holdout", "in_trial")
        fields = reading.fields(node, "a test", known, ("name", "event", "expect"))
        if fields is None:
            continue
        name = reading.text(fields["name"][1], "the name of a test") if "name" in fields else None
        if name is not None and name in names:
            message = f"two tests are called '{name[:60]}'"
            reading.add("duplicate-name", fields["name"][1], message, also=names[name].position)
        elif name is not None:
            names[name] = fields["name"][1]
        given = _given(reading, fields, schema)
        event = _event(reading, fields["event"][1], schema) if "event" in fields else None
        expect = _expect(reading, fields, schema)
        holdout = reading.flag(fields["holdout"][1], "'holdout'") if "holdout" in fields else None
        in_trial = reading.flag(fields["in_trial"][1], "'in_trial'") if "in_trial" in fields else None
        if name is not None and event is not None and expect is not None:
            tests.append(
                Test(name, given, event[0], event[1], expect, bool(holdout), node.position, in_trial is not False)
            )
    return tuple(tests)


def _given(reading: Reading, fields: Fields, schema: Schema) -> Given:
    node = fields["given"][1] if "given" in fields else None
    parts = reading.fields(node, "'given'", ("features", "windows", "consent", "now")) if node is not None else None
    if parts is None:
        return Given({}, {}, (), None)
    types = {name: feature.type for name, feature in schema.features.items()}
    features = _values(reading, parts, "features", types, schema)
    windows = _values(reading, parts, "windows", schema.windows, schema)
    consent: tuple[str, ...] = ()
    if "consent" in parts:
        consent = reading.names(parts["consent"][1], "'consent'", schema.declared["purpose"], "unknown-purpose")
    now = typed_value(reading, parts["now"][1], Type.TIME, "'now'") if "now" in parts else None
    zone = _zone(parts["now"][1]) if "now" in parts else None
    return Given(features, windows, consent, now if isinstance(now, int) else None, zone)


def _zone(now: Node) -> str | None:
    """The offset of a written time as an IANA zone (their signs are the other way round), if it is whole hours."""
    offset = _OFFSET.search(now.value.strip()) if isinstance(now, Scalar) else None
    if offset is None or int(offset[2]) > (14 if offset[1] == "+" else 12):
        return None
    return f"Etc/GMT{'-' if offset[1] == '+' else '+'}{int(offset[2])}"


def _values(reading: Reading, parts: Fields, kind: str, types: Mapping[str, Type], schema: Schema) -> dict[str, object]:
    mapping = reading.map(parts[kind][1], f"'{kind}'") if kind in parts else None
    result: dict[str, object] = {}
    for name, (key, node) in (mapping.entries if mapping else {}).items():
        if f"{kind}.{name}" in schema.broken:
            continue
        if name not in types:
            reading.unknown(f"unknown-{kind[:-1]}", key, f"no {kind[:-1]} is called '{name[:60]}'", types)
            continue
        value = typed_value(reading, node, types[name], f"'{name}'")
        if value is not None:
            result[name] = value
    return result


def _event(reading: Reading, node: Node, schema: Schema) -> tuple[str, dict[str, object]] | None:
    mapping = reading.map(node, "'event'")
    if mapping is None:
        return None
    if "type" not in mapping.entries:
        reading.add("missing-key", node, "'event' needs 'type'")
        return None
    name = reading.reference(mapping.entries["type"][1], "event type", schema.events)
    if name is None:
        return None
    attributes = schema.events[name].attributes
    result: dict[str, object] = {}
    for field, (key, value_node) in mapping.entries.items():
        if field == "type" or f"event.{field}" in schema.broken:
            continue
        kind = Type.TIME if field == "occurred_at" else attributes[field].type if field in attributes else None
        if kind is None:
            message = f"the event type '{name}' has no attribute '{field[:60]}'"
            reading.unknown("unknown-attribute", key, message, attributes)
            continue
        value = typed_value(reading, value_node, kind, f"'{field}'")
        if value is not None:
            result[field] = value
    return name, result


def _expect(reading: Reading, fields: Fields, schema: Schema) -> Expect | None:
    if "expect" not in fields:
        return None
    node = fields["expect"][1]
    parts = reading.fields(node, "'expect'", _EXPECT)
    if parts is None:
        return None
    if not parts and isinstance(node, MapNode) and not node.entries:
        reading.add(
            "missing-value",
            fields["expect"][0],
            "'expect' says nothing",
            expected=f"one of {', '.join(_EXPECT)}",
        )
        return None
    if "send" in parts and "no_message" in parts:
        reading.add("bad-value", parts["no_message"][0], "a test cannot expect 'send' and 'no_message'")
    send = reading.reference(parts["send"][1], "message", schema.declared["message"]) if "send" in parts else None
    reason = None
    if "no_message" in parts:
        scalar = reading.scalar(parts["no_message"][1], "'no_message'")
        if scalar is not None and scalar.value not in REASONS:
            reading.unknown("unknown-reason", scalar, f"no reason is called '{scalar.value[:60]}'", REASONS)
        reason = scalar.value if scalar is not None else None
    eligible = None
    if "eligible" in parts and isinstance(parts["eligible"][1], ListNode):
        eligible = reading.names(parts["eligible"][1], "'eligible'", schema.declared["product"], "unknown-product")
    elif "eligible" in parts:
        reading.list(parts["eligible"][1], "'eligible'")
    variant = reading.name(parts["variant"][1], "'variant'") if "variant" in parts else None
    sent = schema.messages.get(send or "")
    if variant is not None and sent is not None and variant not in sent.variants:
        message = f"the message '{sent.name}' has no variant '{variant}'"
        reading.add("unknown-variant", parts["variant"][1], message, expected=", ".join(sent.variants))
    channel = reading.name(parts["channel"][1], "'channel'") if "channel" in parts else None
    text = reading.text(parts["text"][1], "'text'") if "text" in parts else None
    return Expect(send, reason, eligible, variant, channel, text)
