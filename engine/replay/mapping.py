"""The mapping: which columns of a table make the customer, the event, its time, the features and the outcome.

A YAML file with one key `mapping`; docs/commands.md describes it. Read like a rule file, so that what is
wrong is told with its place, all at once.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.compiler import document
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.sections_schema import TYPES
from engine.compiler.source import did_you_mean, sort_findings
from engine.compiler.tree import MapNode, Node, Scalar
from engine.decision import OutcomeKind
from engine.errors import RulesInvalid
from engine.zones import zone

_HOLE = re.compile(r"\{([^{}]*)\}")
_TIMES = ("rfc3339", "seconds", "milliseconds")
ROW = "row"


@dataclass(frozen=True, slots=True)
class Template:
    """`{age}-{job}`: literal texts and columns by turns; `row` stands for the row's number."""

    parts: tuple[tuple[str, bool], ...]  # (text or column, whether it is a column)

    def fill(self, row: Mapping[str, str], number: int) -> str:
        """The text for a row; a column that the row lacks is empty."""
        return "".join(
            (str(number) if text == ROW else row.get(text, "")) if is_column else text for text, is_column in self.parts
        )


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the rules, from a column. Empty cells and those in `missing` are no value."""

    name: str
    column: str
    type: Type
    missing: frozenset[str]


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column of times: rfc3339, seconds, milliseconds since 1970, or a `%` pattern in a zone."""

    column: str
    format: str
    zone: str


@dataclass(frozen=True, slots=True)
class DayMonth:
    """Day and month without a year: rows are in order of time, and a month that goes back begins a new year."""

    day: str
    month: str
    start_year: int
    hour: int
    zone: str


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """What came of a contact: `kind` where the column equals a text."""

    kind: OutcomeKind
    column: str
    equals: str


@dataclass(frozen=True, slots=True)
class TableMapping:
    """A checked mapping. `event_type` is a name, or the column that holds it."""

    separator: str
    encoding: str
    customer: Template
    event_id: Template
    event_type: str
    type_column: str | None
    occurred_at: TimeColumn | DayMonth
    attributes: tuple[Value, ...]
    features: tuple[Value, ...]
    consent: tuple[str, ...]
    outcome: OutcomeRule | None
    columns: Mapping[str, Scalar]  # every column it mentions, where first written


def read_mapping(path: Path, rules: RuleSet) -> TableMapping:
    """The mapping in a file, checked against the rule set. Raises RulesInvalid with all findings, OSError."""
    with path.open("rb") as stream:
        content = stream.read(document.FILE_BYTES_MAX + 1)
    read = document.read(str(path), content)
    reading = Reading()
    reading.findings = list(read.findings)
    if read.root is None:
        raise RulesInvalid(sort_findings(reading.findings))
    mapping = _Reader(reading, rules).mapping(read.root)
    if mapping is None or reading.findings:
        raise RulesInvalid(sort_findings(reading.findings))
    return mapping


def check_columns(mapping: TableMapping, known: Sequence[str], table: str) -> None:
    """Raises RulesInvalid where the mapping speaks of columns that the table does not have."""
    reading = Reading()
    for column, scalar in mapping.columns.items():
        if column not in known:
            listed = ", ".join(known[:20]) + (", .." if len(known) > 20 else "")
            message = f"{table} has no column '{column[:60]}'"
            reading.add(
                "unknown-column", scalar, message, expected=f"one of {listed}", hint=did_you_mean(column, known)
            )
    if reading.findings:
        raise RulesInvalid(sort_findings(reading.findings))


