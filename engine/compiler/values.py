"""Values written in rule files, typed by what the schema declares and never by their look."""

from __future__ import annotations

import math
import re

from engine.compiler.nodes import Type
from engine.compiler.overloads import parse_duration, parse_timestamp
from engine.compiler.reading import Reading
from engine.compiler.tree import Node, Scalar
from engine.compiler.written import parse_date, parse_money

_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")

EXPECTED = {
    Type.BOOL: "true or false",
    Type.INTEGER: "a whole number such as 12",
    Type.NUMBER: "a number",
    Type.TEXT: "a text",
    Type.TIME: "a time such as 2026-11-21T10:00:00+01:00",
    Type.DURATION: "a duration such as 1h30m or 90s",
    Type.DATE: "a date such as 2026-01-31",
    Type.MONEY: "an amount such as 12.50, in the declared currency",
    Type.TEXTS: "a list of texts such as [a, b]",
}


def parse(text: str, kind: Type) -> object:
    """`text` as a value of a scalar `kind` (see nodes' table of Python values). Raises ValueError with the reason."""
    if kind is Type.TEXT:
        return text
    if kind is Type.TIME:
        return parse_timestamp(text)
    if kind is Type.DURATION:
        return parse_duration(text)
    if kind is Type.DATE:
        return parse_date(text)
    if kind is Type.MONEY:
        return parse_money(text)
    if kind is Type.BOOL and text in ("true", "false"):
        return text == "true"
    if kind is Type.INTEGER and _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    if kind is Type.NUMBER and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    raise ValueError(f"it is not {EXPECTED[kind].partition(' such as ')[0]}")


def typed_value(reading: Reading, node: Node, kind: Type, what: str) -> object | None:
    """The value of `node`, or None with a finding."""
    if kind is Type.TEXTS:
        found = [typed_value(reading, item, Type.TEXT, f"an entry of {what}") for item in reading.list(node, what)]
        return None if None in found else tuple(found)
    if isinstance(node, Scalar) and node.style and kind is Type.TEXT:
        return node.value  # may be empty
    scalar = reading.scalar(node, what)
    if scalar is None:
        return None
    try:
        return parse(scalar.value, kind)
    except ValueError as error:
        message = f"{what} must be {kind}: {error}"
        reading.add("bad-value", scalar, message, found=scalar.value[:60], expected=EXPECTED[kind])
        return None
