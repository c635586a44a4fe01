"""What analysis finds, and where: findings about declarations and about parts of expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.compiler.analysis.domains import cases_of
from engine.compiler.model import Expression, Position, RuleSet
from engine.compiler.nodes import Const, Span
from engine.compiler.scopes import On
from engine.compiler.source import WARNING, Finding

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(r"[\w.-]+")


class Report:
    """Gathers findings: a part of an expression is marked exactly, a declaration by its name.

    `cases` knows when conditions can hold. `expressions` are all but the constants, each with its event types.
    """

    def __init__(self, ruleset: RuleSet) -> None:
        self.findings: list[Finding] = []
        self.cases = cases_of(ruleset)
        self.expressions = [e for e in expressions(ruleset) if type(e[0].node) is not Const]
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
            lines = self._lines[position.path] = _LINE_BREAK.split(text) if "\r" in text else text.split("\n")
        return lines[position.line - 1] if position.line <= len(lines) else ""


def expressions(ruleset: RuleSet) -> Iterator[tuple[Expression, On]]:
    """Every expression of a rule set, with the event types for which it is asked (None: any)."""
    for fact in ruleset.facts.values():
        yield fact, None
    for window in ruleset.windows.values():
        if window.where is not None:
            yield window.where, (window.event,)
    for product in ruleset.products.values():
        for condition in product.eligible:
            yield condition.expression, None
    for channel in ruleset.channels.values():
        if channel.when is not None:
            yield channel.when, None
    for message in ruleset.messages.values():
        on = message.on
        for expression in (message.when, message.unless, message.value, message.about):
            if expression is not None:
                yield expression, on
        for choice in message.channels:
            if choice.when is not None:
                yield choice.when, on
        for slot in message.slots.values():
            yield slot.expression, on
    for policy in ruleset.policies.values():
        for expression in (*policy.by, *policy.context, *policy.report_by):
            yield expression, None
