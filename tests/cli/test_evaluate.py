"""`tact eval`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tact = Callable[..., Any]


@pytest.mark.parametrize(
    ("expression", "given", "said"),
    [
        ("1 + 2", [], "3  (integer)"),
        ("features.age >= 18", ["age=20"], "true  (bool)"),
        ("event.amount * 2 > features.x", ["event.amount=2.5", "x=5.5"], "false  (bool)"),
        ("features.city == 'Lisbon'", ["city=Lisbon"], "true  (bool)"),
        ("windows.n + 1", ["windows.n=2"], "3  (integer)"),
        ("now - days(1)", ["now=2026-01-02T00:00:00Z"], "2026-01-01T00:00:00Z  (time)"),
        ("features.t - days(1) < now", ['t={time: "2026-01-02T00:00:00Z"}'], "true  (bool)"),
        ("features.d + duration('1h')", ["d={duration: 30m}"], "5400s  (duration)"),
        ("has(features.x) ? features.x : 7", ["x={missing: integer}"], "7  (integer)"),
        ("1.0 / 0.0", [], "Infinity  (number)"),
        ("days_since(features.t)", ['t={time: "2026-01-01T23:30:00Z"}', "now=2026-01-03T00:00:00Z",
                                    "timezone=Europe/Madrid"], "1  (integer)"),
        ("7 / 2", [], "3  (integer)"),
        ("features.tags.filter(t, t in ['a', 'b'])", ["tags=[a, c]"], '["a"]  (texts)'),
        ("features.n.map(e, e * 2)", ["n=[1, 2.5]"], "[2.0, 5.0]  (numbers)"),
        ("size(features.n)", ["n={integers: []}"], "0  (integer)"),
        ("features.due + months(1)", ["due={date: 2026-01-31}"], "2026-02-28  (date)"),
        ("features.debt * 2", ["debt={money: 12.50 EUR}"], "25.00 EUR  (money)"),
        ("features.debt > 12 ? string(features.debt) : ''", ["debt={money: 12.50 EUR}"], "12.50 EUR  (text)"),
        ("has(features.debt) || size(features.l) > 1", ["debt={missing: money EUR}", "l=[a, b]"], "true  (bool)"),
        ("[duration('90m'), days(1)]", [], '["5400s", "86400s"]  (durations)'),
    ],
)  # fmt: skip
def test_values(tact: Tact, expression: str, given: list[str], said: str) -> None:
    ran = tact("eval", expression, *(part for text in given for part in ("--var", text)))
    assert (ran.status, ran.out, ran.err) == (0, said + "\n", "")


def test_an_error_value_is_no_answer(tact: Tact) -> None:
    ran = tact("eval", "features.x > 1", "--var", "x={missing: integer}")
    assert (ran.status, ran.out) == (1, "error: features.x is missing (DATA_MISSING)\n")
    found = tact("eval", "ratio(1.0, features.x)", "--var", "x=0.0", "--json")
    assert found.json["error"]["cause"] == "ratio: the divisor is 0"


def test_a_problem_is_shown_with_its_place(tact: Tact) -> None:
    ran = tact("eval", "features.agee > 3", "--var", "age=3")
    assert ran.status == 1
    assert (
        ran.out
        == """\
EXPR:1:1: error[unknown-name]: no feature is called 'agee'
  1 | features.agee > 3
    | ^^^^^^^^^^^^^
    = expected: a feature of the schema
    = hint: did you mean 'age'?
"""
    )
    assert tact("eval", "1 +", "--json").json["problems"][0]["code"] == "syntax"


@pytest.mark.parametrize("name", ["vars.json", "vars.yaml"])
def test_values_from_a_file(tact: Tact, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text('{"features": {"age": 20}, "event.amount": 1.5, "seen": {"time": "2026-01-01T00:00:00Z"}}')
    assert tact("eval", "features.age > 18 && event.amount < 2", "--vars", file).out == "true  (bool)\n"
    found = tact("eval", "features.seen", "--vars", file, "--json").json
    assert found == {"type": "time", "value": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "written",
    [
        "x",
        "a.b.c=1",
        "features.=1",
        "x=[]",
        "x=[1, a]",
        "x=[1",
        "x=[[1]]",
        "x={texts: 1}",
        "x={texts: [1]}",
        "x={time: noon}",
        "x={date: 2026-02-30}",
        "x={money: 12.50}",
        "x={missing: thing}",
        "x={missing: money}",
        "x={a: 1}",
    ],
)
def test_values_that_cannot_be_read(tact: Tact, written: str) -> None:
    ran = tact("eval", "1", "--var", written)
    assert ran.status == 2
    assert ran.err.startswith("tact: --var")
    assert "expected" in ran.err


def test_files_that_cannot_be_read(tact: Tact, tmp_path: Path) -> None:
    file = tmp_path / "vars"
    for content in (b"[1]", b"{a: ", b"\xff\xfe"):
        file.write_bytes(content)
        ran = tact("eval", "1", "--vars", file)
        assert ran.status == 2
        assert ran.err.startswith(f"tact: {file}")


def test_currencies_do_not_mix(tact: Tact) -> None:
    ran = tact("eval", "features.a > features.b", "--var", "a={money: 1 EUR}", "--var", "b={money: 1 USD}")
    assert (ran.status, ran.out.splitlines()[0]) == (1, "EXPR:1:1: error[currency-mismatch]: EUR and USD do not mix")


def test_conformance_cases(tact: Tact, tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    cases = (
        '{"name": "a", "expr": "1 + 1", "value": {"int64Value": "2"}}',
        '{"name": "b", "expr": "1u", "value": {"uint64Value": "1"}}',
    )
    file.write_text(f'{{"cases": [{", ".join(cases)}]}}')
    ran = tact("eval", "--cases", tmp_path, "--json")
    row = {"cases": 2, "pass": 1, "refused": 1, "wrong": 0, "literals": 1, "literals_pass": 0}
    assert (ran.status, ran.json["mode"], ran.json["counts"]) == (0, "as written", {"some": row, "all": row})
    assert [one["name"] for one in ran.json["refused"]] == ["b"]
    file.write_text('{"cases": [{"name": "a", "expr": "1 + 1", "value": {"int64Value": "3"}}]}')
    ran = tact("eval", "--cases", file, "--lifted")
    assert ran.status == 1
    assert ran.out.splitlines()[-1] == "wrong: some/a: features.l0 + features.l1: found 2, expected 3"


@pytest.mark.parametrize("content", ["", "[]", '{"cases": 1}', '{"cases": [1]}'])
def test_cases_that_cannot_be_read(tact: Tact, tmp_path: Path, content: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(content)
    ran = tact("eval", "--cases", file)
    assert (ran.status, ran.err[:6]) == (2, "tact: ")


def test_an_expression_or_cases(tact: Tact, tmp_path: Path) -> None:
    for arguments in ((), ("1", "--cases", tmp_path), ("--cases", tmp_path)):
        assert tact("eval", *arguments).status == 2
