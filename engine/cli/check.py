"""`tact check`: everything that is wrong with a rule set, or what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.text import Text

from engine.cli.output import (
    FAILED,
    OK,
    complain,
    finding_json,
    out,
    print_findings,
    print_json,
    say,
    say_beside,
    tally,
)
from engine.compiler.analysis.contact import KEPT_S_MIN
from engine.compiler.excerpt import printable
from engine.compiler.model import RuleSet
from engine.compiler.ruleset import load, read_directory
from engine.compiler.source import ERROR, Finding, sort_findings
from engine.errors import RulesInvalid


@dataclass(frozen=True, slots=True)
class View:
    """How `tact check` answers.

    `format` is text, json, sarif or github, `color` auto, always or never; `strict`: a warning fails the set too.
    """

    format: str = "text"
    color: str = "auto"
    strict: bool = False


def run(directory: Path, view: View) -> int:
    """Checks and compiles a directory; 1 where there are errors, or findings at all where the view is strict."""
    try:
        ruleset: RuleSet | None = compiled(directory)
        findings = sort_findings(ruleset.warnings if ruleset else ())
    except RulesInvalid as error:
        ruleset, findings = None, sort_findings(error.findings)
    if view.format == "text":
        _print(directory, ruleset, findings, view)
    elif view.format == "json":
        counts = contents(ruleset) if ruleset else {}
        print_json(_summary(findings, ruleset, {kind: len(names) for kind, names in counts.items()}))
    else:
        _annotate(directory, findings, view.format)
    return FAILED if ruleset is None or (view.strict and findings) else OK


def compiled(directory: Path) -> RuleSet:
    """The rule set, checked and taken through lowering. Raises RulesInvalid."""
    ruleset = load(read_directory(directory))
    # Here, because kernels take half a second to load, and a set with errors needs none.
    from engine.compiler.lowering import lower

    lower(ruleset)
    return ruleset


def refuse(directory: Path, findings: Sequence[Finding], as_json: bool) -> None:
    """Shows the findings that stand in the way."""
    findings = sort_findings(findings)
    if as_json:
        print_json(_summary(findings, None, {}))
    else:
        _print(directory, None, findings, View())


def mention(directory: Path, warnings: Sequence[Finding]) -> None:
    """One line on standard error where there are warnings: they stop nothing."""
    if warnings:
        shown = printable(str(directory))
        complain("tact", f"{shown}: {tally(warnings)}; `tact check {shown}` shows them")


def long_limits(ruleset: RuleSet, today: date) -> list[str]:
    """Of caps and gaps that look further back than messages are always remembered: from when on they are exact."""
    spans = [(cap.title, cap.over) for cap in ruleset.caps if cap.over is not None]
    spans += [(gap.title, gap.apart) for gap in ruleset.gaps]
    notes = []
    for title, over in spans:
        if over.span_s > KEPT_S_MIN:
            until = today + timedelta(seconds=over.span_s - KEPT_S_MIN)
            notes.append(
                f"'{title}' looks back {over}: deployed today where none did, it counts as reached until {until} "
                "for customers who were there before"
            )
    return notes


def _annotate(directory: Path, findings: Sequence[Finding], how: str) -> None:
    from engine.cli import sarif

    if how == "sarif":
        print_json(sarif.log(directory, findings))
    else:
        console = out()
        for finding in findings:
            console.file.write(sarif.annotation(directory, finding) + "\n")


def _summary(findings: Sequence[Finding], ruleset: RuleSet | None, counts: dict[str, int]) -> dict[str, object]:
    errors = sum(f.severity == ERROR for f in findings)
    told = {"findings": len(findings), "errors": errors, "warnings": len(findings) - errors}
    return {
        "revision": ruleset.revision if ruleset else None,
        "findings": [finding_json(f) for f in findings],
        "counts": told | counts,
    }


def _print(directory: Path, ruleset: RuleSet | None, findings: Sequence[Finding], view: View) -> None:
    console = out(view.color)
    print_findings(findings, console)
    if findings:
        console.print()
        style = "bold red" if ruleset is None else "bold yellow"
        say(console, Text(_more(directory, findings), style), hang=4)
    if ruleset is None:
        return
    well = "no errors" if findings else "no findings"
    say(console, Text(f"{printable(str(directory))}: {well}, revision {ruleset.revision}", "bold green"), hang=4)
    for note in long_limits(ruleset, datetime.now(tz=UTC).date()):
        say(console, Text(note, "dim"), hang=4)
    for kind, names in contents(ruleset).items():
        listed = "" if kind in ("files", "tests") else ", ".join(names)
        lead = f"{len(names):>5}  {kind:<9}"
        say_beside(console, Text(f"{lead}  " if listed else lead.rstrip()), Text(listed))


def _more(directory: Path, findings: Iterable[Finding]) -> str:
    """How much was found, and who knows more about it."""
    named = {f.code for f in findings}
    code = named.pop() if len(named) == 1 else "CODE"
    return f"{printable(str(directory))}: {tally(findings)}; `tact check --explain {code}` says more"


def contents(ruleset: RuleSet) -> dict[str, list[str]]:
    """What the set holds: names (or titles) by kind."""
    return {
        "files": list(ruleset.files),
        "events": list(ruleset.events),
        "features": list(ruleset.features),
        "windows": list(ruleset.windows),
        "facts": list(ruleset.facts),
        "products": list(ruleset.products),
        "messages": list(ruleset.messages),
        "purposes": list(ruleset.purposes),
        "channels": list(ruleset.channels),
        "caps": [c.title for c in ruleset.caps] + [v.title for v in ruleset.volumes],
        "gaps": [g.title for g in ruleset.gaps],
        "suppress": [s.title for s in ruleset.suppressions],
        "policies": list(ruleset.policies),
        "tests": [t.name for t in ruleset.tests],
    }
