"""The guide for rule authors tells the truth: its first rule set loads, its mistakes are found as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.compiler.ruleset import load
from engine.compiler.source import render
from engine.decision import Reason
from engine.errors import RulesInvalid

GUIDE = (Path(__file__).parents[2] / "docs" / "rule-authors.md").read_text(encoding="utf-8")
FIRST = re.search(r"<!-- first\.yaml -->\n```yaml\n(.*?)```", GUIDE, re.S)
MISTAKES = re.findall(
    r"### (\d+)\. .*?\n\n<!-- instead of: (.*?) -->\n```yaml\n(.*?)```\n```text\n(.*?)```", GUIDE, re.S
)


def _first() -> str:
    assert FIRST is not None
    return FIRST[1]


def test_the_first_rule_set_loads() -> None:
    assert len(load({"first.yaml": _first().encode()}).tests) == 2


@pytest.mark.parametrize(("number", "instead_of", "written", "said"), MISTAKES)
def test_mistakes_are_told_as_shown(number: str, instead_of: str, written: str, said: str) -> None:
    lines = _first().splitlines(keepends=True)
    at = [i for i, line in enumerate(lines) if line.strip() == instead_of]
    assert len(at) == 1, instead_of
    lines[at[0]] = written
    with pytest.raises(RulesInvalid) as refused:
        load({"first.yaml": "".join(lines).encode()})
    told = [render(finding) + "\n" for finding in refused.value.findings]
    assert said in told, "".join(told)


def test_there_are_ten_mistakes_and_every_link_leads_somewhere() -> None:
    assert [number for number, *_ in MISTAKES] == [str(n) for n in range(1, 11)]
    headings = re.findall(r"^#+ (.+)$", GUIDE, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= anchors


def test_reasons_it_explains_exist() -> None:
    table = GUIDE.split("## What the reasons mean")[1].split("\n## ")[0]
    named = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b|\bSELECTED\b|\bHOLDOUT\b|\bPAUSED\b", table))
    assert named <= set(Reason.__members__)
    assert len(named) > 20
