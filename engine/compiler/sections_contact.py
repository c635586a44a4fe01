"""What protects the customer: purposes, channels, quiet hours, caps, gaps."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Sequence
from functools import cache

from engine.compiler.model import Cap, Channel, Gap, Period, Purpose, QuietHours
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading, shape
from engine.compiler.scopes import Expressions
from engine.compiler.sections_schema import Section, not_yet
from engine.compiler.source import did_you_mean
from engine.compiler.tree import MapNode, Node, Scalar

PER = ("customer", "channel", "topic", "message", "product", "stage", "purpose", "about")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_CALENDAR = re.compile(r"calendar\s+(day|week|month)")
_CAP_PERIOD_DAYS_MAX = 400
TIER_DEFAULT = 2


def read_purposes(reading: Reading, section: Section, quiet_hours: Iterable[str]) -> dict[str, Purpose]:
    """Purposes; `quiet_hours` are the names that they may refer to."""
    purposes: dict[str, Purpose] = {}
    keys = ("consent", "quiet_hours", "if_state_unknown", "holdout", "tier")
    for name, (key, node) in section.items():
        what = f"the purpose '{name}'"
        fields = reading.fields(node, what, keys, ("consent",)) if reading.named(key, "a purpose") else None
        if fields is None:
            continue
        options = ("required", "not_required")
        consent = reading.choice(fields["consent"][1], "'consent'", options) if "consent" in fields else None
        quiet = None
        if "quiet_hours" in fields:
            quiet = reading.reference(fields["quiet_hours"][1], "quiet hours", quiet_hours)
        unknown = None
        if "if_state_unknown" in fields:
            unknown = reading.choice(fields["if_state_unknown"][1], "'if_state_unknown'", ("silent", "send"))
        holdout = reading.flag(fields["holdout"][1], "'holdout'") if "holdout" in fields else None
        tier = reading.whole(fields["tier"][1], "'tier'", 1, 9) if "tier" in fields else None
        if unknown == "send" and consent == "required":
            reading.add(
                "state-needed", fields["if_state_unknown"][0],
                f"{what} asks for consent, and consent is unknown while state is", hint="write `silent`",
            )  # fmt: skip
        required = consent == "required"
        purposes[name] = Purpose(
            name, required, quiet, unknown or "silent", bool(holdout), tier or TIER_DEFAULT, key.position
        )
    return purposes


def read_channels(reading: Reading, section: Section, expressions: Expressions) -> dict[str, Channel]:
    """Channels with the condition under which a customer can be reached by them."""
    channels: dict[str, Channel] = {}
    for name, (key, node) in section.items():
        if not reading.named(key, "a channel"):
            continue
        if isinstance(node, Scalar) and not (node.absent or node.spoiled):
            hint = f"write {{when: {node.value}}}"
            reading.add("wrong-shape", node, f"the channel '{name}' must be a map", found=shape(node), hint=hint)
            continue
        fields = reading.fields(node, f"the channel '{name}'", ("when",))
        if fields is None:
            continue
        scalar = reading.scalar(fields["when"][1], "'when'") if "when" in fields else None
        when = expressions.expression(scalar, None, Type.BOOL) if scalar is not None else None
        channels[name] = Channel(name, when, key.position)
    return channels


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def read_quiet_hours(reading: Reading, section: Section) -> dict[str, QuietHours]:
    """Hours in which nothing is sent."""
    result: dict[str, QuietHours] = {}
    for name, (key, node) in section.items():
        what = f"the quiet hours '{name}'"
        keys = ("from", "to", "zone", "then")
        fields = reading.fields(node, what, keys, ("from", "to")) if reading.named(key, "quiet hours") else None
        if fields is None:
            continue
        minutes = [_minutes(reading, fields[k][1], k) if k in fields else None for k in ("from", "to")]
        zone = "customer"
        if "zone" in fields:
            scalar = reading.scalar(fields["zone"][1], "'zone'")
            zone = scalar.value if scalar is not None else zone
            if scalar is not None and zone != "customer" and zone not in _zones():
                reading.add(
                    "unknown-zone",
                    scalar,
                    f"no time zone is called '{zone[:40]}'",
                    expected="`customer`, or a name such as Europe/Lisbon",
                    hint=did_you_mean(zone, ("customer", *_near(zone))),
                )
        then = reading.choice(fields["then"][1], "'then'", ("defer", "drop")) if "then" in fields else "defer"
        begin, end = minutes
        if begin is None or end is None or then is None:
            continue
        if begin == end:
            reading.add("bad-value", fields["to"][1], f"{what} begin and end at the same minute")
            continue
        result[name] = QuietHours(name, begin, end, zone, then, key.position)
    return result


def _near(zone: str) -> list[str]:
    """Time zones of the same region, for a hint."""
    region = zone.partition("/")[0]
    return sorted(z for z in _zones() if z.startswith(region + "/")) or sorted(_zones())


def _minutes(reading: Reading, node: Node, what: str) -> int | None:
    scalar = reading.scalar(node, what)
    match = _CLOCK.fullmatch(scalar.value) if scalar is not None else None
    if scalar is not None and match is None:
        reading.add(
            "bad-value",
            scalar,
            f"'{what}' is not a time of day",
            found=scalar.value,
            expected='a time in quotes, such as "20:00"',
        )
    return int(match[1]) * 60 + int(match[2]) if match else None


def read_caps(reading: Reading, nodes: Sequence[Node], purposes: Iterable[str]) -> tuple[Cap, ...]:
    """Caps in the order written."""
    caps: list[Cap] = []
    for node in nodes:
        if isinstance(node, MapNode) and ("volume" in node.entries or node.get("per") is None):
            key = node.entries["volume"][0] if "volume" in node.entries else node
            not_yet(reading, key, "a cap over all customers", "`per: [customer]`")
            continue
        fields = reading.fields(node, "a cap", ("at_most", "per", "in", "purposes", "name"), ("at_most", "per", "in"))
        if fields is None:
            continue
        at_most = reading.whole(fields["at_most"][1], "'at_most'", 0, 1000) if "at_most" in fields else None
        per, held = _per(reading, fields), _purposes(reading, fields, purposes)
        span = _span(reading, fields["in"][1]) if "in" in fields else None
        if at_most is None or per is None or span is None:
            continue
        over, calendar = (span, None) if isinstance(span, Period) else (None, span)
        during = f"{over}" if over else f"a calendar {calendar}"
        said = f"at most {at_most} per {' and '.join(per)} in {during}{_said(held)}"
        title = _title(reading, fields) or said
        caps.append(Cap(title, at_most, per, over, calendar, held, node.position))
    return tuple(caps)


def read_gaps(reading: Reading, nodes: Sequence[Node], purposes: Iterable[str]) -> tuple[Gap, ...]:
    """Gaps in the order written."""
    gaps: list[Gap] = []
    for node in nodes:
        fields = reading.fields(node, "a gap", ("at_least", "per", "purposes", "name"), ("at_least", "per"))
        if fields is None:
            continue
        apart = reading.period(fields["at_least"][1], "'at_least'") if "at_least" in fields else None
        per, held = _per(reading, fields), _purposes(reading, fields, purposes)
        if apart is None or per is None:
            continue
        title = _title(reading, fields) or f"at least {apart} apart per {' and '.join(per)}{_said(held)}"
        gaps.append(Gap(title, apart, per, held, node.position))
    return tuple(gaps)


def _per(reading: Reading, fields: Fields) -> tuple[str, ...] | None:
    """What is counted apart. Without `customer` it would hold all customers together."""
    if "per" not in fields:
        return None
    per = reading.names(fields["per"][1], "'per'", PER, "bad-value")
    if per and "customer" not in per:
        not_yet(reading, fields["per"][1], "a limit over all customers", f"`per: [customer, {', '.join(per)}]`")
        return None
    return ("customer", *(p for p in per if p != "customer")) if per else None


def _purposes(reading: Reading, fields: Fields, purposes: Iterable[str]) -> tuple[str, ...] | None:
    return (
        reading.names(fields["purposes"][1], "'purposes'", purposes, "unknown-purpose")
        if "purposes" in fields
        else None
    )


def _title(reading: Reading, fields: Fields) -> str | None:
    return reading.text(fields["name"][1], "'name'") if "name" in fields else None


def _said(purposes: tuple[str, ...] | None) -> str:
    return f" ({', '.join(purposes)})" if purposes else ""


def _span(reading: Reading, node: Node) -> Period | str | None:
    scalar = reading.scalar(node, "'in'")
    if scalar is None:
        return None
    calendar = _CALENDAR.fullmatch(scalar.value)
    if calendar is not None:
        return calendar[1]
    if scalar.value.startswith("calendar"):
        reading.add(
            "bad-value", scalar, "no such calendar span", expected="calendar day, calendar week or calendar month"
        )
        return None
    period = reading.period(scalar, "'in'")
    if period is not None and period.span_s > _CAP_PERIOD_DAYS_MAX * 86400:
        reading.add(
            "bad-value",
            scalar,
            "a cap this long cannot be kept",
            expected=f"at most {_CAP_PERIOD_DAYS_MAX} days",
        )
        return None
    return period
