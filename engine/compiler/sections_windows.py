"""The section `windows`: what the engine keeps from events, per customer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from engine.compiler.having import AGGREGATES, Wanted, read_having
from engine.compiler.model import Aggregate, Expression, Having, Period, Position, Window
from engine.compiler.nodes import Ref, Span, Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.scopes import Expressions, canonical
from engine.compiler.sections_schema import IMPLICIT, Section, not_yet
from engine.compiler.source import SURE, closest, did_you_mean
from engine.compiler.tree import MapNode, Node, Scalar

KINDS = ("count", "sum", "minimum", "maximum", "mean", "last", "distinct", "months_with", "days_with")
MONTHS_MAX = 24
DAYS_MAX = 731  # two years, a leap day among them

_ADDED = (Type.INTEGER, Type.NUMBER, Type.MONEY)
_TAKES = {  # what a kind aggregates: the types, and in words
    "sum": (_ADDED, "adds numbers and money"),
    "mean": (_ADDED, "takes numbers and money"),
    "minimum": ((*_ADDED, Type.TIME, Type.DATE, Type.DURATION), "compares numbers, money and times"),
    "maximum": ((*_ADDED, Type.TIME, Type.DATE, Type.DURATION), "compares numbers, money and times"),
    "distinct": ((Type.TEXT, Type.INTEGER), "tells texts and integers apart"),
}
_EVERY_EVENT = ("count", "months_with", "days_with")  # kinds that take no attribute
_CALENDAR = re.compile(r"calendar\s+(day|week|month)")


def read_windows(reading: Reading, section: Section, expressions: Expressions) -> dict[str, Window]:
    """Windows; their types are made known to `expressions`."""
    windows: dict[str, Window] = {}
    for name, (key, node) in section.items():
        window = _window(reading, key, node, expressions) if reading.named(key, "a window", True) else None
        if window is None:
            expressions.broken.add(f"windows.{name}")
        else:
            windows[name] = window
            expressions.windows[name] = window.type
            if window.unit is not None:
                expressions.units[f"windows.{name}"] = window.unit
    return windows


class _Source(NamedTuple):
    """What a window is made from: the event type, the value, and the value's type and unit."""

    event: str
    value: Expression | None
    type: Type
    unit: str | None


class _Span(NamedTuple):
    """How far back a window looks: `over` or the running unit of a `calendar`, neither for last."""

    over: Period | None
    calendar: str | None
    daily: bool = False

    def __str__(self) -> str:
        told = f"calendar {self.calendar}" if self.calendar else str(self.over or "-")
        return f"{told} by day" if self.daily else told


@dataclass(frozen=True, slots=True)
class _Stored:
    """Makes windows over the same events and span: one, or the parts of one."""

    name: str
    position: Position
    event: str
    where: Expression | None
    span: _Span
    zero: bool

    def window(self, kind: str, value: Expression | None, kept: Type, unit: str | None, name: str = "") -> Window:
        """A window of this kind; `name` says which part it is."""
        definition = "\n".join(
            (
                kind,
                self.event,
                value.text if value else "-",
                canonical(self.where.node) if self.where else "-",
                str(self.span),
                f"{kept} {unit}" if kept is Type.MONEY else str(kept),
                "customer's zone",
            )
        )
        return Window(
            f"{self.name}/{name}" if name else self.name, kind, self.event, value, self.where, self.span.over,
            self.zero, kept, definition, self.position, unit, self.span.calendar, self.span.daily,
        )  # fmt: skip

    def mean(self, source: _Source) -> tuple[Window, Window]:
        """Sum and number of the values."""
        assert source.value is not None
        attribute = source.value.text.partition(".")[2]
        total = self.window("sum", source.value, source.type, source.unit, f"sum {attribute}")
        return total, self.window("count", source.value, Type.INTEGER, None, f"count {attribute}")


