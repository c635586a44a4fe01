"""The guide for rule authors tells the truth: its first rule set loads, its links and reasons exist."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from engine.bundle import compile_bundle
from engine.cli.funnel import print_funnel
from engine.compiler.ruleset import load, read_directory
from engine.decision import Reason
from engine.service.encode import encode_explanation
from engine.trial import run

GUIDE = (Path(__file__).parents[2] / "docs" / "rule-authors.md").read_text(encoding="utf-8")
FIRST = re.search(r"<!-- first\.yaml -->\n```yaml\n(.*?)```", GUIDE, re.S)


def _first() -> str:
    assert FIRST is not None
    return FIRST[1]


def test_the_first_rule_set_loads() -> None:
    assert len(load({"first.yaml": _first().encode()}).tests) == 2


def test_the_first_steps_as_they_are_taken(tmp_path: Path) -> None:
    """In processes of their own: nothing that others have done may be needed."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "first.yaml").write_text(_first(), encoding="utf-8")
    for command in ("check", "test"):
        ran = subprocess.run(
            [sys.executable, "-c", "from engine.cli.main import main; main()", command, "first"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", GUIDE, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= anchors


def test_why_a_message_is_not_said_as_shown() -> None:
    files = read_directory(Path(__file__).parents[2] / "rules")
    tests = b"""\
tests:
  - name: savings for three months
    given: {features: {savings_balance: 3600, monthly_salary: 1200}}
    event: {type: deposit, amount: 500}
    expect: {send: green_fund_intro}
"""
    kept = {path: content for path, content in files.items() if not path.startswith("tests/")}
    bundle = compile_bundle({**kept, "tests.yaml": tests})
    explanation = encode_explanation(run(bundle, bundle.ruleset.tests[0]).explanation)
    stream = io.StringIO()
    terminal = Console(file=stream, width=100, force_terminal=True, color_system=None, highlight=False)
    print_funnel(terminal, explanation.candidates, why=["green_fund_intro"])
    shown = re.search(r"<!-- why -->\n```text\n(.*?)```", GUIDE, re.S)
    assert shown is not None
    assert stream.getvalue().startswith(shown[1])


def test_reasons_it_explains_exist() -> None:
    table = GUIDE.split("## What the reasons mean")[1].split("\n## ")[0]
    named = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b|\bSELECTED\b|\bHOLDOUT\b|\bPAUSED\b", table))
    assert named <= set(Reason.__members__)
    assert len(named) > 20
