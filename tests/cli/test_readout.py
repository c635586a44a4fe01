"""The commands over a decision log, as users run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.readout.written import RULES, write_log

Tact = Callable[..., Any]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("log")
    write_log(directory, customers=200, events=12)
    return directory


@pytest.fixture
def rule_set(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    for name, text in RULES.items():
        (tmp_path / "set" / name).write_bytes(text)
    return tmp_path / "set"


def test_verify_says_what_it_did(tact: Tact, log: Path, rule_set: Path) -> None:
    ran = tact("verify", log, "--rules", rule_set)
    assert ran.status == 0
    assert ran.out.startswith("2,400 decisions and ")
    assert ran.out.endswith("nothing differs\n")
    found = tact("verify", log, "--rules", rule_set, "--json").json
    assert found["decisions"] == 2400
    assert found["counts"] == {}
    assert found["recomputed"] + found["taken_as_logged"] < found["drawn"]  # the rest is sticky


def test_verify_fails_where_a_row_was_altered(tact: Tact, log: Path) -> None:
    path = sorted(log.rglob("decision.parquet"))[0]
    table = pq.read_table(path)
    rows = table.to_pylist()
    changed = next(r for r in rows if r["message"] == "bill" and r["outcome"] == 1)
    changed["variant"] = "a" if changed["variant"] == "b" else "b"
    copy = path.parent.parent / "copy.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), copy)
    ran = tact("verify", copy)
    copy.unlink()
    assert ran.status == 1
    identity = f"{changed['customer'].hex()}-{changed['event']:016x}-0"
    assert "1 difference: the variant is not the one that its shares and uniform draw" in ran.out
    assert f"{identity}  {copy}, entry {changed['log_id']}" in ran.out


def test_verify_hints_at_a_wrong_secret(tact: Tact, log: Path) -> None:
    ran = tact("verify", log, "--secret", "another")
    assert ran.status == 1
    assert ran.out.endswith("every uniform differs: is --secret (TACT_SECRET) the server's?\n")


def test_report_for_people_programs_and_browsers(tact: Tact, log: Path, rule_set: Path, tmp_path: Path) -> None:
    html = tmp_path / "r.html"
    ran = tact("report", log, "--rules", rule_set, "--by", "features.region", "--html", html)
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("2,400 decisions for 200 customers, 2026-01-01 to 2026-01-0")
    assert (
        "offer  policy words, fixed shares, control a" in lines or "offer  policy words, learning, control a" in lines
    )
    assert lines[-1] == f"written: {html}"
    assert html.read_text().startswith("<!doctype html>")
    found = tact("report", log, "--rules", rule_set, "--days", "0.5", "--json").json
    offer = next(m for m in found["messages"] if m["message"] == "offer")
    assert [a["variant"] for a in offer["arms"]] == ["a", "b", "c"]
    assert [c["variant"] for c in offer["main"]] == ["b", "c"]
    assert all(c["verdict"] in ("open", "too few") for c in offer["main"])
    assert offer["ratio"]["suspect"] is False
    assert found["reasons"]["NOT_ELIGIBLE"] > 0


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (["--kind", "bougth"], 2, "no outcome is called 'bougth'; expected one of delivered, "),
        (["--kind", "replied"], 1, "the log has no outcome 'replied'; it has: converted, delivered"),
        (["--level", "95"], 2, "the level 95 is none; expected one from 0.5 to below 1, as 0.95"),
        (["--html", "/nowhere/r.html"], 1, "/nowhere/r.html cannot be written: No such file or directory"),
    ],
)
def test_report_says_what_is_wrong(tact: Tact, log: Path, options: list[str], status: int, problem: str) -> None:
    ran = tact("report", log, *options)
    assert ran.status == status
    assert ran.err.startswith(f"tact: {problem}")


TABLE = """\
where,what,won,chance
north,a,1,0.5
north,b,0,0.5
south,a,0,0.25
south,b,1,0.75
"""
NAMES = ("--action", "what", "--reward", "won", "--propensity", "chance")


def judged(tact: Tact, tmp_path: Path, table: str, policy: str, *more: object, name: str = "t.csv") -> Any:
    path, file = tmp_path / name, tmp_path / "policy.yaml"
    if name.endswith(".csv"):
        path.write_text(table)
    else:
        (tmp_path / "t.csv").write_text(table)
        pq.write_table(pa.csv.read_csv(tmp_path / "t.csv"), path)
    file.write_text(policy)
    return tact("evaluate", path, "--policy", file, *NAMES, *more)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_from_elsewhere_is_judged(tact: Tact, tmp_path: Path, name: str) -> None:
    policy = (
        "policies:\n  best:\n    kind: fixed\n    weights: {a: 1}\n"
        "    cases:\n      - {where: {where: south}, weights: {b: 1}}\n"
    )
    ran = judged(tact, tmp_path, TABLE, policy, "--context", "where", "--json", name=name)
    assert ran.status == 1  # four decisions are too few to believe anything
    found = ran.json
    values = {e["method"]: e["value"] for e in found["estimates"]}
    assert values["IPS"] == pytest.approx((1 / 0.5 + 1 / 0.75) / 4)
    assert values["SNIPS"] == pytest.approx(1.0)
    assert found["earned"] == 0.5
    assert found["overlap"]["unsupported"] is None
    assert "only 4 effective decisions" in " ".join(found["overlap"]["warnings"]) or found["overlap"]["effective"] < 4


@pytest.mark.parametrize(
    ("table", "more", "problem"),
    [
        (TABLE, ("--context", "age"), "no column 'age'; expected one of where, what, won, chance"),
        (TABLE.replace("0.75", "1.5"), (), "row 4: the propensity 1.5 is none; expected one above 0 and at most 1"),
        (TABLE.replace("south,b,1", "south,b,yes"), (), "the column 'won' holds string; expected numbers"),
        (TABLE.replace("0.25", ""), (), "row 3: no number in the column 'chance'"),
        ("where,what,won,chance\n", (), "no rows"),
    ],
)
def test_a_table_that_cannot_be_read(
    tact: Tact, tmp_path: Path, table: str, more: tuple[str, ...], problem: str
) -> None:
    ran = judged(tact, tmp_path, table, "policies: {p: {kind: fixed, weights: {a: 1}}}\n", *more)
    assert ran.status == 1
    assert ran.err == f"tact: {tmp_path / 't.csv'}: {problem}\n"


def test_tacts_log_is_judged(tact: Tact, log: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("policies: {trial: {kind: fixed, weights: {a: 1, b: 1}}}\n")
    ran = tact("evaluate", log, "--policy", file, "--days", "0.2")
    lines = ran.out.splitlines()
    assert lines[0].startswith("trial: ")
    assert lines[1].startswith("earned (converted): ")
    assert [line.split()[0] for line in lines[3:8]] == ["IPS", "SNIPS", "DM", "DR", "switch-DR"]
    file.write_text("caps: []\npolicies: {trial: {kind: fixed, weights: {a: 1}}}\n")
    refused = tact("evaluate", log, "--policy", file)
    assert refused.status == 1
    assert f"{file}:1:1: error[not-evaluable]: 'caps' cannot be judged from a log" in refused.out + refused.err


def test_plan_by_a_rate_or_a_mean(tact: Tact) -> None:
    found = tact("plan", "--rate", "0.1", "--effect", "0.05", "--per-day", "100", "--json").json
    [needed] = found["needs"]
    assert needed["one_look"] == pytest.approx(1366, abs=10)  # Fleiss, Levin & Paik 2003
    assert needed["watched"] > needed["one_look"]
    assert needed["days"] == pytest.approx(14)
    assert [r["customers"] for r in found["reaches"]] == [700, 1400, 2800, 5600, 8400]
    assert found["reaches"][1]["one_look"] == pytest.approx(0.045, abs=0.005)
    mean = tact("plan", "--mean", "20", "--deviation", "60", "--lift", "0.1", "--saved", "0.5", "--json").json
    whole = tact("plan", "--mean", "20", "--deviation", "60", "--lift", "0.1", "--json").json
    assert mean["needs"][0]["one_look"] == pytest.approx(whole["needs"][0]["one_look"] / 2, rel=0.01)
    many = tact("plan", "--rate", "0.1", "--effect", "0.05", "--arms", "3", "--messages", "5", "--json").json
    assert many["level"] == pytest.approx(0.005)
    assert many["needs"][0]["one_look"] > 2 * needed["one_look"]


def test_plan_by_what_a_message_did(tact: Tact, log: Path) -> None:
    ran = tact("plan", "--log", log, "--message", "bill", "--days", "0.2", "--lift", "0.2")
    assert ran.status == 0
    assert ran.out.startswith("control ")
    assert "new customers a day" in ran.out


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        ((), 2, "tact plan takes --rate, or --mean with --deviation, or --log with --message"),
        (("--mean", "3"), 2, "--mean needs --deviation: the standard deviation between customers"),
        (("--rate", "5"), 1, "the rate 5 is none; expected one between 0 and 1, as 0.05"),
        (("--rate", "0.5", "--effect", "0.6"), 1, "a rate of 0.5 +0.6 is 1.1; expected one between 0 and 1"),
        (("--rate", "0.5", "--effect", "0"), 1, "an effect of zero cannot be found by any number of customers"),
        (("--rate", "0.5", "--arms", "1"), 1, "1 arms are no trial; expected at least 2, the control is one"),
        (("--rate", "0.5", "--arms", "3", "--share", "0.5"), 1, "a share of 0.5 for each of 2 variants leaves the"),
    ],
)
def test_plan_says_what_is_wrong(tact: Tact, options: tuple[str, ...], status: int, problem: str) -> None:
    ran = tact("plan", *options)
    assert ran.status == status
    assert ran.err.startswith(f"tact: {problem}")