def _window(reading: Reading, key: Scalar, node: Node, expressions: Expressions) -> Window | None:
    what = f"the window '{key.value}'"
    mapping = reading.map(node, what)
    kind = _kind(reading, key, mapping, what) if mapping is not None else None
    if kind is None:
        return None
    required = () if kind == "last" else ("over",)
    fields = reading.fields(node, what, (kind, "over", "where", "having", "since_start"), required)
    if fields is None or kind not in fields:
        return None
    scalar = reading.scalar(fields[kind][1], f"'{kind}'")
    before = len(reading.findings)
    source = _source(reading, scalar, kind, expressions) if scalar is not None else None
    span = _span(reading, fields, kind)
    zero = "since_start" in fields and reading.choice(fields["since_start"][1], "'since_start'", ("zero",)) == "zero"
    if source is None:
        return None
    where = _where(reading, fields, source, expressions)
    if reading.failed_since(before) or ("where" in fields and where is None) or span is None:
        return None
    made = _Stored(key.value, key.position, source.event, where, span, zero)
    if "having" in fields:
        return _having(reading, fields, kind, source.event, made, expressions)
    if kind == "mean":
        whole = made.window(kind, source.value, Type.NUMBER, source.unit)
        return _of_parts(whole, made.mean(source), None)
    kept = Type.INTEGER if kind in (*_EVERY_EVENT, "distinct") else source.type
    return made.window(kind, source.value, kept, None if kind == "distinct" else source.unit)


def _kind(reading: Reading, key: Scalar, mapping: MapNode, what: str) -> str | None:
    kinds = [k for k in KINDS if k in mapping.entries]
    if len(kinds) == 1:
        return kinds[0]
    slip = next((entry for entry, _ in mapping.entries.values() if closest(entry.value, KINDS, SURE)), None)
    if not kinds and slip is not None:
        reading.unknown("unknown-key", slip, f"{what} has no key '{slip.value}'", KINDS)
        return None
    listed = ", ".join(KINDS)
    reading.add("wrong-shape", key, f"{what} must say what it keeps, once", expected=f"exactly one of {listed}")
    return None


def _where(reading: Reading, fields: Fields, source: _Source, expressions: Expressions) -> Expression | None:
    scalar = reading.scalar(fields["where"][1], "'where'") if "where" in fields else None
    if scalar is None:
        return None
    return expressions.expression(scalar, (source.event,), Type.BOOL, roots=frozenset(("event",)))


def _span(reading: Reading, fields: Fields, kind: str) -> _Span | None:
    if kind == "last":
        if "over" in fields:
            message = "'last' keeps the latest value, however old"
            reading.add("bad-value", fields["over"][0], message, hint="compare its time in a condition")
        return _Span(None, None)
    scalar = reading.scalar(fields["over"][1], "'over'") if "over" in fields else None
    if scalar is None:
        return None
    if scalar.value.startswith("calendar"):
        return _calendar(reading, scalar, kind)
    over = reading.period(scalar, "'over'", f"{MONTHS_MAX} months")
    if over is None:
        return None
    if kind == "months_with" and over.unit != "month":
        reading.add("bad-value", scalar, "'months_with' counts months", expected="`12 months`")
        return None
    if kind == "days_with" and over.unit not in ("day", "week"):
        reading.add("bad-value", scalar, "'days_with' counts days", expected="`30 days`")
        return None
    if over.amount > MONTHS_MAX if over.unit == "month" else over.span_s > DAYS_MAX * 86_400:
        most = f"at most {DAYS_MAX} days" if kind == "days_with" else f"at most {MONTHS_MAX} months"
        told = "the window is longer than the engine keeps"
        reading.add("window-too-long", scalar, told, found=str(over), expected=most, hint="let the bank keep a feature")
        return None
    return _Span(over, None, kind == "days_with")


def _calendar(reading: Reading, scalar: Scalar, kind: str) -> _Span | None:
    found = _CALENDAR.fullmatch(scalar.value)
    if found is None:
        expected = "calendar day, calendar week or calendar month"
        reading.add("bad-value", scalar, "no such calendar span", expected=expected)
        return None
    if kind == "months_with":
        reading.add("bad-value", scalar, "'months_with' counts months over a rolling span", expected="`12 months`")
        return None
    return _Span(None, found[1], kind == "days_with")


