"""Compiled tables, by the twin and in kernels, against a naive reader of rows: every hit policy, missing inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.lowering import lower_roots
from engine.compiler.program import Root
from engine.compiler.reference import Absent, Failure, Inputs, evaluate
from engine.compiler.tables.csv_file import read_csv, write_csv
from engine.compiler.tables.xlsx_file import write_xlsx
from engine.errors import RulesInvalid

sys.path.insert(0, str(Path(__file__).parent))
import table_rules as shop

ERROR = "error"
HEADER = ["features.score", "features.city", "features.smartphone", "out: level", "out: points"]
LEVELS = ("low", "middle", "high")


class Cell(NamedTuple):
    """A cell with what it says of a value: True, False, or None where the value is missing and it needs one."""

    text: str
    says: Callable[[Any], bool | None]


def value(text: str, test: Callable[[Any], bool]) -> Cell:
    return Cell(text, lambda x: None if x is None else test(x))


ANY = Cell("-", lambda x: True)
MISSING = Cell("missing", lambda x: x is None)
BOTH = st.sampled_from([ANY, ANY, MISSING, Cell("not(missing)", lambda x: x is not None)])
SMALL = st.integers(-2, 4)
SCORES = st.one_of(
    BOTH,
    SMALL.map(lambda n: value(f">= {n}", lambda x: x >= n)),
    SMALL.map(lambda n: value(f"<{n}", lambda x: x < n)),
    SMALL.map(lambda n: value(str(n), lambda x: x == n)),
    SMALL.map(lambda n: Cell(f"missing | {n}", lambda x: x is None or x == n)),
    st.tuples(SMALL, SMALL).map(lambda p: value(f"[{min(p)}..{max(p)}]", lambda x: min(p) <= x <= max(p))),
    st.tuples(SMALL, SMALL).map(
        lambda p: value(f"not({p[0]}, ({p[0]}..{p[0] + 3}))", lambda x: not p[0] <= x < p[0] + 3)
    ),
)
CITIES = st.one_of(
    BOTH,
    st.sampled_from("ab").map(lambda c: value(c, lambda x: x == c)),
    st.just(value('"a","b"', lambda x: x in ("a", "b"))),
    st.just(value("not(a)", lambda x: x != "a")),
)
PHONES = st.one_of(BOTH, st.sampled_from([value("true", lambda x: x), value("FALSE", lambda x: not x)]))
ROW = st.tuples(SCORES, CITIES, PHONES, st.sampled_from(LEVELS), st.integers(-3, 3))
ROWS = st.lists(ROW, min_size=1, max_size=6)
INPUTS = st.lists(
    st.tuples(st.none() | st.integers(-4, 6), st.none() | st.sampled_from(["a", "b", "c"]), st.none() | st.booleans()),
    min_size=1,
    max_size=8,
)


def holds(rows: list[Any], row: Any, given_values: tuple[Any, ...], strict: bool) -> bool | str:
    """A row's answer by the page 'Decision tables': false wins, then an error, then true."""
    answers = []
    for i, (cell, x) in enumerate(zip(row[:3], given_values, strict=True)):
        answer = cell.says(x)
        asked = any(other[i].text in ("missing", "not(missing)") or "missing |" in other[i].text for other in rows)
        answers.append(False if answer is None and asked and not strict else answer)
    if False in answers:
        return False
    return ERROR if None in answers else True


def naive(rows: list[Any], hit: str, collect: str, inputs: tuple[Any, ...], output: int) -> object:
    """The result by reading the rows one after the other."""
    answers = [holds(rows, row, inputs, hit == "first") for row in rows]
    results = [row[output] for row in rows]
    matching = [r for a, r in zip(answers, results, strict=True) if a is True]
    if hit == "first":
        for answer, result in zip(answers, results, strict=True):
            if answer is not False:
                return result if answer is True else ERROR
        return "default"
    if hit == "unique":
        return matching[0] if matching else ERROR if ERROR in answers else "default"
    if hit == "priority":
        ranked = sorted(range(len(rows)), key=lambda i: LEVELS[::-1].index(rows[i][3]))
        return next((results[i] if answers[i] is True else ERROR for i in ranked if answers[i] is not False), "default")
    if collect in ("minimum", "maximum"):
        ordered = sorted(range(len(rows)), key=lambda i: results[i], reverse=collect == "maximum")
        return next(
            (results[i] if answers[i] is True else ERROR for i in ordered if answers[i] is not False), "default"
        )
    if ERROR in answers:
        return ERROR
    return {"list": tuple(matching), "sum": sum(matching) if collect == "sum" else 0, "count": len(matching)}[collect]


