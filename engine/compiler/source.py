"""Findings: what is wrong in a rule file, where, what was found, what was expected, one hint.

A leaf module: the parser and the checker speak of spans in an expression's own text (`Problem`);
documents turn them into places in files (`Finding`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from engine.compiler.excerpt import WIDTH, excerpt, printable
from engine.compiler.model import Position
from engine.compiler.nodes import Span

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(r"[\w.-]+")
SURE = 0.75  # of a name that is `closest`: enough to read on as if it had been written
ERROR, WARNING = "error", "warning"  # an error keeps a rule set from being used, a warning does not


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong inside one expression. `code` is stable and explained in docs/findings.md."""

    code: str
    span: Span
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    severity: str = ERROR


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
    severity: str = ERROR
    also_text: str = ""  # the whole source line of `also`


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """By place, each said once."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda f: (f.position.path, f.position.line, f.position.column, f.code, f.message))


def with_other_lines(findings: Iterable[Finding], files: Mapping[str, bytes]) -> list[Finding]:
    """The findings, with the source line of their other place where they have one."""
    lines: dict[str, list[str]] = {}
    result: list[Finding] = []
    for finding in findings:
        at = finding.also
        if at is not None and not finding.also_text:
            if at.path not in lines:
                content = files.get(at.path, b"")
                text = "" if b"\0" in content else content.decode("utf-8-sig", "replace")  # a spreadsheet has no lines
                lines[at.path] = _LINE_BREAK.split(text)
            known = lines[at.path]
            finding = replace(finding, also_text=known[at.line - 1] if at.line <= len(known) else "")
        result.append(finding)
    return result


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint `did you mean 'x'?`, or "" where nothing is close."""
    name = closest(name, known)
    return f"did you mean '{name}'?" if name else ""


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that `name` was probably meant to be, "" where nothing is close. Case does not matter."""
    by_fold = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), list(by_fold), n=1, cutoff=cutoff)
    return by_fold[close[0]] if close else ""


class Piece(NamedTuple):
    """A part of a line. `role` says what it is: place, error, warning, message, gutter, label, other or ""."""

    text: str
    role: str = ""


Line = tuple[Piece, ...]


def render(finding: Finding) -> str:
    """Plain text of a finding, several lines:

    messages/a.yaml:7:11: error[unknown-name]: no feature is called 'savings_balanc'
      7 |     when: features.savings_balanc > 3
        |           ^^^^^^^^^^^^^^^^^^^^^^^
        = expected: a feature of the schema
        = hint: did you mean 'savings_balance'?
    """
    return "\n".join("".join(piece.text for piece in line) for line in drawn(finding))


def drawn(finding: Finding, width: int = WIDTH) -> list[Line]:
    """The lines of a finding, in pieces that say what they are. Source lines are cut to `width` cells in all."""
    f = finding
    digits = max(len(str(p.line)) for p in (f.position, f.also) if p is not None)
    gutter = " " * (digits + 3)
    head = Piece(f"{f.severity}[{f.code}]", f.severity)
    place = Piece(printable(str(f.position)), "place")
    lines: list[Line] = [(place, Piece(": "), head, Piece(": "), Piece(printable(f.message), "message"))]
    room = max(20, width - digits - 5)
    if f.line_text:
        lines += _excerpt(f.line_text, f.position, f.length, "^", f.severity, digits, room)
    for label, text in (("found", f.found), ("expected", f.expected), ("hint", f.hint)):
        if text:
            lines.append((Piece(f"{gutter}= ", "gutter"), Piece(f"{label}: ", "label"), Piece(printable(text))))
    if f.also is not None:
        also = Piece(printable(str(f.also)), "place")
        lines.append((Piece(f"{gutter}= ", "gutter"), Piece("also at: ", "label"), also))
        if f.also_text:
            word = _WORD.match(f.also_text, f.also.column - 1)
            length = len(word[0]) if word else 1
            lines += _excerpt(f.also_text, f.also, length, "-", "other", digits, room)
    return lines


def _excerpt(text: str, at: Position, length: int, mark: str, role: str, digits: int, room: int) -> list[Line]:
    shown, lead, marked = excerpt(text, at.column, length, room)
    return [
        (Piece(f"  {at.line:>{digits}} | ", "gutter"), Piece(shown.rstrip())),
        (Piece(" " * (digits + 3) + "| ", "gutter"), Piece(" " * lead + mark * marked, role)),
    ]
