"""What is declared and never used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.compiler.analysis.report import Report
from engine.compiler.model import Channel, Policy, Position, Product, RuleSet

ENGINE_FEATURES = ("timezone", "language")  # the customer's own clock and words


def report_unused(ruleset: RuleSet, report: Report) -> None:
    """Warnings unused-feature, -window, -fact, -product, -policy, -channel and -quiet-hours."""
    used = _used(report)
    for name, feature in ruleset.features.items():
        if f"features.{name}" not in used and name not in ENGINE_FEATURES:
            report.add("unused-feature", feature.position, f"no rule and no text uses the feature '{name}'")
    for name, window in ruleset.windows.items():
        if f"windows.{name}" not in used:
            hint = "it is kept for every customer all the same"
            report.add("unused-window", window.position, f"no rule and no text uses the window '{name}'", hint=hint)
    facts: dict[str, Position] = {}
    for path, fact in ruleset.facts.items():
        facts.setdefault(path.partition(".")[0], fact.position)  # outputs of a table are used together
    for name, position in facts.items():
        if f"facts.{name}" not in used:
            report.add("unused-fact", position, f"no rule and no text uses the fact '{name}'")
    messages = ruleset.messages.values()
    _unused(report, "unused-product", ruleset.products, (m.product for m in messages))
    _unused(report, "unused-policy", ruleset.policies, (m.policy for m in messages))
    _unused(report, "unused-channel", ruleset.channels, (c.channel for m in messages for c in m.channels))
    hours = (p.quiet_hours for p in ruleset.purposes.values())
    for name in ruleset.quiet_hours.keys() - set(hours):
        report.add(
            "unused-quiet-hours", ruleset.quiet_hours[name].position, f"no purpose keeps the quiet hours '{name}'"
        )


def _used(report: Report) -> set[str]:
    """Paths of inputs and facts that something reads."""
    cases = report.cases
    for expression, _ in report.expressions:
        cases.reads(expression.node)
    return cases.inputs | {"facts." + path.split(".")[1] for path in cases.facts}


def _unused(
    report: Report, code: str, declared: Mapping[str, Product | Policy | Channel], named: Iterable[str | None]
) -> None:
    for name in declared.keys() - set(named):
        report.add(code, declared[name].position, f"no message uses the {code.removeprefix('unused-')} '{name}'")
