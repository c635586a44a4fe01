"""`having`: a condition over aggregates of one month's or day's events, such as `sum(event.amount) > 0`.

The checker knows no aggregates. So each is given the name of an attribute that only this condition has, of exactly
as many characters: what is found wrong then still stands where it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from engine.compiler.checker import check
from engine.compiler.lexer import Refused, Token, tokenize
from engine.compiler.model import Attribute, EventType, Expression
from engine.compiler.names import Scope
from engine.compiler.nodes import Type
from engine.compiler.reading import Reading
from engine.compiler.scopes import Expressions
from engine.compiler.source import Problem, did_you_mean
from engine.compiler.tree import Scalar

AGGREGATES = ("count", "sum", "minimum", "maximum", "mean")
_MEANT = {"min": "minimum", "max": "maximum", "avg": "mean", "average": "mean", "size": "count"}
_EXPECTED = "an aggregate such as `sum(event.amount)` or `count()`"

Takes = Mapping[str, tuple[tuple[Type, ...], str]]


class Wanted(NamedTuple):
    """An aggregate that the condition reads at `path`; `attribute` None: count(). `type` is the attribute's."""

    path: str
    kind: str
    attribute: str | None
    type: Type
    unit: str | None


class _Call(NamedTuple):
    """Where an aggregate is written."""

    start: int
    end: int
    kind: str
    attribute: str | None


def read_having(
    reading: Reading, scalar: Scalar, expressions: Expressions, event: str, takes: Takes
) -> tuple[Expression, tuple[Wanted, ...]] | None:
    """The checked condition and what it reads; None with findings. `takes`: types that each aggregate is for."""
    text = scalar.value
    if not reading.whole_text(scalar, "an expression"):
        return None
    before = len(reading.findings)
    try:
        tokens = tokenize(text)
    except Refused as refused:
        _report(reading, scalar, [refused.problem], {})
        return None
    calls = _calls(reading, scalar, tokens)
    wanted: dict[str, Wanted] = {}
    for call in calls:
        found = _typed(reading, scalar, call, expressions, event, takes)
        if found is not None:
            wanted[found.path] = found
            padded = found.path.ljust(call.end - call.start)
            text = text[: call.start] + padded + text[call.end :]
    if len(reading.findings) > before:
        return None
    scope = _scope(event, wanted.values(), scalar)
    node, problems = check(text, scope, Type.BOOL)
    _report(reading, scalar, problems, {path: _written(one) for path, one in wanted.items()})
    if node is None:
        return None
    if not wanted:
        reading.add("bad-value", scalar, "'having' asks nothing of the events", expected=_EXPECTED)
        return None
    return Expression(scalar.value, node, scalar.position, scalar), tuple(wanted.values())


def _calls(reading: Reading, scalar: Scalar, tokens: Sequence[Token]) -> list[_Call]:
    """The aggregates; findings where an attribute stands outside of one, or one is not written as it must be."""
    calls: list[_Call] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        following = [t.text for t in tokens[place + 1 : place + 6]]
        name = token.text
        if token.kind == "name" and following[:1] == ["("] and tokens[place - 1].kind != ".":
            if name == "count" and following[1:2] == [")"]:
                calls.append(_Call(token.start, tokens[place + 2].end, name, None))
                place += 3
                continue
            if name in AGGREGATES[1:] and following[1:3] == ["event", "."] and following[4:5] == [")"]:
                calls.append(_Call(token.start, tokens[place + 5].end, name, tokens[place + 4].text.strip("`")))
                place += 6
                continue
            if name in AGGREGATES or name in _MEANT:
                _not_so(reading, scalar, token, name)
                return []
        if token.kind == "name" and name == "event":
            message = "'having' sees a month's or a day's events together, no single one"
            hint = f"write sum(event.{following[1]}), or choose events with `where:`" if following[:1] == ["."] else ""
            end = tokens[place + 2].end if following[:1] == ["."] else token.end
            reading.add_at("having-not-aggregate", scalar, token.start, end, message, expected=_EXPECTED, hint=hint)
            return []
        place += 1
    return calls


def _not_so(reading: Reading, scalar: Scalar, token: Token, name: str) -> None:
    if name in _MEANT:
        message, hint = f"'having' has no aggregate '{name}'", f"write {_MEANT[name]}"
    elif name == "count":
        message, hint = "count() counts the events, and takes nothing", "choose events with `where:`"
    else:
        message, hint = f"{name}() takes one attribute of the event", f"write {name}(event.amount)"
    expected = _EXPECTED
    reading.add_at("having-not-aggregate", scalar, token.start, token.end, message, expected=expected, hint=hint)


def _typed(
    reading: Reading, scalar: Scalar, call: _Call, expressions: Expressions, event: str, takes: Takes
) -> Wanted | None:
    if call.attribute is None:
        return Wanted(_path(call), call.kind, None, Type.INTEGER, None)
    attributes = expressions.events[event].attributes
    declared = attributes.get(call.attribute)
    kind = Type.TIME if call.attribute == "occurred_at" else None if declared is None else declared.type
    if kind is None:
        if f"event.{call.attribute}" not in expressions.broken:
            message = f"the event type '{event}' has no attribute '{call.attribute[:60]}'"
            hint = did_you_mean(call.attribute, [*attributes, "occurred_at"])
            reading.add_at("unknown-attribute", scalar, call.start, call.end, message, hint=hint)
        return None
    if kind not in takes[call.kind][0]:
        message = f"'{call.kind}' {takes[call.kind][1]}, and '{call.attribute}' is {kind}"
        reading.add_at("bad-value", scalar, call.start, call.end, message)
        return None
    return Wanted(_path(call), call.kind, call.attribute, kind, declared.unit if declared is not None else None)


def _path(call: _Call) -> str:
    """`sum(event.amount)` is `event.sum__amount`, `count()` is `event.n`: never longer than what is written."""
    return "event.n" if call.attribute is None else f"event.{call.kind}__{call.attribute}"


def _written(one: Wanted) -> str:
    return "count()" if one.attribute is None else f"{one.kind}(event.{one.attribute})"


def _scope(event: str, wanted: Iterable[Wanted], scalar: Scalar) -> Scope:
    attributes = {}
    for one in wanted:
        name = one.path.partition(".")[2]
        kind = Type.NUMBER if one.kind == "mean" else one.type
        attributes[name] = Attribute(name, kind, one.unit, False, scalar.position)
    events = {event: EventType(event, attributes, scalar.position)}
    return Scope(events, {}, {}, {}, (event,), frozenset(("event",)), False)


def _report(reading: Reading, scalar: Scalar, problems: Sequence[Problem], names: Mapping[str, str]) -> None:
    """Findings, with aggregates called as they are written."""
    told = re.compile("|".join(re.escape(path) for path in names) or r"(?!)")

    def back(text: str) -> str:
        return told.sub(lambda found: names[found[0]], text)

    for p in problems:
        p = replace(p, message=back(p.message), found=back(p.found), expected=back(p.expected), hint=back(p.hint))
        reading.add_at(
            p.code, scalar, p.span.start, p.span.end, p.message,
            found=p.found, expected=p.expected, hint=p.hint, severity=p.severity,
        )  # fmt: skip
