"""What analysis finds, and where: findings about declarations and about parts of expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from engine.compiler.analysis.domains import cases_of
from engine.compiler.model import Expression, Message, Position, RuleSet
from engine.compiler.nodes import Span
from engine.compiler.scopes import On
from engine.compiler.source import WARNING, Finding

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(r"[\w.-]+")


class Placed(NamedTuple):
    """An expression, what it is in words, and the event types for which it is asked (None: any)."""

    what: str
    expression: Expression
    on: On


class Report:
    """Gathers findings: a part of an expression is marked exactly, a declaration by its name.

    `cases` knows when conditions can hold; `by_type` says whether any of them reads `event.type`.
    """

    def __init__(self, ruleset: RuleSet) -> None:
        self.findings: list[Finding] = []
        self.cases = cases_of(ruleset)
        self.by_type = any("event.type" in placed.expression.text for placed in expressions(ruleset))
        self._files = ruleset.files
        self._lines: dict[str, list[str]] = {}

    def add(
        self, code: str, position: Position, message: str,
        *, found: str = "", expected: str = "", hint: str = "", also: Position | None = None, severity: str = WARNING,
    ) -> None:  # fmt: skip
        """A finding about what is declared at `position`."""
        line = self._line(position)
        word = _WORD.match(line, position.column - 1)
        length = len(word[0]) if word else 1
        self.findings.append(
            Finding(code, position, length, message, found, expected, hint, line, also, severity=severity)
        )

    def add_at(
        self, code: str, expression: Expression, span: Span, message: str,
        *, found: str = "", expected: str = "", hint: str = "", also: Position | None = None, severity: str = WARNING,
    ) -> None:  # fmt: skip
        """A finding about the characters `span` of an expression's text."""
        scalar = expression.scalar
        if scalar is None:
            self.add(
                code, expression.position, message,
                found=found, expected=expected, hint=hint, also=also, severity=severity,
            )  # fmt: skip
            return
        start = scalar.index(expression.offset + span.start)
        end = scalar.index(expression.offset + max(span.end - 1, span.start)) + 1
        place = scalar.document.finding(code, start, end, message)
        self.findings.append(
            Finding(
                code, place.position, place.length, message, found, expected, hint, place.line_text, also,
                severity=severity,
            )
        )  # fmt: skip

    def _line(self, position: Position) -> str:
        lines = self._lines.get(position.path)
        if lines is None:
            text = self._files.get(position.path, b"").decode("utf-8-sig", "replace")
            lines = self._lines[position.path] = _LINE_BREAK.split(text)
        return lines[position.line - 1] if position.line <= len(lines) else ""


def expressions(ruleset: RuleSet) -> Iterator[Placed]:
    """Every expression of a rule set."""
    for name, fact in ruleset.facts.items():
        yield Placed(f"the fact '{name}'", fact, None)
    for window in ruleset.windows.values():
        if window.where is not None:
            yield Placed("`where`", window.where, (window.event,))
    for product in ruleset.products.values():
        for condition in product.eligible:
            yield Placed("`eligible`", condition.expression, None)
    for channel in ruleset.channels.values():
        if channel.when is not None:
            yield Placed("`when`", channel.when, None)
    for message in ruleset.messages.values():
        yield from of_message(message)
        for slot in message.slots.values():
            yield Placed(f"the slot '{slot.name}'", slot.expression, message.on)
    for policy in ruleset.policies.values():
        for segment in policy.by:
            yield Placed("`by`", segment, None)


def of_message(message: Message) -> Iterator[Placed]:
    """The expressions that decide on a message: all of its own but the slots."""
    for what, expression in (
        ("`when`", message.when),
        ("`unless`", message.unless),
        ("`value`", message.value),
        ("`about`", message.about),
        *((f"the condition of '{c.channel}'", c.when) for c in message.channels),
    ):
        if expression is not None:
            yield Placed(what, expression, message.on)
