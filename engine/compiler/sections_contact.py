"""What protects the customer: purposes, channels, quiet hours, caps, gaps."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Sequence
from functools import cache

from engine.compiler import regimes
from engine.compiler.model import LEARNING, Cap, Channel, Gap, Period, Purpose, QuietHours
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading, shape
from engine.compiler.regimes import RegimeHours
from engine.compiler.scopes import Expressions
from engine.compiler.sections_schema import Section
from engine.compiler.source import did_you_mean
from engine.compiler.tree import ListNode, MapNode, Node, Scalar

PER = ("customer", "channel", "topic", "message", "product", "stage", "purpose", "about")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
CALENDAR = re.compile(r"calendar\s+(day|week|month)")
CAP_PERIOD_DAYS_MAX = 400
CAP_PERIOD_MAX = f"{CAP_PERIOD_DAYS_MAX} days"
TIER_DEFAULT = 2


def read_purposes(reading: Reading, section: Section, quiet_hours: Iterable[str]) -> dict[str, Purpose]:
    """Purposes; `quiet_hours` are the names that they may refer to."""
    purposes: dict[str, Purpose] = {}
    keys = ("consent", "quiet_hours", "if_state_unknown", "holdout", "tier", "stops")
    for name, (key, node) in section.items():
        what = f"the purpose '{name}'"
        if name == LEARNING:
            message = f"'{name}' is a purpose of every rule set: withdrawn, the customer is not learnt from"
            reading.add("reserved-name", key, message)
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
        known = (*section, LEARNING)
        stops = reading.names(fields["stops"][1], "'stops'", known, "unknown-purpose") if "stops" in fields else ()
        purposes[name] = Purpose(
            name, required, quiet, unknown or "silent", bool(holdout), tier or TIER_DEFAULT, key.position, stops
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
        keys = ("from", "to", "zone", "then", "if_zone_unknown", "preset")
        preset = isinstance(node, MapNode) and "preset" in node.entries
        required = () if preset else ("from", "to")
        fields = reading.fields(node, what, keys, required) if reading.named(key, "quiet hours") else None
        if fields is None:
            continue
        before = len(reading.findings)
        then = reading.choice(fields["then"][1], "'then'", ("defer", "drop")) if "then" in fields else "defer"
        hours = _regime_hours(reading, fields) if preset else _declared_hours(reading, fields)
        if "if_zone_unknown" in fields and hours is not None:
            if hours.zone == "customer":
                hours = hours._replace(unknown=_zone_names(reading, fields["if_zone_unknown"][1]))
            else:
                told = f"{what} go by the clock of {hours.zone}, so no zone is unknown"
                reading.add("bad-value", fields["if_zone_unknown"][0], told, hint="leave it out")
        if hours is None or then is None or len(reading.findings) > before:
            continue
        if hours.from_minute == hours.to_minute:
            reading.add("bad-value", fields["to"][1], f"{what} begin and end at the same minute")
            continue
        result[name] = QuietHours(
            name, hours.from_minute, hours.to_minute, hours.zone, then, key.position, hours.unknown
        )
    return result


def _regime_hours(reading: Reading, fields: Fields) -> RegimeHours | None:
    name = reading.choice(fields["preset"][1], "'preset'", tuple(regimes.HOURS)) if "preset" in fields else None
    _only_preset(reading, fields, ("from", "to", "zone"))
    return regimes.HOURS[name] if name is not None else None


def _only_preset(reading: Reading, fields: Fields, keys: Iterable[str]) -> None:
    for key in keys:
        if key in fields:
            told = f"'{key}' is what the preset says"
            reading.add("bad-value", fields[key][0], told, hint="leave it out, or write it all without `preset`")


def _declared_hours(reading: Reading, fields: Fields) -> RegimeHours | None:
    begin, end = (_minutes(reading, fields[k][1], k) if k in fields else None for k in ("from", "to"))
    zone = "customer"
    if "zone" in fields:
        scalar = reading.scalar(fields["zone"][1], "'zone'")
        if scalar is not None and (scalar.value == "customer" or is_zone(reading, scalar, ("customer",))):
            zone = scalar.value
    return RegimeHours(begin, end, zone, ()) if begin is not None and end is not None else None


def _zone_names(reading: Reading, node: Node) -> tuple[str, ...]:
    found: list[str] = []
    items = reading.list(node, "'if_zone_unknown'")
    for item in items:
        scalar = reading.scalar(item, "an entry of 'if_zone_unknown'")
        if scalar is not None and is_zone(reading, scalar):
            found.append(scalar.value)
    if isinstance(node, ListNode) and not items:
        hint = "leave it out: then nothing is said where the zone is unknown"
        reading.add("missing-value", node, "'if_zone_unknown' names no zone", hint=hint)
    return tuple(dict.fromkeys(found))


def is_zone(reading: Reading, scalar: Scalar, others: tuple[str, ...] = ()) -> bool:
    """Whether it names a time zone, or a finding. `others` are words that could stand there as well."""
    if scalar.value in _zones():
        return True
    reading.add(
        "unknown-zone",
        scalar,
        f"no time zone is called '{scalar.value[:40]}'",
        expected="`customer`, or a name such as Europe/Lisbon" if others else "a name such as Europe/Lisbon",
        hint=did_you_mean(scalar.value, (*others, *_near(scalar.value))),
    )
    return False


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


def is_volume(node: Node) -> bool:
    """Whether an entry of `caps` is one over all customers: see `sections_limits`."""
    return isinstance(node, MapNode) and "volume" in node.entries


def check_titles(reading: Reading, nodes: Sequence[Node], kind: str) -> None:
    """Each `name` of a list once: reasons and reports tell its entries apart by it."""
    known: dict[str, Scalar] = {}
    for node in nodes:
        name = node.get("name") if isinstance(node, MapNode) else None
        if not isinstance(name, Scalar) or name.absent:
            continue
        first = known.setdefault(name.value, name)
        if first is not name:
            message = f"two {kind} are called '{name.value[:60]}'"
            reading.add("duplicate-name", name, message, also=first.position)


def read_caps(reading: Reading, nodes: Sequence[Node], purposes: Iterable[str]) -> tuple[Cap, ...]:
    """Caps in the order written."""
    check_titles(reading, nodes, "caps")
    caps: list[Cap] = []
    for node in nodes:
        if is_volume(node):
            continue
        preset = isinstance(node, MapNode) and "preset" in node.entries
        required = () if preset else ("at_most", "per", "in")
        fields = reading.fields(node, "a cap", ("at_most", "per", "in", "purposes", "name", "preset"), required)
        if fields is None:
            continue
        held = counted_purposes(reading, fields, purposes)
        if preset:
            cap = _regime_cap(reading, fields, held, node)
            if cap is not None:
                caps.append(cap)
            continue
        at_most = reading.whole(fields["at_most"][1], "'at_most'", 0, 1000) if "at_most" in fields else None
        per = _per(reading, fields)
        span = _span(reading, fields["in"][1]) if "in" in fields else None
        if at_most is None or per is None or span is None:
            continue
        over, calendar = (span, None) if isinstance(span, Period) else (None, span)
        during = f"{over}" if over else f"a calendar {calendar}"
        said = f"at most {at_most} per {' and '.join(per)} in {during}{of_purposes(held)}"
        title = given_title(reading, fields) or said
        caps.append(Cap(title, at_most, per, over, calendar, held, node.position))
    return tuple(caps)


def _regime_cap(reading: Reading, fields: Fields, held: tuple[str, ...] | None, node: Node) -> Cap | None:
    name = reading.choice(fields["preset"][1], "'preset'", tuple(regimes.CAPS)) if "preset" in fields else None
    _only_preset(reading, fields, ("at_most", "per", "in"))
    if name is None:
        return None
    cap = regimes.CAPS[name]
    title = given_title(reading, fields) or f"{name}: at most {cap.at_most} per {' and '.join(cap.per)} in {cap.over}"
    return Cap(title, cap.at_most, cap.per, cap.over, None, held, node.position, name)


def read_gaps(reading: Reading, nodes: Sequence[Node], purposes: Iterable[str]) -> tuple[Gap, ...]:
    """Gaps in the order written."""
    check_titles(reading, nodes, "gaps")
    gaps: list[Gap] = []
    for node in nodes:
        fields = reading.fields(node, "a gap", ("at_least", "per", "purposes", "name"), ("at_least", "per"))
        if fields is None:
            continue
        apart = reading.period(fields["at_least"][1], "'at_least'") if "at_least" in fields else None
        per, held = _per(reading, fields), counted_purposes(reading, fields, purposes)
        if apart is None or per is None:
            continue
        title = given_title(reading, fields) or f"at least {apart} apart per {' and '.join(per)}{of_purposes(held)}"
        gaps.append(Gap(title, apart, per, held, node.position))
    return tuple(gaps)


def _per(reading: Reading, fields: Fields) -> tuple[str, ...] | None:
    """What is counted apart. Without `customer` it would hold all customers together."""
    if "per" not in fields:
        return None
    per = reading.names(fields["per"][1], "'per'", PER, "bad-value")
    if per and "customer" not in per:
        told, hint = "this counts each customer apart", f"write per: [customer, {', '.join(per)}]"
        if "at_most" in fields:
            hint += ", or `volume:` in place of `at_most:` for all customers together"
        reading.add("bad-value", fields["per"][1], told, expected="customer among them", hint=hint)
        return None
    return ("customer", *(p for p in per if p != "customer")) if per else None


def counted_purposes(reading: Reading, fields: Fields, purposes: Iterable[str]) -> tuple[str, ...] | None:
    """What `purposes` names; None: all but tier 1."""
    return (
        reading.names(fields["purposes"][1], "'purposes'", purposes, "unknown-purpose")
        if "purposes" in fields
        else None
    )


def given_title(reading: Reading, fields: Fields) -> str | None:
    """What `name` says."""
    return reading.text(fields["name"][1], "'name'") if "name" in fields else None


def of_purposes(purposes: tuple[str, ...] | None) -> str:
    """Named purposes, for a title that is made."""
    return f" ({', '.join(purposes)})" if purposes else ""


def _span(reading: Reading, node: Node) -> Period | str | None:
    scalar = reading.scalar(node, "'in'")
    if scalar is None:
        return None
    calendar = CALENDAR.fullmatch(scalar.value)
    if calendar is not None:
        return calendar[1]
    if scalar.value.startswith("calendar"):
        reading.add(
            "bad-value", scalar, "no such calendar span", expected="calendar day, calendar week or calendar month"
        )
        return None
    period = reading.period(scalar, "'in'", CAP_PERIOD_MAX)
    if period is not None and period.span_s > CAP_PERIOD_DAYS_MAX * 86400:
        reading.add(
            "bad-value",
            scalar,
            "a cap this long cannot be kept",
            expected=f"at most {CAP_PERIOD_MAX}",
        )
        return None
    return period
