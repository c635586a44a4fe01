"""What `kernels.requests` reads requests by, from a rule set, and room for what it reads."""

from __future__ import annotations

import numpy as np

from engine.compiler.model import Attribute, EventType, RuleSet
from engine.compiler.nodes import Type
from engine.kernels import blake2b
from engine.kernels.canonical import BOOL, INTEGER, MONEY, NUMBER, OTHER, TEXT, TIME
from engine.kernels.names import names
from engine.kernels.requests import Requests, Schema

CODES = {
    Type.BOOL: BOOL,
    Type.INTEGER: INTEGER,
    Type.NUMBER: NUMBER,
    Type.TEXT: TEXT,
    Type.TIME: TIME,
    Type.MONEY: MONEY,
}


def numbered(event: EventType) -> list[Attribute]:
    """The attributes of an event type in the order of their numbers, which is that of their names."""
    return [event.attributes[name] for name in sorted(event.attributes)]


def request_schema(rules: RuleSet, secret: bytes) -> Schema:
    """The events of a rule set. `secret` is the deployment's, see identity.customer_key."""
    events = [numbered(event) for event in rules.events.values()]
    known = sorted({attribute.name for event in events for attribute in event})
    places = {name: place for place, name in enumerate(known)}
    money = sorted({a.unit for event in events for a in event if a.type is Type.MONEY and a.unit is not None})
    most = max(map(len, events), default=0)
    numbers = np.full((len(events), len(known)), -1, np.int32)
    types = np.full((len(events), most), OTHER, np.int8)
    units = np.full((len(events), most), -1, np.int32)
    kind_heads = np.zeros((len(events), 2), np.int64)
    attribute_heads = np.zeros((len(events), most, 2), np.int64)
    heads = bytearray()
    for kind, (name, event) in enumerate(zip(rules.events, events, strict=True)):
        begin = len(heads)
        heads += _text(name)
        kind_heads[kind] = begin, len(heads)
        for a, attribute in enumerate(event):
            numbers[kind, places[attribute.name]] = a
            types[kind, a] = CODES.get(attribute.type, OTHER)
            if attribute.type is Type.MONEY and attribute.unit is not None:
                units[kind, a] = money.index(attribute.unit)
            begin = len(heads)
            heads += _text(attribute.name) + _constant(attribute)
            attribute_heads[kind, a] = begin, len(heads)
    return Schema(
        kinds=names([name.encode() for name in rules.events]),
        names=names([name.encode() for name in known]),
        currencies=names([unit.encode() for unit in money]),
        numbers=numbers,
        types=types,
        units=units,
        heads=np.frombuffer(bytes(heads), np.uint8).copy(),
        kind_heads=kind_heads,
        attribute_heads=attribute_heads,
        customer=blake2b.start(16, secret, b"tact-customer"),
        event=blake2b.start(8, b"", b"tact-event"),
        content=blake2b.start(8, b"", b"tact-content"),
    )


def requests(events: int, schema: Schema) -> Requests:
    """Room for so many requests."""
    most = schema.types.shape[1]
    return Requests(
        status=np.zeros(events, np.int8),
        kind=np.zeros(events, np.int32),
        ids=np.zeros((events, 4), np.int64),
        occurred=np.zeros((events, 3), np.int64),
        customer=np.zeros((events, 2), np.uint64),
        event=np.zeros(events, np.uint64),
        content=np.zeros(events, np.uint64),
        cells=np.zeros((events, most, 2), np.int64),
        given=np.zeros((events, most), np.uint8),
    )


def _text(text: str) -> bytes:
    """A text's canonical form, as in identity.fingerprint."""
    raw = text.encode()
    return b"t%d:%b" % (len(raw), raw)


def _constant(attribute: Attribute) -> bytes:
    """What every value's canonical form begins with."""
    if attribute.type is Type.TIME:
        return b"l3:" + _text("time")
    if attribute.type is Type.MONEY:
        return b"l4:" + _text("money") + _text(attribute.unit or "")
    return {Type.BOOL: b"b", Type.TEXT: b"t"}.get(attribute.type, b"")
