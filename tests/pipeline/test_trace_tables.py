"""What Explain tells of decision tables: the inputs read, and the row that gave the result."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from engine.bundle import compile_bundle
from engine.trial import run

sys.path.insert(0, str(Path(__file__).parent))
from trace_rules import bundle_of, conditions, told, when

TABLE = """\
features.salary,event.n,out: level,out: rank,note
missing,-,none,1,
> 1000,[1..5],high,3,"a note, with a comma"
-,> 5,odd,2,
"""
TABLE_FACT = "facts: {score: {table: tables/s.csv, hit: %s}}\n"


def table(
    text: str, event: str, features: str, fact: str = TABLE_FACT % "first, default: {level: other, rank: 0}"
) -> list[str]:
    return when(f"'{text}'", event, features, {"tables/s.csv": TABLE, "table.yaml": fact})


def test_a_table_tells_its_inputs_and_its_row() -> None:
    more = {"tables/s.csv": TABLE, "table.yaml": TABLE_FACT % "first, default: {level: other, rank: 0}"}
    [condition] = conditions(bundle_of("    when: facts.score.level == 'high'", more), "n: 2", "salary: 3000")
    assert told(condition) == [
        "facts.score.level == 'high' = true",
        '  facts.score.level = "high"',
        "    features.salary = 3000",
        "    event.n = 2",
        '    row 3: > 1000,[1..5],high,3,"a note, with a comma" = "high"',
    ]
    assert [str(step.position) for step in condition.steps[2:]] == [
        "tables/s.csv:1:1",
        "tables/s.csv:1:17",
        "tables/s.csv:3:1",
    ]
    assert {step.fact for step in condition.steps[2:]} == {"facts.score.level"}


def test_a_row_without_a_value_an_erring_row_and_the_default() -> None:
    text = 'facts.score.level == "none" || facts.score.rank > 5'
    missing = table(text, "n: 2", "")
    assert '      row 2: missing,-,none,1, = "none"' in missing
    assert "      row 2: missing,-,none,1, = 1" in missing
    erring = table(text, "", "salary: 2000")
    assert '      row 3: > 1000,[1..5],high,3,"a note, with a comma" = error: event.n is missing' in erring
    assert '      no row: default = "other"' in table(text, "n: 1", "salary: 10")


def test_a_table_without_a_default_says_that_no_row_matches() -> None:
    steps = table('facts.score.level == "none"', "n: 1", "salary: 10", TABLE_FACT % "first")
    assert steps[1:] == [
        "  facts.score.level = error: no row of tables/s.csv matches",
        "    features.salary = 10",
        "    event.n = 1",
    ]


@pytest.mark.parametrize(
    ("collect", "text", "rows"),
    [
        (
            "list",
            "size(facts.score.level) > 1",
            ['row 3: > 1000,[1..5],high,3, = "high"', 'row 4: -,> 0,odd,2, = "odd"'],
        ),
        ("sum", "facts.score.rank > 1", ["row 3: > 1000,[1..5],high,3, = 3", "row 4: -,> 0,odd,2, = 2"]),
        ("count", "facts.score.level > 1", ["row 3: > 1000,[1..5],high,3, = 1", "row 4: -,> 0,odd,2, = 1"]),
        ("minimum", "facts.score.rank > 1", ["row 4: -,> 0,odd,2, = 2"]),
        ("maximum", "facts.score.rank > 1", ["row 3: > 1000,[1..5],high,3, = 3"]),
    ],
)
def test_tables_that_collect_tell_every_row_that_counts(collect: str, text: str, rows: list[str]) -> None:
    grid = "features.salary,event.n,out: level,out: rank,note\n-,> 9,none,1,\n> 1000,[1..5],high,3,\n-,> 0,odd,2,\n"
    if collect in ("sum", "minimum", "maximum"):
        grid = grid.replace("out: level", "note").replace(",note\n-", ",note\n-")
    fact = f"facts: {{score: {{table: tables/s.csv, hit: collect, collect: {collect}}}}}\n"
    if collect in ("minimum", "maximum"):
        fact = fact.replace(f"collect: {collect}", f"collect: {collect}, default: {{rank: 0}}")
    steps = when(f"'{text}'", "n: 2", "salary: 3000", {"tables/s.csv": grid, "table.yaml": fact})
    assert [step.strip() for step in steps if step.strip().startswith("row ")] == rows


def test_inputs_of_a_table_that_are_expressions_and_facts() -> None:
    grid = '"facts.months * 2.0", size(event.tags) ,out: ok\n> 5,2,true\n-,-,false\n'
    fact = "facts: {score: {table: tables/s.csv, hit: first}}\n"
    more = {"tables/s.csv": grid, "table.yaml": fact}
    bundle = bundle_of("    when: facts.score.ok", more)
    [condition] = conditions(bundle, "tags: [a, b]", "balance: 9000, salary: 3000")
    assert told(condition) == [
        "facts.score.ok = true",
        "  facts.months * 2.0 = 6",
        "    facts.months = 3",
        "      features.balance / features.salary = 3",
        "        features.balance = 9000",
        "        features.salary = 3000",
        "  size(event.tags) = 2",
        '    event.tags = ["a", "b"]',
        "  row 2: > 5,2,true = true",
    ]
    assert [s.position.column for s in condition.steps if s.position.path.endswith(".csv")] == [2, 2, 23, 28, 1]


def test_a_fact_in_a_macro_and_beside_it() -> None:
    more = {"tables/s.csv": TABLE, "table.yaml": TABLE_FACT % "first, default: {level: other, rank: 0}"}
    text = "event.tags.exists(t, size(t) > facts.score.rank) || facts.score.rank == 9 || facts.twice > 5.0"
    steps = when(text, "n: 2, tags: [a]", "salary: 3000, balance: 3000", more)
    assert steps[3:6] == ["    size(t) > facts.score.rank = false", "      size(t) = 1", "      facts.score.rank = 3"]
    assert steps[6:9] == ["  facts.score.rank == 9 = false", "    facts.score.rank = 3", "      features.salary = 3000"]


def test_a_workbook_names_the_row() -> None:
    from openpyxl import Workbook

    book = Workbook()
    for row in (["event.n", "out: ok"], ["> 1", "true"], ["-", "false"]):
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    fact = "facts: {score: {table: tables/s.xlsx, hit: first}}\n"
    plain = bundle_of("    when: event.n > 0", {"table.yaml": "facts: {}\n"}).ruleset.files
    files = {**plain, "tables/s.xlsx": stream.getvalue(), "table.yaml": fact.encode()}
    files["rules.yaml"] = files["rules.yaml"].replace(b"event.n > 0", b"facts.score.ok")
    files["tests.yaml"] = b"tests:\n  - {name: t, event: {type: pay, n: 5}, expect: {send: m}}\n"
    bundle = compile_bundle(files)
    [view] = [v for v in run(bundle, bundle.ruleset.tests[0]).explanation.candidates if v.message == "m"]
    [condition] = view.conditions
    last = condition.steps[-1]
    assert (last.text, last.value, str(last.position)) == ("row 2: > 1, true", "true", "tables/s.xlsx:2:1")
