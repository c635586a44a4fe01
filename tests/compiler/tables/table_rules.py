"""Rule sets around one decision table, for the tests of this directory."""

from __future__ import annotations

from engine.compiler.model import RuleSet
from engine.compiler.ruleset import load
from engine.compiler.source import Finding
from engine.errors import RulesInvalid

SCHEMA = """\
events:
  deposit: {amount: {type: number, unit: EUR}}
  login: {device: text}
features:
  smartphone: bool
  age: {type: integer, at_least: 0}
  score: integer
  city: text
  salary: {type: number, above: 0}
  since: time
  interests: texts
windows:
  payments_90d: {count: deposit, over: 90 days, since_start: zero}
"""


def files(table: str, settings: str, name: str = "tables/t.csv", more: str = "") -> dict[str, bytes]:
    """A schema with the fact `t: {table: .., <settings>}`, and its table; `more` are further facts."""
    fact = f"facts:\n  t: {{table: {name}, {settings}}}\n{more}"
    return {"schema.yaml": (SCHEMA + fact).encode(), name: table.encode()}


def rules(table: str, settings: str, more: str = "") -> RuleSet:
    """The rule set; raises RulesInvalid."""
    return load(files(table, settings, more=more))


def told(rule_files: dict[str, bytes]) -> list[Finding]:
    """Errors and warnings, without those about what only a whole rule set would use or have."""
    try:
        found = list(load(rule_files).warnings)
    except RulesInvalid as error:
        found = list(error.findings)
    return [f for f in found if not f.code.startswith("unused-") and f.code != "no-messages"]


def codes(table: str, settings: str, more: str = "") -> list[str]:
    """`code line` of everything that is told."""
    return [f"{f.code} {f.position.line}" for f in told(files(table, settings, more=more))]
