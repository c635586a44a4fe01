"""What is told about tables, in rule files and in the tables themselves: where, and how it is mended."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from engine.compiler.ruleset import load, read_directory
from engine.compiler.source import render
from engine.compiler.tables.csv_file import write_csv
from engine.compiler.tables.xlsx_file import write_xlsx

sys.path.insert(0, str(Path(__file__).parent))
import table_rules as shop

SOUND = "features.smartphone,features.age,out: a\n"
FIRST = "hit: first, default: {a: x}"

CASES = [
    # the rule file
    (SOUND + "-,-,x\n", "hit: firts", "bad-value 15"),
    (SOUND + "-,-,x\n", "default: {a: x}", "missing-key 15"),
    (SOUND + "-,-,x\n", "hit: first, defaults: {a: x}", "unknown-key 15"),
    (SOUND + "-,-,x\n", "hit: first, default: x", "wrong-shape 15"),
    (SOUND + "-,-,x\n", "hit: first, default: {b: x}", "unknown-key 15"),
    (SOUND + "-,-,1\n", "hit: first, default: {a: x}", "bad-value 15"),
    (SOUND + "-,-,x\n", "hit: first, sheet: Paying", "bad-value 15"),
    (SOUND + "-,-,x\n", "hit: first, collect: sum", "bad-value 15"),
    (SOUND + "-,-,x\n", "hit: collect, collect: sum", "bad-value 15"),
    (SOUND + "-,-,1\n", "hit: collect, default: {a: 1}", "bad-value 15"),
    (SOUND + "-,-,9223372036854775807\n-,1,1\n", "hit: collect, collect: sum", "bad-value 15"),
    (SOUND + "-,-,x\n", "hit: first, priority: {a: [x]}", "bad-value 15"),
    (SOUND + "-,-,x\n", "hit: priority", "missing-key 15"),
    (SOUND + "true,-,x\n-,-,y\n", "hit: priority, priority: {a: [y]}", "bad-value 15"),
    # the header
    ("\n", FIRST, "table-header 1"),
    (SOUND, FIRST, "table-header 1"),
    ("features.smartphone\ntrue\n", FIRST, "table-header 1"),
    ("out: a,note\nx,\n", FIRST, "table-header 1"),
    (SOUND.replace("out: a", "out: a,out: a") + "-,-,x,x\n", FIRST, "table-header 1"),
    (SOUND.replace("out: a", "out: a b") + "-,-,x\n", FIRST, "table-header 1"),
    (SOUND.replace("features.age", "") + "-,1,x\n", FIRST, "table-header 2"),
    (SOUND + "-,-,x,y\n", FIRST, "table-header 2"),
    (SOUND.replace("age", "agee") + "-,-,x\n", FIRST, "unknown-name 1"),
    (SOUND.replace("features.age", "features.age >") + "-,-,x\n", FIRST, "syntax 1"),
    (SOUND.replace("features.age", "features.interests") + "-,a,x\n", FIRST, "table-input 1"),
    (SOUND.replace("features.age", "facts.t.a") + "-,a,x\n", FIRST, "fact-cycle 15"),
    # the rows
    (SOUND + ",-,x\n", FIRST, "table-empty-cell 2"),
    (SOUND + "-,-,\n", FIRST, "table-empty-cell 2"),
    (SOUND + "-,-,x\n\nyes,=>3,y\n", FIRST, "table-test 4, table-test 4"),
    (SOUND + "-,1,x\n-,2,3\n-,3,z\n", FIRST, "table-output 3"),
    (SOUND.replace("out: a", "out: a integer") + "-,1,x\n", "hit: first", "table-output 2"),
    # the table as a whole
    (SOUND + "true,-,x\nfalse,-,y\n", "hit: first", ""),
    (SOUND + "true,-,x\n", "hit: first", "table-gap 1"),
    (SOUND + "true,-,x\n", FIRST, ""),
    (SOUND + "true,-,x\n", "hit: collect", ""),
    (SOUND + "-,[0..5],x\n-,>= 6,y\n", "hit: first", ""),
    (SOUND + "-,[0..5],x\n-,> 6,y\n", "hit: first", "table-gap 1"),
    (SOUND + "-,<0,x\n-,-,y\n", "hit: first", "table-row-never 2"),
    (SOUND + "-,-,x\ntrue,-,x\n", "hit: first", "table-row-never 3"),
    (SOUND + "-,[0..5],x\n-,missing,y\n", FIRST, "table-row-never 3"),
    (SOUND + "-,missing,y\n-,[0..5],x\n", FIRST, ""),
    (SOUND + "-,[0..5],x\n-,missing,y\n", "hit: unique, default: {a: x}", ""),
    (SOUND + "-,[0..5],x\n-,5,y\n", "hit: unique, default: {a: x}", "table-overlap 3"),
    (SOUND + "true,-,x\n-,5,y\n", "hit: priority, priority: {a: [y, x]}", "table-gap 1"),
    (SOUND + "true,5,x\n-,5,y\n", "hit: priority, priority: {a: [y, x]}, default: {a: x}", "table-row-never 2"),
    # one input in two columns is one input
    ("features.age,features.age,out: a\n>3,<6,x\n>=6,-,y\n-,<= 3,z\n", "hit: unique", ""),
    ("features.age,features.age,out: a\n>3,<3,x\n-,-,y\n", "hit: first", "table-row-never 2"),
]


@pytest.mark.parametrize(("table", "settings", "expected"), CASES)
def test_what_is_told(table: str, settings: str, expected: str) -> None:
    assert ", ".join(shop.codes(table, settings)) == expected


def test_a_table_that_is_not_there() -> None:
    files = shop.files("", FIRST)
    told = shop.told({"schema.yaml": files["schema.yaml"], "tables/tt.csv": b""})
    assert [(f.code, f.hint) for f in told] == [("unknown-table", "did you mean 'tables/tt.csv'?")]
    told = shop.told(shop.files("", FIRST, name="tables/t.xlsm"))
    assert ("unknown-table", "save it as .xlsx or .csv: fi") in [(f.code, f.hint[:28]) for f in told]


RENDERED = [
    (
        'features.smartphone;features.age;out: a\ntrue;"1-3";x\n',
        FIRST,
        """\
        tables/t.csv:2:6: error[table-test]: cell B2: `1-3` is no test
          2 | true;"1-3";x
            |      ^^^^^
            = found: 1-3
            = expected: a whole number such as 6
            = hint: write the interval as [1..3]""",
    ),
    (
        SOUND + "true,<5,x\n-,[4..10],y\n",
        "hit: unique, default: {a: x}",
        """\
        tables/t.csv:3:1: error[table-overlap]: cell A3: rows 2 and 3 match the same inputs
          3 | -,[4..10],y
            | ^
            = found: features.smartphone = true, features.age = 4
            = hint: the hit policy is unique: make one of them narrower, or say `hit: first`
            = also at: tables/t.csv:2:1
          2 | true,<5,x
            | ----""",
    ),
    (
        "features.smartphone,features.cit,out: a\ntrue,-,x\n",
        "hit: first",
        """\
        tables/t.csv:1:21: error[unknown-name]: cell B1: no feature is called 'cit'
          1 | features.smartphone,features.cit,out: a
            |                     ^^^^^^^^^^^^
            = expected: a feature of the schema
            = hint: did you mean 'city'?""",
    ),
]


@pytest.mark.parametrize(("table", "settings", "expected"), RENDERED)
def test_what_people_read(table: str, settings: str, expected: str) -> None:
    assert "\n".join(render(f) for f in shop.told(shop.files(table, settings))) == textwrap.dedent(expected)


def test_a_workbook_is_told_by_sheet_and_cell() -> None:
    sheet = write_xlsx([["features.smartphone", "features.age", "out: a"], ["true", "=>6", "x"]], "Paying")
    (finding,) = shop.told({**shop.files("", FIRST, name="tables/t.xlsx"), "tables/t.xlsx": sheet})
    assert render(finding) == textwrap.dedent(
        """\
        tables/t.xlsx:2:7: error[table-test]: sheet 'Paying', cell B2: `=>` begins a formula in a spreadsheet
          2 | true, =>6, x
            |       ^^^
            = found: =>6
            = hint: write >= 6"""
    )


def test_a_table_reads_what_its_events_have_in_common() -> None:
    table = "event.amount,out: a\n>= 10,big\n-,small\n"
    message = """
