"""`tact check`: everything that is wrong with a rule set, or what it holds."""

from __future__ import annotations

from pathlib import Path

from engine.cli.output import FAILED, OK, counted, finding_json, out, print_findings, print_json, say
from engine.compiler.model import RuleSet
from engine.compiler.ruleset import load, read_directory
from engine.compiler.source import Finding, sort_findings
from engine.errors import RulesInvalid


def run(directory: Path, as_json: bool) -> int:
    """Checks and compiles a directory; 1 where there are findings."""
    try:
        ruleset = compiled(directory)
    except RulesInvalid as error:
        refuse(directory, list(error.findings), as_json)
        return FAILED
    counts = {kind: len(names) for kind, names in contents(ruleset).items()}
    if as_json:
        print_json({"revision": ruleset.revision, "findings": [], "counts": {"findings": 0, **counts}})
        return OK
    console = out()
    console.print(f"{directory}: no findings, revision {ruleset.revision}", style="green", soft_wrap=True)
    for kind, names in contents(ruleset).items():
        listed = "" if kind in ("files", "tests") else ", ".join(names)
        say(console, f"{len(names):>5}  {kind:<9}  {listed}".rstrip(), hang=18)
    return OK


def compiled(directory: Path) -> RuleSet:
    """The rule set, checked and taken through lowering. Raises RulesInvalid."""
    ruleset = load(read_directory(directory))
    # Here, because kernels take half a second to load, and a set with findings needs none.
    from engine.compiler.lowering import lower

    lower(ruleset)
    return ruleset


def refuse(directory: Path, findings: list[Finding], as_json: bool) -> None:
    """Shows the findings that stand in the way."""
    findings = sort_findings(findings)
    if as_json:
        shown = [finding_json(f) for f in findings]
        print_json({"revision": None, "findings": shown, "counts": {"findings": len(findings)}})
        return
    print_findings(findings)
    files = len({f.position.path for f in findings})
    console = out()
    console.print()
    text = f"{directory}: {counted(len(findings), 'finding')} in {counted(files, 'file')}"
    console.print(text, style="red", soft_wrap=True)


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
        "caps": [c.title for c in ruleset.caps],
        "gaps": [g.title for g in ruleset.gaps],
        "policies": list(ruleset.policies),
        "tests": [t.name for t in ruleset.tests],
    }
