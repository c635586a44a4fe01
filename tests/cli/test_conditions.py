"""How conditions are drawn, part by part."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from engine.cli.conditions import failing_conditions, print_conditions, print_failing
from engine.pb.tact.v1 import decision_pb2 as pb


def place(text: str) -> pb.SourcePosition:
    path, line, column = text.split(":")
    return pb.SourcePosition(path=path, line=int(line), column=int(column))


def step(depth: int, text: str, value: str, at: str = "a.yaml:1:1") -> pb.TraceStep:
    failed = value.startswith("error")
    return pb.TraceStep(text=text, value=value, failed=failed, depth=depth, position=place(at))


def condition(*steps: pb.TraceStep, role: str = "when", truncated: bool = False) -> pb.ConditionTrace:
    whole = steps[0]
    return pb.ConditionTrace(
        role=role, expression=whole.text, position=whole.position, value=whole.value, failed=whole.failed,
        steps=steps, truncated=truncated,
    )  # fmt: skip


def drawn(one: pb.ConditionTrace, width: int = 0, color: bool = False) -> list[str]:
    """The lines in a terminal of that width; without one as in a pipe."""
    stream = io.StringIO()
    colors = "standard" if color else None
    console = Console(
        file=stream, width=width or 1000, force_terminal=bool(width), color_system=colors, highlight=False
    )
    print_conditions(console, [one], 2)
    return stream.getvalue().splitlines()


MISSING = "error: features.salary is missing"
NESTED = condition(
    step(0, "facts.months >= 6 && event.n > 1", "false", "a.yaml:4:11"),
    step(1, "facts.months >= 6", MISSING, "a.yaml:4:11"),
    step(2, "facts.months", MISSING, "a.yaml:4:11"),
    step(3, "features.balance / features.salary", MISSING, "facts.yaml:2:11"),
    step(4, "features.balance", "9000", "facts.yaml:2:11"),
    step(4, "features.salary", MISSING, "facts.yaml:2:30"),
    step(1, "event.n > 1", "false", "a.yaml:5:7"),
    step(2, "event.n", "0", "a.yaml:5:7"),
)


def test_a_cause_is_said_once_and_a_place_where_it_is_another() -> None:
    assert drawn(NESTED) == [
        "  when  false  a.yaml:4:11",
        "    facts.months >= 6 && event.n > 1",
        "      facts.months >= 6                       error",
        "        facts.months                          error",
        "          features.balance / features.salary  error  facts.yaml:2:11",
        "            features.balance                  9000",
        "            features.salary                   error: features.salary is missing",
        "      event.n > 1                             false  a.yaml:5:7",
        "        event.n                               0",
    ]


def test_values_wrap_in_their_own_column() -> None:
    lines = drawn(NESTED, 60)
    assert all(len(line) <= 60 for line in lines)
    at = next(i for i, line in enumerate(lines) if "features.salary  " in line)
    start = lines[at].index("error")
    assert [line[start:] for line in lines[at : at + 3]] == ["error:", "features.salary is", "missing"]
    assert {line[:start] for line in lines[at + 1 : at + 3]} == {" " * start}


def test_long_parts_are_cut_in_the_middle_and_the_whole_is_not() -> None:
    part = 'event.tags.exists(t, t.startsWith("ab") || t.endsWith("yz"))'
    lines = drawn(condition(step(0, f"!({part})", "false"), step(1, part, "true")), 60)
    assert "".join(line.strip() for line in lines[1:-1]).replace(" ", "") == f"!({part})".replace(" ", "")
    assert "…" in lines[-1]
    assert "…" not in "".join(lines[:-1])
    assert lines[-1].strip().startswith("event.tags.exists(")
    assert lines[-1].rstrip().endswith("true")
    assert len(lines[-1]) <= 60


@pytest.mark.parametrize("width", [1, 20, 40, 80])
def test_any_width_and_wide_characters(width: int) -> None:
    lines = drawn(
        condition(step(0, "x", '"' + "貯" * 60 + '"'), *[step(k, "貯金" * 30, "\u200d貯") for k in range(1, 30)]), width
    )
    assert sum("貯" in line for line in lines) >= 30
    if width == 80:
        short = drawn(condition(step(0, "貯金" * 30, "true"), step(1, "貯金" * 30, "true")), width)
        assert all(cell_len(line) <= width for line in short)


def test_one_comparison_is_said_once() -> None:
    told = drawn(condition(step(0, "event.n > 1", "true"), step(1, "event.n", "5")))
    assert told == ["  when  true  a.yaml:1:1", "    event.n > 1", "      event.n  5"]
    assert drawn(condition(step(0, "event.ok", "true"))) == ["  when  true  a.yaml:1:1", "    event.ok"]


def test_what_is_left_out_is_marked() -> None:
    cut = condition(step(0, "event.ok", "true"), truncated=True)
    assert drawn(cut)[-1].strip() == ".."


def test_colours() -> None:
    told = "\n".join(drawn(NESTED, 100, color=True))
    assert "\x1b[1;31merror: features.salary is missing\x1b[0m" in told
    assert "\x1b[31m" in told  # the parts that are errors
    assert "\x1b[33mfalse\x1b[0m" in told
    assert "\x1b[2mfacts.yaml:2:11\x1b[0m" in told.replace("\x1b[2m  ", "\x1b[2m")


def test_only_what_failed() -> None:
    passed = condition(step(0, "event.ok", "true"))
    unless = condition(
        step(0, "event.a || event.b", "true"), step(1, "event.a", "false"), step(1, "event.b", "true"), role="unless"
    )
    value = condition(step(0, "event.n", "false"), role="value")
    default = condition(step(0, "features.p", "false (default)"))
    slot = condition(step(0, "event.n", "error: event.n is missing"), role="slot")
    assert failing_conditions([passed, unless, value, default, slot]) == [unless, default, slot]
    stream = io.StringIO()
    print_failing(Console(file=stream, width=1000), [unless], 0)
    assert stream.getvalue().splitlines()[1:] == ["  event.a || event.b", "    event.b  true"]


def test_what_failed_is_brief() -> None:
    many = condition(step(0, "all", "false"), *[step(1, f"event.n == {i}", "false") for i in range(50)])
    stream = io.StringIO()
    print_failing(Console(file=stream, width=1000), [many], 0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 + 12 + 1
    assert lines[-1].strip() == ".."
