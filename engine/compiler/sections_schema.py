"""The sections that say what there is: events, features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from engine.compiler.model import Attribute, EventType, Feature
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.source import did_you_mean
from engine.compiler.tree import MapNode, Node, Scalar
from engine.compiler.values import typed_value
from engine.compiler.written import is_currency

TYPES = {
    t.value: t
    for t in (
        Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.DATE, Type.DURATION, Type.MONEY, Type.TEXTS,
    )
}  # fmt: skip
_LISTS = ("list", "lists", *(t.value for t in Type if t.element is not None))
_ELSEWHERE = {  # what other languages call it
    "string": "text", "varchar": "text", "float": "number", "double": "number", "decimal": "number",
    "datetime": "time", "timestamp": "time", "int": "integer", "boolean": "bool", "eur": "money",
}  # fmt: skip
_CURRENCY = "three capital letters, as in `{type: money, currency: EUR}`"
IMPLICIT = {"type": Type.TEXT, "occurred_at": Type.TIME}  # what every event has

Section = Mapping[str, tuple[Scalar, Node]]


def not_yet(reading: Reading, node: Node, what: str, instead: str) -> None:
    """The finding about something that rule files will be able to say, but not in this version."""
    reading.add("not-yet-supported", node, f"{what} is not supported in this version", hint=f"use {instead}")


def _type(reading: Reading, node: Node, what: str) -> Type | None:
    scalar = reading.scalar(node, f"the type of {what}")
    if scalar is None:
        return None
    name = scalar.value
    if name in TYPES:
        return TYPES[name]
    message = f"no type is called '{name[:40]}'"
    hint = did_you_mean(_ELSEWHERE.get(name.lower(), name), TYPES)
    if name in _LISTS or name.startswith(("list of ", "list(")):
        message, hint = f"'{name[:40]}': of lists only those of texts can be sent and stored", "write 'texts'"
    reading.add("unknown-type", scalar, message, expected=f"one of {', '.join(TYPES)}", hint=hint)
    return None


class _Field(NamedTuple):
    """What attributes and features have in common. `fields` are all keys that were written."""

    type: Type
    unit: str | None
    personal: bool
    fields: Fields


def _field(reading: Reading, node: Node, what: str, keys: tuple[str, ...] = ()) -> _Field | None:
    """An attribute or feature, which may have `keys` of its own; a bare word is its type."""
    if isinstance(node, Scalar):
        kind = _type(reading, node, what)
        if kind is Type.MONEY:
            reading.add("missing-key", node, f"{what} needs its currency", expected=_CURRENCY)
            return None
        return None if kind is None else _Field(kind, None, False, {})
    fields = reading.fields(node, what, ("type", "unit", "currency", "personal", *keys), required=("type",))
    if fields is None or "type" not in fields:
        return None
    kind = _type(reading, fields["type"][1], what)
    personal = reading.flag(fields["personal"][1], "'personal'") if "personal" in fields else None
    unit = _currency(reading, node, fields, what) if kind is Type.MONEY else _unit(reading, fields, what, kind)
    if kind is None or (kind is Type.MONEY and unit is None):
        return None
    return _Field(kind, unit, bool(personal), fields)


def _unit(reading: Reading, fields: Fields, what: str, kind: Type | None) -> str | None:
    if "currency" in fields and kind is not None:
        message = f"'currency' is for money, and {what} is {kind}"
        reading.add("bad-value", fields["currency"][0], message, hint="write `unit`, or `type: money`")
    unit = reading.scalar(fields["unit"][1], "'unit'") if "unit" in fields else None
    return unit.value if unit else None


def _currency(reading: Reading, node: Node, fields: Fields, what: str) -> str | None:
    if "unit" in fields:
        reading.add("bad-value", fields["unit"][0], f"{what} is money: its unit is a currency", hint="write `currency`")
    if "currency" not in fields:
        if not (isinstance(node, MapNode) and {"unit", "currency"} & set(node.entries)):  # else it has its finding
            reading.add("missing-key", node, f"{what} needs its currency", expected=_CURRENCY)
        return None
    currency = reading.scalar(fields["currency"][1], "'currency'")
    if currency is None or is_currency(currency.value):
        return currency.value if currency else None
    hint = f"write {currency.value.upper()}" if is_currency(currency.value.upper()) else ""
    message = f"the currency of {what} cannot be read"
    reading.add("bad-value", currency, message, found=currency.value[:40], expected=_CURRENCY, hint=hint)
    return None


def read_events(reading: Reading, section: Section, broken: set[str]) -> dict[str, EventType]:
    """Event types; paths of attributes that could not be read go to `broken`."""
    events: dict[str, EventType] = {}
    for name, (key, node) in section.items():
        if not reading.named(key, "an event type", identifier=True):
            continue
        attributes: dict[str, Attribute] = {}
        mapping = reading.map(node, f"the event type '{name}'")
        for field_name, (field_key, field_node) in (mapping.entries if mapping else {}).items():
            what = f"the attribute '{field_name}'"
            if not reading.named(field_key, "an attribute", identifier=True):
                continue
            if field_name in IMPLICIT:
                message = f"every event has '{field_name}' already: it is not declared"
                reading.add("reserved-name", field_key, message)
                continue
            read = _field(reading, field_node, what)
            if read is None:
                broken.add(f"event.{field_name}")
                continue
            attributes[field_name] = Attribute(field_name, read.type, read.unit, read.personal, field_key.position)
        events[name] = EventType(name, attributes, key.position)
    return events


def read_features(reading: Reading, section: Section, broken: set[str]) -> dict[str, Feature]:
    """Features; paths of those that could not be read go to `broken`."""
    features: dict[str, Feature] = {}
    keys = ("default", "above", "at_least", "at_most", "max_age")
    for name, (key, node) in section.items():
        if not reading.named(key, "a feature", identifier=True):
            continue
        what = f"the feature '{name}'"
        read = _field(reading, node, what, keys)
        if read is None:
            broken.add(f"features.{name}")
            continue
        kind, unit, personal, fields = read
        default = (
            typed_value(reading, fields["default"][1], kind, f"the default of {what}") if "default" in fields else None
        )
        bounds = {bound: _bound(reading, fields, bound, kind, what) for bound in ("above", "at_least", "at_most")}
        max_age = reading.period(fields["max_age"][1], "'max_age'") if "max_age" in fields else None
        features[name] = Feature(
            name, kind, unit, personal, default, bounds["above"], bounds["at_least"], bounds["at_most"],
            max_age.span_s if max_age else None, key.position,
        )  # fmt: skip
    return features


def _bound(reading: Reading, fields: Fields, bound: str, kind: Type, what: str) -> float | None:
    """A bound as a value of the feature's type: of money in billionths."""
    if bound not in fields:
        return None
    if kind is Type.MONEY:
        return typed_value(reading, fields[bound][1], kind, f"'{bound}'")  # type: ignore[return-value]
    if kind not in (Type.INTEGER, Type.NUMBER):
        reading.add("bad-value", fields[bound][0], f"'{bound}' is for numbers and money, and {what} is {kind}")
        return None
    return reading.number(fields[bound][1], f"'{bound}'")
