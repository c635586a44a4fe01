"""One row to a profile, in Python: for rows in which something is wrong, which it can tell, and for what is rare."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from engine.cli.loading.columns import Column, Columns, Part
from engine.compiler.nodes import Type
from engine.compiler.written import BILLION, MONEY_MAX
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.replay.rows import CONVERT, EXPECTED
from engine.service.values import encode_value, quote

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_0 = _EPOCH.toordinal()
_INT64 = 1 << 63


class BadCell(ValueError):
    """A value that cannot be taken: of which column, and why."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def profile_of(columns: Columns, row: Mapping[str, object]) -> pb.Profile:
    """The profile of a row by column; what is empty is left unchanged. Raises BadCell."""
    for name in row:
        if name not in columns.of_name and name not in columns.names:
            raise BadCell(name, "found a column that earlier rows do not have, expected a feature of the rule set")
    profile = pb.Profile()
    contact: dict[str, Any] = {}
    for column in columns.used:
        value = row.get(column.name)
        if value is None or value == "":
            continue
        found = converted(column, value)
        if column.part is Part.CUSTOMER:
            profile.customer_id = found
        elif column.part is Part.FEATURE:
            profile.features[column.target].CopyFrom(encode_value(column.type.value, found, column.unit))
        else:
            contact[column.target] = found
    if not profile.customer_id:
        raise BadCell(columns.customer.name, "is empty, expected the customer's id")
    if contact:
        profile.contact.CopyFrom(contact_of(contact))
    return profile


def contact_of(given: Mapping[str, Any]) -> pb.ContactPreferences:
    """Contact preferences from what the columns gave. Raises BadCell."""
    made = pb.ContactPreferences(
        blocked_topics=given.get("blocked_topics", ()), blocked_channels=given.get("blocked_channels", ())
    )
    for target, value in given.items():
        word, _, rest = target.partition(".")
        purpose, _, of = rest.partition(".")
        if word != "consent":
            continue
        if of:
            if f"consent.{purpose}" not in given:
                raise BadCell(target, f"is given where consent.{purpose} is empty, expected both")
            continue
        consent = made.consents.add(purpose=purpose, state=pb.Consent.GRANTED if value else pb.Consent.WITHDRAWN)
        at_ns = given.get(f"{target}.changed_at")
        if at_ns is not None:
            consent.changed_at.FromMilliseconds(at_ns // 1_000_000)
        consent.source = given.get(f"{target}.source", "")
        consent.wording_version = given.get(f"{target}.wording", "")
    if "preferred_from" in given or "preferred_to" in given:
        setattr(made.preferred_hours, "from", given.get("preferred_from", ""))
        made.preferred_hours.to = given.get("preferred_to", "")
    return made


def converted(column: Column, value: object) -> Any:
    """A value as its column's type has it. Raises BadCell."""
    try:
        if isinstance(value, str):
            return CONVERT[column.type](value if column.type is Type.TEXT else value.strip())
        return _typed(column.type, value)
    except (ValueError, TypeError, OverflowError):
        found = quote(value) if isinstance(value, str) else quote(json.dumps(value, default=str))
        wanted = "an id" if column.part is Part.CUSTOMER else EXPECTED[column.type]
        raise BadCell(column.name, f"found {found}, expected {wanted}") from None


def _typed(kind: Type, value: Any) -> Any:
    """A value that has a type of its own, as JSON and Parquet have. Raises ValueError."""
    if kind is Type.BOOL and isinstance(value, bool):
        return value
    if isinstance(value, bool):
        raise ValueError
    if kind is Type.TEXT and isinstance(value, int):
        return str(value)
    if kind is Type.NUMBER and isinstance(value, int | float | Decimal) and math.isfinite(value):
        return float(value)
    if kind is Type.INTEGER and isinstance(value, int | float) and value == int(value) and -_INT64 <= value < _INT64:
        return int(value)
    if kind is Type.MONEY and isinstance(value, int | float | Decimal):
        billionths = Decimal(str(value)) * BILLION
        if billionths == int(billionths) and abs(billionths) <= MONEY_MAX:
            return int(billionths)
    if kind is Type.TIME and isinstance(value, datetime) and value.tzinfo is not None:
        return (value - _EPOCH) // timedelta(microseconds=1) * 1000
    if kind is Type.DATE and isinstance(value, date) and not isinstance(value, datetime):
        return value.toordinal() - _DAY_0
    if kind is Type.DURATION and isinstance(value, timedelta):
        return value // timedelta(microseconds=1) * 1000
    if kind is Type.TEXTS and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError
