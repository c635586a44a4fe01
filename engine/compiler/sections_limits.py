"""Limits that are no caps of one customer: suppression after outcomes, and volumes over all customers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.compiler.model import Period, Suppression, VolumeCap
from engine.compiler.reading import Fields, Reading
from engine.compiler.sections_contact import (
    CALENDAR,
    CAP_PERIOD_DAYS_MAX,
    CAP_PERIOD_MAX,
    check_titles,
    counted_purposes,
    given_title,
    is_volume,
    is_zone,
    of_purposes,
)
from engine.compiler.sections_schema import Section
from engine.compiler.tree import Node

AFTER = ("converted", "declined", "ignored")
SUPPRESS_PER = ("customer", "topic", "message", "product", "stage", "purpose")
VOLUME_PER = ("channel", "topic", "message", "product", "stage", "purpose")
VOLUME_MAX = 1_000_000_000
TIMES_DEFAULT = 3
WITHIN_DEFAULT = Period(90, "day")


def read_suppressions(reading: Reading, nodes: Sequence[Node], purposes: Iterable[str]) -> tuple[Suppression, ...]:
    """Suppression after outcomes, in the order written."""
    check_titles(reading, nodes, "suppressions")
    found: list[Suppression] = []
    for node in nodes:
        keys = ("after", "times", "in", "for", "per", "purposes", "name")
        fields = reading.fields(node, "a suppression", keys, ("after", "for", "per"))
        if fields is None:
            continue
        before = len(reading.findings)
        after = reading.choice(fields["after"][1], "'after'", AFTER) if "after" in fields else None
        per = reading.names(fields["per"][1], "'per'", SUPPRESS_PER, "bad-value") if "per" in fields else None
        held = counted_purposes(reading, fields, purposes)
        lasts = reading.period(fields["for"][1], "'for'", CAP_PERIOD_MAX) if "for" in fields else None
        times, within = _in_a_row(reading, fields, after)
        if lasts is None or after is None or not per or len(reading.findings) > before:
            continue
        if lasts.span_s + (within.span_s if within else 0) > CAP_PERIOD_DAYS_MAX * 86_400:
            said = f"at most {CAP_PERIOD_MAX}, with `in:`"
            reading.add("bad-value", fields["for"][1], "messages are not remembered this long", expected=said)
            continue
        per = ("customer", *(p for p in per if p != "customer"))
        what = f"ignored {times} times in {within}" if after == "ignored" else after
        made = f"nothing per {' and '.join(per)} for {lasts} after {what}{of_purposes(held)}"
        title = given_title(reading, fields) or made
        found.append(Suppression(title, after, times, within, lasts, per, held, node.position))
    return tuple(found)


def _in_a_row(reading: Reading, fields: Fields, after: str | None) -> tuple[int, Period | None]:
    """How many must have been ignored, and in which span; of other outcomes one is enough, whenever it was."""
    if after != "ignored":
        for key in ("times", "in"):
            if key in fields and after is not None:
                reading.add("bad-value", fields[key][0], f"'{key}' is for `after: ignored` alone", hint="leave it out")
        return 1, None
    times = reading.whole(fields["times"][1], "'times'", 1, 100) if "times" in fields else TIMES_DEFAULT
    within = reading.period(fields["in"][1], "'in'", CAP_PERIOD_MAX) if "in" in fields else WITHIN_DEFAULT
    return times or TIMES_DEFAULT, within


def read_volumes(reading: Reading, nodes: Sequence[Node], purposes: Iterable[str]) -> tuple[VolumeCap, ...]:
    """Caps over all customers together, in the order written."""
    found: list[VolumeCap] = []
    for node in nodes:
        keys = ("volume", "per", "in", "zone", "purposes", "name")
        fields = reading.fields(node, "a volume", keys, ("volume", "in")) if is_volume(node) else None
        if fields is None:
            continue
        before = len(reading.findings)
        at_most = reading.whole(fields["volume"][1], "'volume'", 0, VOLUME_MAX) if "volume" in fields else None
        per = reading.names(fields["per"][1], "'per'", VOLUME_PER, "bad-value") if "per" in fields else ()
        held = counted_purposes(reading, fields, purposes)
        unit = _calendar(reading, fields["in"][1]) if "in" in fields else None
        zone = "UTC"
        if "zone" in fields:
            scalar = reading.scalar(fields["zone"][1], "'zone'")
            if scalar is not None and is_zone(reading, scalar):
                zone = scalar.value
        if at_most is None or unit is None or len(reading.findings) > before:
            continue
        apart = f" per {' and '.join(per)}" if per else ""
        title = given_title(reading, fields) or (
            f"at most {at_most} to all customers{apart} in a calendar {unit} of {zone}{of_purposes(held)}"
        )
        found.append(VolumeCap(title, at_most, per, unit, zone, held, node.position))
    return tuple(found)


def read_topics(reading: Reading, section: Section, used: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Topics that were called something else before: their former names."""
    found: dict[str, tuple[str, ...]] = {}
    known = frozenset(used)
    for name, (key, node) in section.items():
        fields = reading.fields(node, f"the topic '{name}'", ("was",), ("was",))
        if fields is None or not reading.named(key, "a topic"):
            continue
        if name not in known:
            reading.unknown("unknown-name", key, f"no message has the topic '{name}'", known)
        elif "was" in fields:
            found[name] = tuple(was for was in reading.names(fields["was"][1], "'was'") if was != name)
    return found


def _calendar(reading: Reading, node: Node) -> str | None:
    scalar = reading.scalar(node, "'in'")
    match = CALENDAR.fullmatch(scalar.value) if scalar is not None else None
    if scalar is not None and match is None:
        expected = "calendar day, calendar week or calendar month"
        reading.add("bad-value", scalar, "a volume is counted by the calendar", found=scalar.value, expected=expected)
    return match[1] if match is not None else None