POLICIES = {
    "first": "hit: first, default: {level: none, points: 99}",
    "unique": "hit: unique, default: {level: none, points: 99}",
    "priority": "hit: priority, priority: {level: [high, middle, low]}, default: {level: none, points: 99}",
    "list": "hit: collect",
    "count": "hit: collect, collect: count",
    "sum": "hit: collect, collect: sum",
    "minimum": "hit: collect, collect: minimum, default: {points: 99}",
    "maximum": "hit: collect, collect: maximum, default: {points: 99}",
}


def table(rows: list[Any], numbers_only: bool) -> list[list[str]]:
    texts = [[*(cell.text for cell in row[:3]), row[3], str(row[4])] for row in rows]
    kept = [0, 1, 2, 4] if numbers_only else range(5)
    return [[row[i] for i in kept] for row in (HEADER, *texts)]


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40, deadline=None)
@given(rows=ROWS, inputs=INPUTS)
def test_a_compiled_table_answers_as_its_rows_are_read(policy: str, rows: list[Any], inputs: list[Any]) -> None:
    hit = policy if policy in ("first", "unique", "priority") else "collect"
    numbers_only = policy in ("sum", "minimum", "maximum")
    csv = write_csv(table(rows, numbers_only))
    try:
        made = shop.rules(csv.decode(), POLICIES[policy])
    except RulesInvalid as error:
        found = {f.code for f in error.findings}
        made = None
    if made is None:
        assert (found, policy) == ({"table-overlap"}, "unique")
        return
    names = {"points": 4} if numbers_only else {"level": 3, "points": 4}
    roots = [Root(made.facts[f"t.{name}"].node, None) for name in names]
    given_inputs: list[dict[str, object]] = [
        {
            f"features.{name}": Absent("DATA_MISSING") if x is None else x
            for name, x in zip(("score", "city", "smartphone"), values, strict=True)
        }
        for values in inputs
    ]
    size = len(inputs)
    batch = lower_roots(roots, ("deposit",)).batch(["deposit"] * size, given_inputs, [0] * size, [None] * size)
    for i, values in enumerate(inputs):
        for number, (name, output) in enumerate(names.items()):
            wanted = naive(rows, hit, "" if hit != "collect" else policy, values, output)
            if wanted == "default":
                wanted = "none" if name == "level" else 99
            got = evaluate(roots[number].node, Inputs(given_inputs[i], 0, None))
            assert (ERROR if isinstance(got, Failure) else got) == wanted
            assert batch.value(number, i) == (None if wanted == ERROR else wanted)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, inputs=INPUTS)
def test_unique_says_overlap_exactly_where_two_rows_can_match(rows: list[Any], inputs: list[Any]) -> None:
    told = shop.told(shop.files(write_csv(table(rows, False)).decode(), POLICIES["unique"]))
    overlaps = [f for f in told if f.code == "table-overlap"]
    every = [(s, c, p) for s in (None, *range(-5, 9)) for c in (None, "a", "b", "z") for p in (None, True, False)]
    two = any(sum(holds(rows, row, values, False) is True for row in rows) > 1 for values in every)
    assert bool(overlaps) == two


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_first_tells_the_rows_that_never_match_and_the_gaps(rows: list[Any]) -> None:
    told = shop.told(shop.files(write_csv(table(rows, False)).decode(), "hit: first"))
    never = {f.position.line for f in told if f.code == "table-row-never"}
    present = [[None] if any("missing" in row[i].text for row in rows) else [] for i in range(3)]
    every = [
        (s, c, p)
        for s in (*present[0], *range(-5, 9))
        for c in (*present[1], "a", "b", "z")
        for p in (*present[2], True, False)
    ]
    answers = [[holds(rows, row, values, True) for row in rows] for values in every]
    reached = {next((i for i, a in enumerate(line) if a is not False), None) for line in answers if line}
    matched = {i for line in answers for i, a in enumerate(line) if a is True and not any(line[:i])}
    assert never == {i + 2 for i in range(len(rows)) if i not in matched}
    assert any(f.code == "table-gap" for f in told) == (None in reached)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS)
def test_csv_and_xlsx_compile_to_the_same_trees(rows: list[Any]) -> None:
    texts = table(rows, False)
    files = shop.files("", POLICIES["first"], name="tables/t.xlsx")
    sheet = shop.load({**files, "tables/t.xlsx": write_xlsx(texts)})
    csv = shop.rules(write_csv(texts).decode(), POLICIES["first"])
    assert {n: e.node for n, e in sheet.facts.items()} == {n: e.node for n, e in csv.facts.items()}
    grid = read_csv("t.csv", write_csv(texts)).grid
    assert grid is not None
    assert [[c.text for c in row.cells] for row in grid.rows] == texts