class _Reader:
    def __init__(self, reading: Reading, rules: RuleSet) -> None:
        self.reading = reading
        self.rules = rules
        self.columns: dict[str, Scalar] = {}

    def mapping(self, root: MapNode) -> TableMapping | None:
        top = self.reading.fields(root, "the file", ("mapping",), ("mapping",))
        if not top or "mapping" not in top:
            return None
        known = ("format", "customer", "event", "occurred_at", "attributes", "features", "consent", "outcome")
        node = top["mapping"][1]
        given = self.reading.map(node, "'mapping'")
        if given is None:
            return None
        needed = ("customer", "event", "occurred_at")
        empty = ("consent", "attributes", "features")  # may be written and left empty
        kept = MapNode(given.document, given.start)
        kept.entries = {
            name: entry
            for name, entry in given.entries.items()
            if not (name in empty and isinstance(entry[1], Scalar) and entry[1].absent)
        }
        parts = self.reading.fields(kept, "'mapping'", known, needed)
        if parts is None:
            return None
        separator, encoding = self._format(parts)
        customer = self._template(parts["customer"][1], "customer", "row") if "customer" in parts else None
        event_id, event_type, type_column = self._event(parts)
        occurred_at = self._occurred_at(parts["occurred_at"][1]) if "occurred_at" in parts else None
        types = [event_type] if event_type else list(self.rules.events)
        declared = {
            n: a.type for t in types if t in self.rules.events for n, a in self.rules.events[t].attributes.items()
        }
        attributes = self._values(parts, "attributes", declared, "attribute of the event")
        features = self._values(parts, "features", {n: f.type for n, f in self.rules.features.items()}, "feature")
        consent: tuple[str, ...] = ()
        if "consent" in parts:
            consent = self.reading.names(parts["consent"][1], "'consent'", self.rules.purposes, "unknown-purpose")
        outcome = self._outcome(parts["outcome"][1]) if "outcome" in parts else None
        if customer is None or event_id is None or occurred_at is None:
            return None
        return TableMapping(
            separator, encoding, customer, event_id, event_type, type_column, occurred_at, attributes, features,
            consent, outcome, self.columns,
        )  # fmt: skip

    def _format(self, parts: Fields) -> tuple[str, str]:
        fields = None
        if "format" in parts:
            fields = self.reading.fields(parts["format"][1], "'format'", ("separator", "encoding"))
        fields = fields or {}
        separator, encoding = ",", "utf-8"
        node = fields["separator"][1] if "separator" in fields else None
        if isinstance(node, Scalar):
            separator = {"tab": "\t", "\\t": "\t"}.get(node.value, node.value)
            if len(separator) != 1:
                expected = "one character, or `tab`"
                self.reading.add("bad-value", node, "the separator cannot be read", found=node.value, expected=expected)
        node = fields["encoding"][1] if "encoding" in fields else None
        if isinstance(node, Scalar):
            encoding = node.value
            try:
                codecs.lookup(encoding)
            except LookupError:
                expected = "utf-8, latin-1, cp1252 .."
                self.reading.add("bad-value", node, "no such encoding", found=encoding[:40], expected=expected)
        return separator, encoding

    def _column(self, node: Node, what: str) -> str | None:
        scalar = self.reading.scalar(node, what)
        if scalar is None:
            return None
        self.columns.setdefault(scalar.value, scalar)
        return scalar.value

    def _template(self, node: Node, what: str, key: str) -> Template | None:
        """`{key: template}`, or a column as it is."""
        if isinstance(node, Scalar):
            column = self._column(node, f"'{what}'")
            return Template(((column, True),)) if column is not None else None
        fields = self.reading.fields(node, f"'{what}'", (key,), (key,))
        return self._filled(fields[key][1], what) if fields and key in fields else None

    def _filled(self, node: Node, what: str) -> Template | None:
        scalar = self.reading.scalar(node, f"the template of '{what}'")
        if scalar is None:
            return None
        text, parts, end = scalar.value, [], 0
        for hole in _HOLE.finditer(text):
            parts += [(text[end : hole.start()], False), (hole[1], True)]
            end = hole.end()
            if hole[1] != ROW:
                self.columns.setdefault(hole[1], scalar)
        parts.append((text[end:], False))
        kept = tuple(part for part in parts if part[0])
        if not any(is_column for _, is_column in kept):
            expected = 'a template such as "{first}-{second}" or "row-{row}"'
            self.reading.add("bad-value", scalar, f"'{what}' is the same in every row", expected=expected)
            return None
        return Template(kept)

    def _event(self, parts: Fields) -> tuple[Template | None, str, str | None]:
        """The id's template, the type ("" where a column holds it), and that column."""
        if "event" not in parts:
            return None, "", None
        fields = self.reading.fields(parts["event"][1], "'event'", ("type", "id"), ("type", "id"))
        if fields is None or "id" not in fields or "type" not in fields:
            return None, "", None
        event_id = self._filled(fields["id"][1], "id")
        kind = fields["type"][1]
        if isinstance(kind, MapNode):
            inner = self.reading.fields(kind, "'type'", ("column",), ("column",))
            return event_id, "", self._column(inner["column"][1], "'column'") if inner and "column" in inner else None
        return event_id, self.reading.reference(kind, "event type", self.rules.events) or "", None

    def _occurred_at(self, node: Node) -> TimeColumn | DayMonth | None:
        mapping = self.reading.map(node, "'occurred_at'")
        if mapping is None:
            return None
        if "column" in mapping.entries:
            fields = self.reading.fields(node, "'occurred_at'", ("column", "format", "zone")) or {}
            column = self._column(fields["column"][1], "'column'") if "column" in fields else None
            written = self.reading.scalar(fields["format"][1], "'format'") if "format" in fields else None
            if written is not None and written.value not in _TIMES and "%" not in written.value:
                expected = f'one of {", ".join(_TIMES)}, or a pattern such as "%d.%m.%Y %H:%M"'
                self.reading.add(
                    "bad-value", written, "no such format of times", found=written.value, expected=expected
                )
            pattern = written.value if written is not None else "rfc3339"
            return TimeColumn(column, pattern, self._zone(fields)) if column is not None else None
        known = ("day", "month", "start_year", "hour", "zone")
        parts = self.reading.fields(node, "'occurred_at'", known, ("day", "month", "start_year"))
        if parts is None or any(name not in parts for name in ("day", "month", "start_year")):
            return None
        day, month = self._column(parts["day"][1], "'day'"), self._column(parts["month"][1], "'month'")
        year = self.reading.whole(parts["start_year"][1], "'start_year'", 1900, 2200)
        hour = self.reading.whole(parts["hour"][1], "'hour'", 0, 23) if "hour" in parts else 12
        if day is None or month is None or year is None or hour is None:
            return None
        return DayMonth(day, month, year, hour, self._zone(parts))

    def _zone(self, fields: Fields) -> str:
        scalar = self.reading.scalar(fields["zone"][1], "'zone'") if "zone" in fields else None
        if scalar is None:
            return "UTC"
        if zone(scalar.value) is None:
            expected = "an IANA name such as Europe/Lisbon"
            self.reading.add("unknown-zone", scalar, f"no time zone is called '{scalar.value[:60]}'", expected=expected)
        return scalar.value

    def _values(self, parts: Fields, section: str, declared: Mapping[str, Type], kind: str) -> tuple[Value, ...]:
        mapping = self.reading.map(parts[section][1], f"'{section}'") if section in parts else None
        values = []
        for name, (key, node) in (mapping.entries if mapping else {}).items():
            if name not in declared:
                message = f"the rule set has no {kind} called '{name[:60]}'"
                self.reading.unknown(f"unknown-{kind.split()[0]}", key, message, declared)
                continue
            value = self._value(name, node, declared[name])
            if value is not None:
                values.append(value)
        return tuple(values)

    def _value(self, name: str, node: Node, declared: Type) -> Value | None:
        if isinstance(node, Scalar):
            column = self._column(node, f"'{name}'")
            return Value(name, column, declared, frozenset(("",))) if column is not None else None
        fields = self.reading.fields(node, f"'{name}'", ("column", "as", "missing"), ("column",))
        if fields is None or "column" not in fields:
            return None
        column = self._column(fields["column"][1], "'column'")
        if "as" in fields:
            written = self.reading.choice(fields["as"][1], "'as'", list(TYPES))
            fits = written in (None, declared.value) or (written == "integer" and declared is Type.NUMBER)
            if not fits:
                message = f"'{name}' is {declared} in the rule set"
                self.reading.add("wrong-type", fields["as"][1], message, found=str(written), expected=declared.value)
        missing = {""}
        for item in self.reading.list(fields["missing"][1], "'missing'") if "missing" in fields else ():
            if isinstance(item, Scalar):
                missing.add(item.value)
        return Value(name, column, declared, frozenset(missing)) if column is not None else None

    def _outcome(self, node: Node) -> OutcomeRule | None:
        fields = self.reading.fields(node, "'outcome'", ("kind", "when"), ("kind", "when"))
        if fields is None or "kind" not in fields or "when" not in fields:
            return None
        kind = self.reading.choice(fields["kind"][1], "'kind'", _kinds())
        when = self.reading.fields(fields["when"][1], "'when'", ("column", "equals"), ("column", "equals"))
        if kind is None or when is None or "column" not in when or "equals" not in when:
            return None
        column, equals = self._column(when["column"][1], "'column'"), self.reading.scalar(when["equals"][1], "'equals'")
        return (
            OutcomeRule(OutcomeKind[kind], column, equals.value) if column is not None and equals is not None else None
        )


def _kinds() -> list[str]:
    return [kind.name for kind in OutcomeKind]


def columns_of(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """The columns that any of the rows has, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))
