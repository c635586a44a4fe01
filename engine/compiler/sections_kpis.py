"""What the readout sums of events: `spent: payment.amount`."""

from __future__ import annotations

from engine.compiler.model import Kpi
from engine.compiler.nodes import Type
from engine.compiler.reading import Reading
from engine.compiler.scopes import Expressions
from engine.compiler.sections_schema import Section
from engine.compiler.sections_windows import attribute_of
from engine.compiler.source import did_you_mean
from engine.decision import OutcomeKind

_RESERVED = (*OutcomeKind.__members__, "ACTIVITY")
_SUMMED = (Type.INTEGER, Type.NUMBER, Type.MONEY)


def read_kpis(reading: Reading, section: Section, expressions: Expressions) -> dict[str, Kpi]:
    """Sums of an attribute of an event type, by name."""
    found: dict[str, Kpi] = {}
    for name, (key, node) in section.items():
        scalar = reading.scalar(node, f"the KPI '{name}'") if reading.named(key, "a KPI") else None
        if scalar is None:
            continue
        if name in _RESERVED:
            reading.add("reserved-name", key, f"'{name}' is measured already: a KPI needs another name")
        event, dot, attribute = scalar.value.partition(".")
        if not dot:
            told = "`<event type>.<attribute>`: events alone are counted by `tact report --events`"
            reading.add("bad-value", scalar, "a KPI sums an attribute", found=scalar.value[:60], expected=told)
        elif event not in expressions.events:
            hint = did_you_mean(event, list(expressions.events))
            reading.add("unknown-event-type", scalar, f"no event type is called '{event[:60]}'", hint=hint)
        elif attribute not in (declared := expressions.events[event].attributes):
            if f"event.{attribute}" not in expressions.broken:
                message = f"the event type '{event}' has no attribute '{attribute[:60]}'"
                hint = did_you_mean(attribute, declared)
                reading.add_at("unknown-attribute", scalar, len(event) + 1, len(scalar.value), message, hint=hint)
        elif declared[attribute].type not in _SUMMED:
            message = f"a KPI adds numbers and money, and '{attribute}' is {declared[attribute].type}"
            reading.add("bad-value", scalar, message)
        elif declared[attribute].personal:
            message = f"event.{attribute} is personal, and a KPI is written to the decision log"
            reading.add("personal-logged", scalar, message, expected="an attribute that is not personal")
        else:
            kind = declared[attribute].type
            found[name] = Kpi(name, event, attribute_of(attribute, kind, scalar.position), key.position)
    return found
