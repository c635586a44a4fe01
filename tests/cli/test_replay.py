"""`tact replay`: tables through the rules."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.compiler.ruleset import load
from engine.errors import RulesInvalid
from engine.replay.mapping import read_mapping
from engine.replay.rows import BadRow, Row, Table

Tact = Callable[..., Any]
ROOT = Path(__file__).parents[2]
RULES = load({"rules.yaml": (Path(__file__).parent / "small_rules.yaml").read_bytes()})
MAPPING = """\
mapping:
  customer: who
  event: {type: deposit, id: "row-{row}"}
  occurred_at: {column: at, format: rfc3339}
  attributes:
    amount: {column: amount, as: number}
  features:
    phone: {column: phone, missing: ["none"]}
    age: {column: age, as: integer}
  consent: [marketing]
  outcome: {kind: CONVERTED, when: {column: bought, equals: "yes"}}
"""
HEADER = "who,at,amount,phone,age,bought\n"
ROWS = """\
ana,2026-01-05T10:00:00Z,500,1,30,yes
ana,2026-01-06T10:00:00Z,500,1,30,no
bob,2026-01-06T10:00:00Z,50,1,40,yes
cid,2026-01-06T11:00:00Z,500,none,,no
ana,2026-01-12T10:00:00Z,500,1,30,no
"""


@pytest.fixture
def replay(tact: Tact, rules: Path, tmp_path: Path) -> Callable[..., Any]:
    """Replays a table through the small rule set."""

    def run(table: str, *more: object, mapping: str = MAPPING, name: str = "t.csv") -> Any:
        file, to = tmp_path / name, tmp_path / "mapping.yaml"
        file.write_bytes(gzip.compress(table.encode()) if name.endswith(".gz") else table.encode())
        to.write_text(mapping)
        return tact("replay", "--rules", rules, "--events", file, "--mapping", to, *more)

    return run


def converted(tmp_path: Path, mapping: str, table: str, name: str = "t.csv") -> list[Row | BadRow]:
    file, to = tmp_path / name, tmp_path / "mapping.yaml"
    file.write_text(table)
    to.write_text(mapping)
    with Table(file, read_mapping(to, RULES), RULES) as rows:
        return list(rows.rows())


def test_caps_hold_in_the_rows_own_time(replay: Callable[..., Any]) -> None:
    ran = replay(HEADER + ROWS, "--json")
    assert ran.status == 0
    found = ran.json
    assert (found["rows"], found["bad_rows"], found["decisions"], found["failures"]) == (5, 0, 5, {})
    assert found["outcomes"] == {"NO_MESSAGE": 3, "SEND": 2}
    assert found["reasons"] == {"SELECTED": 2, "CAP_REACHED": 1, "NOT_IN_AUDIENCE": 1, "NO_CHANNEL": 1}
    assert found["caps_reached"] == {"one a week": 1}
    assert found["variants"] == {"thanks/plain": 2}
    assert found["outcome"]["message"] == {"rows": 2, "positive": 1}
    assert found["outcome"]["no_message"] == {"rows": 3, "positive": 1}
    assert found["decisions_per_second"] > 0


def test_the_text_is_for_people(replay: Callable[..., Any]) -> None:
    out = replay(HEADER + ROWS).out.splitlines()
    assert out[0].startswith("5 decisions in ")
    assert [line.split() for line in out[1:4]] == [
        ["outcomes", "NO_MESSAGE", "3", "60.0%"],
        ["SEND", "2", "40.0%"],
        ["reasons", "SELECTED", "2", "40.0%"],
    ]
    assert "where bought = yes" in out
    assert "  a message   1 of 2 rows, 50.0%" in out
    assert "  no message  1 of 3 rows, 33.3%" in out
    assert out[-1].startswith("time: reading and converting rows ")


def test_gzip_and_json_lines_say_the_same(replay: Callable[..., Any]) -> None:
    plain = replay(HEADER + ROWS, "--json").json
    zipped = replay(HEADER + ROWS, "--json", name="t.csv.gz").json
    names = HEADER.strip().split(",")
    lines = []
    for line in ROWS.splitlines():
        pairs = dict(zip(names, line.split(","), strict=True))
        amount, age = pairs.pop("amount"), pairs.pop("age") or "null"
        texts = ", ".join(f'"{k}": "{v}"' for k, v in pairs.items())
        lines.append(f'{{{texts}, "amount": {amount}, "age": {age}}}')
    json_lines = replay("\n".join(lines), "--json", name="t.jsonl").json
    for found in (plain, zipped, json_lines):
        for timed in ("seconds", "decisions_per_second", "decide_waiting_seconds"):
            del found[timed]
    assert plain == zipped == json_lines


def test_bad_rows_are_told_and_left_out(replay: Callable[..., Any], tmp_path: Path) -> None:
    bad = "dan,2026-01-06,500,1,30,no\ndan,2026-01-06T11:00:00Z,lots,1,30,no\nshort\n"
    ran = replay(HEADER + ROWS + bad)
    assert ran.status == 0
    table = tmp_path / "t.csv"
    assert ran.out.splitlines()[1:5] == [
        f"{table}: row 6: column 'at': found '2026-01-06', expected a time as 'rfc3339'",
        f"{table}: row 7: column 'amount': found 'lots', expected a number",
        f"{table}: row 8: found 1 cells, expected 6 as in the header",
        "3 bad rows of 8 left out; the first 3 above",
    ]
    assert replay(HEADER + bad).status == 1


def test_limit_and_log(replay: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert replay(HEADER + ROWS, "--limit", 3, "--log", log, "--json").json["rows"] == 3
    assert pq.read_table(log / "run-0000000001" / "decision.parquet").num_rows == 3


def test_a_changed_profile_counts_from_its_row_on(replay: Callable[..., Any]) -> None:
    rows = "eva,2026-01-05T10:00:00Z,500,none,30,no\neva,2026-01-05T10:01:00Z,500,1,30,no\n"
    assert replay(HEADER + rows, "--json").json["reasons"] == {"NO_CHANNEL": 1, "SELECTED": 1}


def test_columns_that_are_not_there(replay: Callable[..., Any], tmp_path: Path) -> None:
    ran = replay((HEADER + ROWS).replace("amount", "amuont"))
    assert ran.status == 1
    assert ran.out.startswith(
        f"{tmp_path / 'mapping.yaml'}:6:22: error[unknown-column]: {tmp_path / 't.csv'} has no column 'amount'\n"
    )
    assert "hint: did you mean 'amuont'?" in ran.out


@pytest.mark.parametrize("table", ["", HEADER + "\xff\n"])
def test_tables_that_cannot_be_read(replay: Callable[..., Any], table: str) -> None:
    ran = replay(table, mapping=MAPPING.replace("mapping:", "mapping:\n  format: {encoding: ascii}"))
    assert ran.status == 1
    assert ran.err.startswith("tact: ")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("type: deposit", "type: depsoit", "unknown-event-type"),
        ("amount: {column", "amuont: {column", "unknown-attribute"),
        ("age: {column", "agee: {column", "unknown-feature"),
        ("as: integer", "as: text", "wrong-type"),
        ("format: rfc3339", "format: iso", "bad-value"),
        ("[marketing]", "[advertising]", "unknown-purpose"),
        ("kind: CONVERTED", "kind: BOUGHT", "bad-value"),
        ("customer: who", "customer: {row: same}", "bad-value"),
        ("customer: who", "client: who", "unknown-key"),
        ("rfc3339}", "rfc3339, zone: Mars/Base}", "unknown-zone"),
    ],
)
def test_findings_of_a_mapping(tmp_path: Path, old: str, new: str, code: str) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(MAPPING.replace(old, new))
    with pytest.raises(RulesInvalid) as caught:
        read_mapping(file, RULES)
    assert code in [f.code for f in caught.value.findings]


DATES = """\
mapping:
  format: {separator: ";"}
  customer: {row: "{who}-{row}"}
  event: {type: {column: kind}, id: "{who}-{row}"}
  occurred_at: {day: day, month: month, start_year: 2008, hour: 10, zone: Europe/Lisbon}
  attributes: {amount: amount}
  features:
  consent: []
