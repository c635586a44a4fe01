"""Every code is explained once, on one page, and its examples tell the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from engine.compiler import codes, ruleset
from engine.compiler.codes import Code
from engine.compiler.source import Finding
from engine.errors import RulesInvalid

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
CODES = codes.parse(PAGE)
SHOWN = [code for code in CODES.values() if code.bad]
NO_EXAMPLE = {  # they need a disk, a large file, another kind of file, or a set that lacks its base
    "no-rules", "unreadable", "not-utf8", "too-large", "rules-too-large", "too-deep", "too-many-findings",
    "text-too-long", "too-many-nodes", "chain-too-long", "unknown-column",
    "not-evaluable", "no-messages", "no-events",
}  # fmt: skip
DYNAMIC = {"unknown-" + kind for kind in ("product", "policy", "message", "feature", "window", "quiet-hours")}


def findings(example: str) -> tuple[Finding, ...]:
    """What is found in an example beside the page's base, warnings included."""
    files = {"base.yaml": codes.base(PAGE).encode(), "example.yaml": example.encode()}
    try:
        return ruleset.load(files).warnings
    except RulesInvalid as refused:
        return refused.findings


def test_the_package_has_the_same_page() -> None:
    assert codes.PAGE.read_text(encoding="utf-8") == PAGE, "run `make docs`"
    assert codes.codes() == CODES


def test_the_base_of_the_examples_is_sound() -> None:
    assert [f for f in findings("facts: {}\n") if f.severity == "error"] == []


@pytest.mark.parametrize("code", CODES.values(), ids=list(CODES))
def test_a_section_has_a_title_and_a_text(code: Code) -> None:
    section = PAGE.split(f"### {code.name}\n")[1]
    lead = f"**{code.severity.title()}: {code.title}.**"
    assert section.startswith(lead), f"docs/findings.md: the section {code.name} must begin with {lead}"
    assert code.text


@pytest.mark.parametrize("code", SHOWN, ids=[c.name for c in SHOWN])
def test_an_example_triggers_its_code_and_the_mended_one_does_not(code: Code) -> None:
    told = findings(code.bad)
    assert (code.name, code.severity) in {(f.code, f.severity) for f in told}, [(f.code, f.message) for f in told]
    mended = [f for f in findings(code.good) if f.severity == "error" or f.code == code.name]
    assert mended == [], [(f.code, f.message) for f in mended]


def test_what_can_be_shown_is_shown() -> None:
    assert {c for c in CODES if not c.startswith("table-")} - {c.name for c in SHOWN} == NO_EXAMPLE  # docs/tables.md


SOURCES = [p for room in ("compiler", "replay", "readout") for p in sorted((ROOT / "engine" / room).rglob("*.py"))]


def test_every_explained_code_is_used() -> None:
    written = {
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    quotes = {name for name in CODES if name.startswith("unquoted-")}  # made from what the text looks like
    assert set(CODES) - written - DYNAMIC - quotes == set()


def test_every_used_code_is_explained() -> None:
    calls = r"(?:add|add_at|unknown|refuse|finding|warn|_refused|_refusal|[pP]roblem|_limit|Problem|Finding)"
    written = {
        code for path in SOURCES for code in re.findall(calls + r"\(\s*\"([a-z][a-z0-9-]+)\",", path.read_text())
    }
    assert len(written) > 50
    assert written <= set(CODES)
