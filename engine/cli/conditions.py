"""Conditions part by part: what is written, what its value was, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from engine.cli.output import say
from engine.pb.tact.v1 import decision_pb2 as pb

BRIEF_MAX = 12  # parts shown of a condition that failed a test
_STYLES = {"true": "green", "false": "yellow"}
_ROOM_MIN, _TEXT_MIN = 40, 8  # cells of a row and of the text in it, however narrow the terminal
_VERDICTS = ("eligible", "when", "unless", "channel")


def print_conditions(console: Console, conditions: Iterable[pb.ConditionTrace], indent: int) -> None:
    """Each condition whole, its value and place, and its parts below it."""
    for condition in conditions:
        _print(console, condition, condition.steps[1:], indent, condition.truncated)


def failing_conditions(conditions: Iterable[pb.ConditionTrace]) -> list[pb.ConditionTrace]:
    """Those that keep a message from being said, or that have no value."""
    return [c for c in conditions if c.failed or (c.role in _VERDICTS and _bare(c.value) == _stopping(c))]


def print_failing(console: Console, conditions: Iterable[pb.ConditionTrace], indent: int) -> None:
    """Of failing conditions the parts that are not as they should be."""
    for condition in conditions:
        steps = _failing(condition.steps[1:], "false" if _stopping(condition) == "true" else "true")
        _print(console, condition, steps[:BRIEF_MAX], indent, condition.truncated or len(steps) > BRIEF_MAX)


def _stopping(condition: pb.ConditionTrace) -> str:
    return "true" if condition.role == "unless" else "false"


def _failing(steps: Sequence[pb.TraceStep], passing: str) -> list[pb.TraceStep]:
    """The steps without those that are as they should be, and what is below these."""
    kept, skipped = [], None
    for step in steps:
        if skipped is not None and step.depth > skipped:
            continue
        skipped = step.depth if _bare(step.value) == passing else None
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
    rows = list(_rows(condition, steps))
    _print_rows(console, rows, indent + 2)
    if more:
        say(console, Text("..", "dim"), indent + 2)


def _rows(condition: pb.ConditionTrace, steps: Sequence[pb.TraceStep]) -> Iterator[tuple[int, str, bool, Text]]:
    """Depth, text, whether it failed, and value with the place where that is on another line than the one above."""
    before = condition.position
    for i, step in enumerate(steps):
        cause_follows = step.failed and any(s.value == step.value for s in _below(steps, i))
        told = Text.assemble(("error" if cause_follows else step.value, _style(step.value, step.failed)))
        at = step.position
        if (at.path, at.line) != (before.path, before.line):
            told.append(f"  {_place(at)}", "dim")
            before = at
        yield step.depth, step.text, step.failed, told


def _below(steps: Sequence[pb.TraceStep], i: int) -> Iterator[pb.TraceStep]:
    """The parts of a step, and theirs."""
    for step in steps[i + 1 :]:
        if step.depth <= steps[i].depth:
            return
        yield step


def _print_rows(console: Console, rows: Sequence[tuple[int, str, bool, Text]], indent: int) -> None:
    """Texts and values in two columns, of which the second wraps."""
    room = max(_ROOM_MIN, console.width - indent - 2)
    widest = max((cell_len(text) + 2 * depth for depth, text, _, _ in rows), default=0)
    values = max((told.cell_len for *_, told in rows), default=0)
    deepest = max((2 * depth for depth, *_ in rows), default=0)
    column = min(widest, max(room - min(values, room * 2 // 5), deepest + _TEXT_MIN))
    for depth, text, failed, told in rows:
        width = column - 2 * depth
        left = Text("  " * depth) + Text(set_cell_size(_cut(text, width), width), "red" if failed else "")
        lines = list(told.wrap(console, max(_TEXT_MIN, room - column))) if console.is_terminal else [told]
        for number, line in enumerate(lines):
            line.rstrip()
            start = left if number == 0 else Text(" " * left.cell_len)
            console.print(Text.assemble(" " * indent, start, "  ", line), soft_wrap=True)


def _style(value: str, failed: bool) -> str:
    return "bold red" if failed else _STYLES.get(_bare(value), "cyan")


def _bare(value: str) -> str:
    """The value alone: of a default it is said that it is one."""
    return value.removesuffix(" (default)")


def _place(at: pb.SourcePosition) -> str:
    return f"{at.path}:{at.line}:{at.column}"


def _cut(text: str, width: int) -> str:
    """The text in `width` cells, its middle left out where it is longer."""
    if cell_len(text) <= width:
        return text
    half = max(1, (width - 1) // 2)
    last = chop_cells(text[::-1], max(1, width - 1 - half))[0][::-1]
    return f"{chop_cells(text, half)[0]}…{last}"
