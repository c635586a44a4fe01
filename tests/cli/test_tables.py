"""`tact table convert`, and rule sets with tables on the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tact = Callable[..., Any]
RULES = Path(__file__).parents[2] / "rules"
CSV = 'features.age,out: fee,note\n[18..25),0.5,"young, and new"\n-,1,\n'


def test_there_and_back(tact: Tact, tmp_path: Path) -> None:
    csv, book, back = tmp_path / "fees.csv", tmp_path / "fees.xlsx", tmp_path / "back.csv"
    csv.write_text(CSV)
    assert tact("table", "convert", csv, book, "--sheet", "Fees").status == 0
    ran = tact("table", "convert", book, back, "--json")
    assert ran.json == {"source": str(book), "target": str(back), "rows": 3}
    assert back.read_text() == CSV


def test_nothing_is_written_over_unless_told(tact: Tact, tmp_path: Path) -> None:
    csv, book = tmp_path / "fees.csv", tmp_path / "fees.xlsx"
    csv.write_text(CSV)
    book.write_text("mine")
    ran = tact("table", "convert", csv, book)
    assert (ran.status, book.read_text()) == (2, "mine")
    assert "is there already: --force writes over it" in ran.err
    assert tact("table", "convert", csv, book, "--force").status == 0
    assert book.read_bytes()[:2] == b"PK"


def test_what_cannot_be_read_is_told(tact: Tact, tmp_path: Path) -> None:
    csv, book = tmp_path / "fees.csv", tmp_path / "fees.xlsx"
    csv.write_bytes(b"features.age,out: fee\n\xff,1\n")
    ran = tact("table", "convert", csv, book)
    assert ran.status == 1
    assert "not-utf8" in ran.out + ran.err
    assert not book.exists()
    assert tact("table", "convert", csv, tmp_path / "fees.ods").status == 2


def test_a_rule_set_is_checked_with_its_tables(tact: Tact, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules, ignore=shutil.ignore_patterns("samples", "examples"))
    (rules / "tables" / "~$lifecycle_stage.xlsx").write_bytes(b"open in a spreadsheet")
    (rules / "export.csv").write_bytes(b"\xff no table of ours")
    before = tact("check", rules, "--json").json
    assert before["findings"] == []
    table = rules / "tables" / "digital_maturity.csv"
    table.write_text(table.read_text().replace("[1..5]", "[1..9]"))
    assert tact("check", rules, "--json").json["revision"] != before["revision"]
    table.write_text(table.read_text().replace("[1..9]", "1-9"))
    ran = tact("check", rules, "--json")
    found = [(f["code"], f["path"], f["line"], f["hint"]) for f in ran.json["findings"]]
    assert (ran.status, found[0]) == (
        1, ("table-test", "tables/digital_maturity.csv", 5, "write the interval as [1..9]"),
    )  # fmt: skip