def _source(reading: Reading, scalar: Scalar, kind: str, expressions: Expressions) -> _Source | None:
    event, dot, attribute = scalar.value.partition(".")
    if event not in expressions.events:
        known = list(expressions.events)
        message = f"no event type is called '{event[:60]}'"
        reading.add("unknown-event-type", scalar, message, hint=did_you_mean(event, known))
        return None
    valued = kind not in _EVERY_EVENT
    if valued != bool(dot):
        expected = "`<event type>.<attribute>`" if valued else "the name of an event type"
        reading.add("bad-value", scalar, f"'{kind}' cannot be read", found=scalar.value, expected=expected)
        return None
    if not valued:
        return _Source(event, None, Type.INTEGER, None)
    declared = expressions.events[event].attributes
    attributes = {n: a.type for n, a in declared.items()} | IMPLICIT
    if attribute not in attributes:
        if f"event.{attribute}" not in expressions.broken:
            message = f"the event type '{event}' has no attribute '{attribute[:60]}'"
            begin = len(event) + 1
            hint = did_you_mean(attribute, attributes)
            reading.add_at("unknown-attribute", scalar, begin, len(scalar.value), message, hint=hint)
        return None
    found = attributes[attribute]
    if kind in _TAKES and found not in _TAKES[kind][0]:
        reading.add("bad-value", scalar, f"'{kind}' {_TAKES[kind][1]}, and '{attribute}' is {found}")
        return None
    if kind == "last" and found in (Type.TEXT, Type.TEXTS):
        not_yet(reading, scalar, "the last of a text", "a feature that the bank writes")
        return None
    unit = declared[attribute].unit if attribute in declared else None
    return _Source(event, attribute_of(attribute, found, scalar.position), found, unit)


def attribute_of(name: str, kind: Type, position: Position) -> Expression:
    """`event.x` as an expression."""
    text = f"event.{name}"
    return Expression(text, Ref(kind, text, Span(0, len(text))), position)


# ---- having -------------------------------------------------------------------------------------


def _having(
    reading: Reading, fields: Fields, kind: str, event: str, made: _Stored, expressions: Expressions
) -> Window | None:
    key, node = fields["having"]
    if kind not in ("months_with", "days_with"):
        message = f"'having' chooses months or days, and '{kind}' has none to choose from"
        reading.add("bad-value", key, message, hint="use `where:` to choose events, or months_with, or days_with")
        return None
    scalar = reading.scalar(node, "'having'")
    if scalar is None:
        return None
    takes = {name: _TAKES[name] for name in AGGREGATES if name in _TAKES}
    read = read_having(reading, scalar, expressions, event, takes)
    if read is None:
        return None
    expression, wanted = read
    parts = {"count": made.window("count", None, Type.INTEGER, None, "count")}
    aggregates = tuple(_aggregate(made, parts, one) for one in wanted)
    places = {name: place for place, name in enumerate(parts)}
    having = Having(
        expression, tuple(Aggregate(path, kind, tuple(places[n] for n in names)) for path, kind, names in aggregates)
    )
    return _of_parts(made.window(kind, None, Type.INTEGER, None), tuple(parts.values()), having)


def _aggregate(made: _Stored, parts: dict[str, Window], one: Wanted) -> tuple[str, str, tuple[str, ...]]:
    """The aggregate's path, kind and the names of the parts it needs, which are added to `parts`."""
    if one.attribute is None:
        return one.path, one.kind, ("count",)
    value = attribute_of(one.attribute, one.type, made.position)
    source = _Source(made.event, value, one.type, one.unit)
    needed: tuple[Window, ...]
    if one.kind == "mean":
        needed = made.mean(source)
    else:
        needed = (made.window(one.kind, value, one.type, one.unit, f"{one.kind} {one.attribute}"),)
    for window in needed:
        parts.setdefault(window.name.partition("/")[2], window)
    return one.path, one.kind, tuple(window.name.partition("/")[2] for window in needed)


def _of_parts(whole: Window, parts: tuple[Window, ...], having: Having | None) -> Window:
    condition = f"\nhaving {canonical(having.expression.node)}" if having is not None else ""
    return replace(whole, definition=whole.definition + condition, parts=parts, having=having)
