"""How commands speak: colours in a terminal, plain text in a pipe, JSON on request, errors for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from engine.compiler.excerpt import WIDTH
from engine.compiler.source import ERROR, Finding, Line, drawn, sort_findings

OK, FAILED, USAGE = 0, 1, 2
_PIPED_WIDTH = 1000  # a pipe has no width: nothing is wrapped or squeezed there


class CommandError(Exception):
    """A user's mistake or a server that cannot be asked: the text is all that is shown."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def _console(file: IO[str], stderr: bool, color: str) -> Console:
    """`color` auto: in a terminal, unless NO_COLOR says otherwise."""
    width = None if file.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    plain = color == "never" or (color == "auto" and bool(os.environ.get("NO_COLOR")))
    return Console(
        stderr=stderr,
        markup=False,
        highlight=False,
        emoji=False,
        width=width,
        color_system=None if plain else "standard" if color == "always" else "auto",
        force_terminal=True if color == "always" else None,
    )


def out(color: str = "auto") -> Console:
    """Standard output; texts are never read as markup."""
    return _console(sys.stdout, stderr=False, color=color)


def err() -> Console:
    """Standard error: problems and progress."""
    return _console(sys.stderr, stderr=True, color="auto")


def print_json(value: object) -> None:
    """One JSON document, indented."""
    sys.stdout.write(_json(value, 2) + "\n")


def print_json_line(value: object) -> None:
    """One JSON document on one line."""
    sys.stdout.write(_json(value) + "\n")


def _json(value: object, indent: int | None = None) -> str:
    """As UTF-8 can hold it: the bytes of a file's name that are none are escaped."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def complain(where: str, text: str) -> None:
    """One problem on standard error, `where: text`, whole on its line in a pipe."""
    err().print(Text.assemble((where, "bold"), ": ", text), soft_wrap=True)


def say(console: Console, text: Text | str, indent: int = 0, hang: int = 0) -> None:
    """A line with an indent that it keeps, `hang` deeper, where a terminal makes it wrap."""
    text = text if isinstance(text, Text) else Text(text)
    if not console.is_terminal:
        console.print(Text(" " * indent) + text, soft_wrap=True)
        return
    for place, line in enumerate(text.wrap(console, max(20, console.width - indent - hang))):
        line.rstrip()
        console.print(Text(" " * (indent + (hang if place else 0))) + line, soft_wrap=True)


def say_beside(console: Console, lead: Text, text: Text) -> None:
    """`text` behind `lead`, and under itself where a terminal makes it wrap."""
    width = len(lead)
    lines = text.wrap(console, max(20, console.width - width)) if console.is_terminal and len(text) else [text]
    for place, line in enumerate(lines):
        line.rstrip()
        console.print((Text(" " * width) if place else lead) + line, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """A table without the blanks that pad its lines."""
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def progress(quiet: bool = False) -> Progress:
    """A progress bar on standard error; nothing where that is not a terminal."""
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def counted(number: int, what: str) -> str:
    """`1 finding`, `2 findings`, `45,211 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# Findings

_STYLES = {
    "place": "bold", "error": "bold red", "warning": "bold yellow", "message": "bold", "gutter": "cyan",
    "label": "bold cyan", "other": "cyan",
}  # fmt: skip


def print_findings(findings: Iterable[Finding], console: Console | None = None) -> None:
    """Each finding with its source line, an empty line between two, by place."""
    console = console or out()
    narrow = console.is_terminal and console.width < _PIPED_WIDTH
    for place, finding in enumerate(sort_findings(findings)):
        if place:
            console.print()
        for line in drawn(finding, console.width if narrow else WIDTH):
            _print_line(console, line, narrow)


def _print_line(console: Console, line: Line, narrow: bool) -> None:
    """A line of a finding. In a terminal what is said wraps under itself; source lines are cut already."""
    *lead, last = (Text(piece.text, _STYLES.get(piece.role, "")) for piece in line)
    first = Text.assemble(*lead)
    if not narrow or len(lead) < 2:
        console.print(first + last, soft_wrap=True)
    elif line[0].role == "gutter":
        say_beside(console, first, last)
    else:
        say(console, first + last, hang=4)


def tally(findings: Iterable[Finding]) -> str:
    """`2 errors, 3 warnings in 2 files`."""
    findings = list(findings)
    errors = sum(f.severity == ERROR for f in findings)
    counts = [counted(n, what) for n, what in ((errors, "error"), (len(findings) - errors, "warning")) if n]
    return f"{', '.join(counts)} in {counted(len({f.position.path for f in findings}), 'file')}"


def finding_json(finding: Finding) -> dict[str, object]:
    """A finding as `--json` shows it."""
    also = finding.also
    return {
        "code": finding.code,
        "severity": finding.severity,
        "path": finding.position.path,
        "line": finding.position.line,
        "column": finding.position.column,
        "length": finding.length,
        "message": finding.message,
        "found": finding.found,
        "expected": finding.expected,
        "hint": finding.hint,
        "also": {"path": also.path, "line": also.line, "column": also.column} if also else None,
    }
