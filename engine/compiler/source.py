"""Findings: what is wrong in a rule file, where, what was found, what was expected, one hint.

A leaf module: the parser and the checker speak of spans in an expression's own text (`Problem`);
documents turn them into places in files (`Finding`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from engine.compiler.model import Position
from engine.compiler.nodes import Span


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong inside one expression. `code` is stable and explained in docs/findings.md."""

    code: str
    span: Span
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in a rule file. `line_text` is the whole source line, for the caret."""

    code: str
    position: Position
    length: int
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    line_text: str = ""
    also: Position | None = None  # the other place, where there are two (a name defined twice)


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """By place, each said once."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda f: (f.position.path, f.position.line, f.position.column, f.code, f.message))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint `did you mean 'x'?`, or "" where nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


def render(finding: Finding) -> str:
    """Plain text of a finding, several lines:

    messages/a.yaml:7:11: error[unknown-name]: no feature is called 'savings_balanc'
        when: features.savings_balanc > 3
              ^^^^^^^^^^^^^^^^^^^^^^^
        expected: a feature of the schema
        hint: did you mean 'savings_balance'?
    """
    f = finding
    lines = [f"{f.position}: error[{f.code}]: {f.message}"]
    if f.line_text:
        text = f.line_text.expandtabs(1)
        start = f.position.column - 1
        cut = max(0, start - 60)  # long lines are cut around the place
        shown = text[cut : cut + 110]
        width = max(1, min(f.length, len(shown) - (start - cut)))
        lines += ["    " + shown, "    " + " " * (start - cut) + "^" * width]
    if f.found:
        lines.append(f"    found: {f.found}")
    if f.expected:
        lines.append(f"    expected: {f.expected}")
    if f.hint:
        lines.append(f"    hint: {f.hint}")
    if f.also is not None:
        lines.append(f"    also at: {f.also}")
    return "\n".join(lines)
