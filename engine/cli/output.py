"""How commands speak: colours in a terminal, plain text in a pipe, JSON on request, errors for people."""

from __future__ import annotations

import json
import os
import sys
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from engine.compiler.source import Finding, render, sort_findings

OK, FAILED, USAGE = 0, 1, 2
_PIPED_WIDTH = 1000  # a pipe has no width: nothing is wrapped or squeezed there


class CommandError(Exception):
    """A user's mistake or a server that cannot be asked: the text is all that is shown."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def _console(file: IO[str], stderr: bool) -> Console:
    width = None if file.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def out() -> Console:
    """Standard output; texts are never read as markup."""
    return _console(sys.stdout, stderr=False)


def err() -> Console:
    """Standard error: problems and progress."""
    return _console(sys.stderr, stderr=True)


def print_json(value: object) -> None:
    """One JSON document, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: object) -> None:
    """One JSON document on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


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


def print_findings(findings: list[Finding]) -> None:
    """Each finding as the compiler renders it, an empty line between two, by place."""
    console = out()
    for place, finding in enumerate(sort_findings(findings)):
        if place:
            console.print()
        first, *rest = render(finding).split("\n")
        head = Text(first)
        head.stylize("bold", 0, len(str(finding.position)))
        head.highlight_words([f"error[{finding.code}]"], "bold red")
        console.print(head, soft_wrap=True)
        for line in rest:
            marks = set(line.strip()) == {"^"}
            console.print(Text(line, "bold red" if marks else ""), soft_wrap=True)


def finding_json(finding: Finding) -> dict[str, object]:
    """A finding as `--json` shows it."""
    return {
        "code": finding.code,
        "severity": "error",
        "path": finding.position.path,
        "line": finding.position.line,
        "column": finding.position.column,
        "length": finding.length,
        "message": finding.message,
        "found": finding.found,
        "expected": finding.expected,
        "hint": finding.hint,
    }
