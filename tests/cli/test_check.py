"""`tact check`, `tact --help`, and what users do wrong on the command line."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from engine.cli import check
from engine.compiler import ruleset
from engine.compiler.model import Position, RuleSet
from engine.compiler.source import WARNING, Finding

Tact = Callable[..., Any]


def test_a_sound_set_is_described(tact: Tact, rules: Path) -> None:
    ran = tact("check", rules)
    assert (ran.status, ran.err) == (0, "")
    first, *rest = ran.out.splitlines()
    assert first.startswith(f"{rules}: no findings, revision ")
    assert rest == [
        "    1  files",
        "    2  events     deposit, login",
        "    3  features   phone, age, timezone",
        "    0  windows",
        "    0  facts",
        "    1  products   fund",
        "    2  messages   thanks, fund_intro",
        "    2  purposes   service, marketing",
        "    1  channels   sms",
        "    1  caps       one a week",
        "    0  gaps",
        "    0  suppress",
        "    0  policies",
        "    0  tests",
    ]


def test_all_findings_are_shown_by_place(tact: Tact, rules: Path) -> None:
    file = rules / "rules.yaml"
    text = (
        file.read_text().replace("event.amount >= 100", "event.amuont >= 100").replace("product: fund", "product: fnd")
    )
    file.write_text(text)
    ran = tact("check", rules)
    assert ran.status == 1
    assert (
        ran.out
        == f"""\
rules.yaml:24:11: error[unknown-name]: no attribute 'amuont' in event type 'deposit'
  24 |     when: event.amuont >= 100
     |           ^^^^^^^^^^^^
     = expected: an attribute of the event, occurred_at or type
     = hint: did you mean 'amount'?

rules.yaml:29:14: error[unknown-product]: no product is called 'fnd'
  29 |     product: fnd
     |              ^^^
     = expected: one of fund
     = hint: did you mean 'fund'?

{rules}: 2 errors in 1 file; `tact check --explain CODE` says more
"""
    )


def test_findings_as_json(tact: Tact, rules: Path) -> None:
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    ran = tact("check", rules, "--json")
    assert ran.status == 1
    [finding] = ran.json["findings"]
    assert (finding["code"], finding["severity"]) == ("unknown-product", "error")
    assert (finding["path"], finding["line"], finding["column"], finding["length"]) == ("rules.yaml", 29, 14, 3)
    assert ran.json["revision"] is None
    assert finding["also"] is None
    assert ran.json["counts"] == {"findings": 1, "errors": 1, "warnings": 0}


def test_a_sound_set_as_json(tact: Tact, rules: Path) -> None:
    found = tact("check", rules, "--json").json
    assert len(found["revision"]) == 16
    assert found["findings"] == []
    assert found["counts"]["messages"] == 2


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule set with a warning, whatever the compiler thinks of it."""
    warning = Finding(
        "unused", Position("rules.yaml", 8, 3), 3, "nothing reads it", line_text="  age: integer", severity=WARNING
    )

    def load(files: Mapping[str, bytes]) -> RuleSet:
        return replace(ruleset.load(files), warnings=(warning,))

    monkeypatch.setattr(check, "load", load)


def test_warnings_are_shown_and_stop_nothing_unless_asked_to(tact: Tact, rules: Path, warned: None) -> None:
    ran = tact("check", rules)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(
        f"""\
rules.yaml:8:3: warning[unused]: nothing reads it
  8 |   age: integer
    |   ^^^

{rules}: 1 warning in 1 file; `tact check --explain unused` says more
{rules}: no errors, revision """
    )
    assert tact("check", rules, "--strict").status == 1
    found = tact("check", rules, "--json").json
    assert [f["severity"] for f in found["findings"]] == ["warning"]
    assert (found["counts"]["errors"], found["counts"]["warnings"]) == (0, 1)
    assert found["revision"]
    assert "::warning file=rules.yaml,line=8" in tact("check", rules, "--format", "github").out