"""


def test_years_begin_where_months_go_back(tmp_path: Path) -> None:
    days = [(5, "may"), (1, "dec"), (2, "Jan"), (30, "feb"), (3, 3), (3, 2)]
    table = "who;kind;day;month;amount\n" + "".join(f"a;login;{d};{m};7\n" for d, m in days)
    rows = converted(tmp_path, DATES, table)
    assert isinstance(rows[3], BadRow)
    assert rows[3].problem == "column 'day': there is no 30 feb in 2009"
    good = [row for row in rows if isinstance(row, Row)]
    assert [row.at_ms for row in good] == [
        1_209_978_000_000,  # 2008-05-05T10:00+01:00
        1_228_125_600_000,
        1_230_890_400_000,
        1_236_074_400_000,
        1_265_191_200_000,  # 2010-02-03T10:00Z
    ]
    assert good[0].request.event.customer_id == "a-1"
    assert good[0].request.event.attributes == {}  # a login has no amount


VALUES = {
    "rules.yaml": b"""
events: {deposit: {amount: {type: money, currency: EUR}, tags: texts, due: date}}
features: {balance: {type: money, currency: EUR}}
"""
}
VALUES_MAPPING = """\
mapping:
  customer: who
  event: {type: deposit, id: "row-{row}"}
  occurred_at: {column: at}
  attributes: {amount: amount, tags: tags, due: {column: due, as: date}}
  features: {balance: {column: balance, as: money}}