purposes: {service: {consent: not_required}}
channels: {sms: {}}
messages:
  m:
    purpose: service
    on: [%s]
    when: facts.t.a == "big"
    channels: [sms]
    variants: {plain: {en: "Hello."}}
"""
    sound = load(shop.files(table, "hit: first", more=message % "deposit"))
    assert [f.code for f in sound.warnings if f.code.startswith("table")] == []
    told = shop.told(shop.files(table, "hit: first", more=message % "deposit, login"))
    assert [f.code for f in told] == ["fact-not-for-event"]


def test_a_table_is_looked_through_for_every_type_that_its_input_has() -> None:
    events = "events:\n  order: {amount: integer}\n"
    table = "event.amount,out: a\n(3..4),x\n[3..5],y\n"
    alone = {**shop.files(table, "hit: unique, default: {a: z}"), "more.yaml": events.encode()}
    assert "table-overlap" in {f.code for f in shop.told(alone)}


def test_a_table_too_large_to_look_through_says_so() -> None:
    header = ",".join(f"features.score + {i}" for i in range(12)) + ",out: a\n"
    rows = [
        ",".join(f"[{(i * 7 + j * 3) % 40}..{(i * 7 + j * 3) % 40 + 20}]" for j in range(12)) + ",x" for i in range(60)
    ]
    assert shop.codes(header + "\n".join(rows), "hit: first") == ["table-not-checked 1"]


def test_the_table_of_the_guide_works_in_the_shipped_rules() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs" / "tables.md").read_text()
    lines = [line for line in guide.split("\n## ")[0].splitlines() if line.startswith("| ")]
    texts = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    files = read_directory(root / "rules") | {"tables/digital_maturity.csv": write_csv(texts)}
    assert [len(row) for row in texts] == [6] * 5
    assert [f.code for f in load(files).warnings] == []


def test_only_tables_in_directories_of_that_name_are_rules(tmp_path: Path) -> None:
    for name in ("a.yaml", "export.csv", "tables/t.csv", "tables/~$t.xlsx", "tables/.t.csv", "x/tables/u.XLSX"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(read_directory(tmp_path)) == ["a.yaml", "tables/t.csv", "x/tables/u.XLSX"]


SLIPS = [  # a table, the cell that is marked, the hint
    ("features.age,tier,out: up_to\n-,x,1\n", "B1",
     "a column with results is headed `out: name`, one for people `note`"),
    ("features.age,output: tier\n1,x\n", "B1", "write `out: tier`"),
    ("features.age,out: tier,Comment\n-,x,y\n", "C1", "write `note`"),
    ("Tiers 2026\nfeatures.age,out: tier\n-,x\n", "A1",
     "delete what stands above the header, or put it into a column `note`"),
    (SOUND + "-,any,x\n", "B2", "write `-` where the input does not matter"),
    (SOUND + "-,5.000,x\n", "B2", "write 5 or 5000"),
    ("features.age,out: up_to\n1,300\n2,1500\n-,5000 EUR\n", "B4", "write 5000"),
    ('features.age,out: up_to\n1,300\n2,1500\n-,"5,000"\n', "B4", "write 5000"),
    ("features.age,out: up_to\n1,300\n2,1500\n-,5%\n", "B4",
     "write 0.05, or 5 where the input counts in percent"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "cell", "hint"), SLIPS)
def test_a_slip_is_marked_once_with_the_way_to_write_it(table: str, cell: str, hint: str) -> None:
    told = shop.told(shop.files(table, "hit: first"))
    assert [(f.message.partition(":")[0], f.hint) for f in told] == [(f"cell {cell}", hint)]


def test_a_default_that_is_in_range_keeps_the_range() -> None:
    schema = shop.SCHEMA.replace("score: integer", "score: {type: integer, default: 0, at_least: 0}")
    table = "features.score,out: a\n0,x\n> 0,y\n"
    files = shop.files(table, "hit: first")
    files["schema.yaml"] = files["schema.yaml"].replace(shop.SCHEMA.encode(), schema.encode())
    assert shop.told(files) == []