def test_colours_are_for_terminals(tact: Tact, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    plain = tact("check", rules).out
    coloured = tact("check", rules, "--color", "always").out
    assert "\x1b" not in plain
    assert "\x1b[1;31merror[unknown-product]" in coloured
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in tact("check", rules).out
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" in tact("check", rules).out
    assert "\x1b" not in tact("check", rules, "--color", "never").out


def test_a_narrow_terminal_cuts_lines_and_wraps_words(tact: Tact, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = rules / "rules.yaml"
    long = " || ".join(f"event.amount == {i}00.0" for i in range(1, 9))
    file.write_text(file.read_text().replace("event.amount >= 100", f"{long} || event.amuont > 1.0 || {long}"))
    monkeypatch.setenv("COLUMNS", "60")
    shown = tact("check", rules, "--color", "always").out
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 60
    source, marks = (next(line for line in lines if mark in line) for mark in ("…", "^"))
    assert source[marks.index("^") : marks.rindex("^") + 1] == "event.amuont"
    assert lines[-1].endswith("says more")


def test_codes_are_explained(tact: Tact) -> None:
    ran = tact("check", "--explain", "fact-cycle")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("error[fact-cycle]: facts use each other in a circle\n\n")
    assert "found in:\n    facts:\n" in ran.out
    assert tact("check", "--explain", "fact-cycle", "--json").json["code"] == "fact-cycle"
    ran = tact("check", "--explain", "fact-cycel")
    assert (ran.status, ran.err) == (2, "tact: no finding has the code 'fact-cycel': did you mean 'fact-cycle'?\n")


def test_the_schema_is_written(tact: Tact) -> None:
    assert tact("schema").json["title"] == "Tact rule file"


def test_a_directory_without_rules(tact: Tact, tmp_path: Path) -> None:
    ran = tact("check", tmp_path)
    assert ran.status == 1
    assert "no rule files here: *.yaml or *.yml" in ran.out


def test_wrong_usage_ends_with_2(tact: Tact, tmp_path: Path) -> None:
    for arguments in (
        ["check", tmp_path / "nowhere"],
        ["check"],
        ["chekc", tmp_path],
        ["check", tmp_path, "--jsno"],
        ["check", tmp_path, "--format", "xml"],
        ["check", tmp_path, "--watch", "--json"],
    ):
        ran = tact(*arguments)
        assert ran.status == 2
        assert "Traceback" not in ran.err


def test_help_and_check_of_findings_load_no_kernels(rules: Path) -> None:
    """grpc and numba take half a second each."""
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    code = "import sys; from engine.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('grpc', 'numba', 'redis') if m in sys.modules])"
    for arguments in (["--help"], ["check", str(rules)]):
        ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines()[-1] == "[]"


def test_names_wrap_under_themselves_in_a_terminal(tact: Tact, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("deposit:", "a_deposit_with_a_name_that_is_long: {}\n  deposit:", 1))
    monkeypatch.setenv("COLUMNS", "60")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", tact("check", rules, "--color", "always").out)
    lines = [line.rstrip() for line in plain.splitlines()]
    at = lines.index("    3  events     a_deposit_with_a_name_that_is_long,")
    assert lines[at + 1] == " " * 18 + "deposit, login"


def test_limits_that_look_far_back_say_from_when_on_they_are_exact() -> None:
    rules = """
    events: {deposit: {}}
    purposes: {ads: {consent: not_required}}
    messages: {m: {purpose: ads, on: [deposit], channels: [sms], variants: {plain: {en: "Hello."}}}}
    caps: [{name: rare, at_most: 2, per: [customer], in: 180 days}, {at_most: 2, per: [customer], in: 90 days}]
    gaps: [{at_least: 95 days, per: [customer, message]}]
    """
    found = check.long_limits(ruleset.load({"a.yaml": textwrap.dedent(rules).encode()}), date(2026, 11, 28))
    assert [note.partition(": deployed")[0] for note in found] == [
        "'rare' looks back 180 days",
        "'at least 95 days apart per customer and message' looks back 95 days",
    ]
    assert ["2027-02-26" in found[0], "2026-12-03" in found[1]] == [True, True]