"""


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"amount": "12.50", "tags": "a | b", "due": "2026-01-31"}, {"amount": 12_500_000_000, "tags": ("a", "b")}),
        ({"amount": -1, "tags": '["a|b"]', "due": "2026-01-31"}, {"amount": -1_000_000_000, "tags": ("a|b",)}),
        ({"amount": 12.5, "tags": [], "due": "2026-01-31"}, {"amount": 12_500_000_000, "tags": ()}),
        ({"amount": "", "tags": None}, {}),
        ({"amount": "12.50 EUR"}, "column 'amount': found '12.50 EUR', expected an amount such as 12.50"),
        ({"due": "31.01.2026"}, "column 'due': found '31.01.2026', expected a date such as 2026-01-31"),
        ({"tags": [1]}, "column 'tags': found '[1]', expected texts such as a|b, or a JSON array of texts"),
        ({"balance": "lots"}, "column 'balance': found 'lots', expected an amount such as 12.50"),
    ],
)
def test_dates_money_and_texts(tmp_path: Path, cells: dict[str, object], expected: object) -> None:
    file, to = tmp_path / "t.jsonl", tmp_path / "mapping.yaml"
    row = {"who": "ana", "at": "2026-01-05T10:00:00Z", "amount": "", "tags": "", "due": "", "balance": "0.1"} | cells
    file.write_text(json.dumps(row))
    to.write_text(VALUES_MAPPING)
    rules = load(VALUES)
    with Table(file, read_mapping(to, rules), rules) as rows:
        [found] = list(rows.rows())
    if isinstance(found, BadRow):
        assert found.problem == expected
        return
    assert found.features == {"balance": 100_000_000}
    due = {"due": 20_484} if cells.get("due") else {}
    assert isinstance(expected, dict)
    assert found.request.event.attributes == expected | due


def test_types_and_times(tmp_path: Path) -> None:
    mapping = MAPPING.replace("format: rfc3339", 'format: "%d.%m.%Y %H:%M", zone: Europe/Madrid')
    table = HEADER + "ana,06.01.2026 10:00,1e2,none,7,no\nana,06.01.2026 10:00,,1,7.5,no\n,06.01.2026 10:00,1,1,7,no\n"
    first, second, third = converted(tmp_path, mapping, table)
    assert isinstance(first, Row)
    assert first.at_ms == 1_767_690_000_000
    assert first.features == {"age": 7}
    assert first.request.event.attributes == {"amount": 100.0}
    assert isinstance(second, BadRow)
    assert second.problem == "column 'age': found '7.5', expected a whole number"
    assert isinstance(third, BadRow)
    assert third.problem == "the customer has 0 characters, expected 1 to 256"


def _bank() -> Path:
    given = os.environ.get("TACT_BANK_CSV")
    return Path(given) if given else ROOT.parent / "shared" / "data" / "bank-full.csv.gz"


@pytest.mark.skipif(not _bank().exists(), reason="needs the Bank Marketing table; TACT_BANK_CSV says where it is")
def test_a_real_campaign(tact: Tact) -> None:
    example = ROOT / "rules" / "examples" / "bank_campaign"
    ran = tact(
        "replay",
        "--rules",
        example,
        "--events",
        _bank(),
        "--mapping",
        example / "mapping.yaml",
        "--limit",
        2000,
        "--json",
    )
    assert ran.status == 0
    assert (ran.json["decisions"], ran.json["bad_rows"], ran.json["failures"]) == (2000, 0, {})
    assert ran.json["outcome"]["message"]["rows"] == ran.json["outcomes"]["SEND"]
