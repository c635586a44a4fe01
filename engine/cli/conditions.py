"""Conditions part by part: what is written, what its value was, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from engine.cli.output import say
from engine.pb.tact.v1 import decision_pb2 as pb

BRIEF_MAX = 12  # parts shown of a condition that failed a test
_STYLES = {"true": "green", "false": "yellow"}
_NARROW, _WIDE = 24, 72  # least and most room for the text of a part
_VERDICTS = ("eligible", "when", "unless", "channel")


def print_conditions(console: Console, conditions: Iterable[pb.ConditionTrace], indent: int) -> None:
    """Each condition whole, its value and place, and its parts below it."""
    for condition in conditions:
        _print(console, condition, condition.steps[1:], indent, condition.truncated)


def print_failing(console: Console, conditions: Iterable[pb.ConditionTrace], indent: int) -> None:
    """Of the conditions that kept a message from being said, the parts that did."""
    for condition in conditions:
        stopping = "true" if condition.role == "unless" else "false"
        if condition.failed or (condition.role in _VERDICTS and condition.value == stopping):
            steps = _failing(condition.steps[1:], "false" if stopping == "true" else "true")
            _print(console, condition, steps[:BRIEF_MAX], indent, condition.truncated or len(steps) > BRIEF_MAX)


def _failing(steps: Sequence[pb.TraceStep], passing: str) -> list[pb.TraceStep]:
    """The steps without those that are as they should be, and what is below these."""
    kept, skipped = [], None
    for step in steps:
        if skipped is not None and step.depth > skipped:
            continue
        skipped = step.depth if step.value == passing else None
        if skipped is None:
            kept.append(step)
    return kept


def _print(
    console: Console, condition: pb.ConditionTrace, steps: Sequence[pb.TraceStep], indent: int, more: bool
) -> None:
    head = Text.assemble((f"{condition.role} {condition.name}".strip(), "bold"), "  ")
    head.append(condition.value, _style(condition.value, condition.failed))
    say(console, head + Text(f"  {_place(condition.position)}", "dim"), indent, hang=2)
    say(console, Text(condition.expression, "bold"), indent + 2, hang=2)
    if not steps:
        return
    room = console.width - indent - 2
    widest = max(cell_len(step.text) + 2 * step.depth for step in steps)
    column = min(widest, max(_NARROW, min(_WIDE, room * 3 // 5)))
    before = condition.position
    for step in steps:
        lead = "  " * step.depth
        text = Text(lead + set_cell_size(_cut(step.text, column - len(lead)), max(1, column - len(lead))))
        if step.failed:
            text.stylize("red")
        line = Text.assemble(text, "  ", (step.value, _style(step.value, step.failed)))
        at = step.position
        if (at.path, at.line) != (before.path, before.line):
            line.append(f"  {_place(at)}", "dim")
            before = at
        say(console, line, indent + 2, hang=column + 2)
    if more:
        say(console, Text("..", "dim"), indent + 2)


def _style(value: str, failed: bool) -> str:
    return "bold red" if failed else _STYLES.get(value, "cyan")


def _place(at: pb.SourcePosition) -> str:
    return f"{at.path}:{at.line}:{at.column}"


def _cut(text: str, width: int) -> str:
    """The text in `width` cells, its middle left out where it is longer."""
    if cell_len(text) <= width:
        return text
    half = max(1, (width - 1) // 2)
    last = chop_cells(text[::-1], max(1, width - 1 - half))[0][::-1]
    return f"{chop_cells(text, half)[0]}…{last}"
