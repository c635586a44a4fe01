"""Personal values where they would end in the decision log.

The log keeps the windows that rules read, so also those that hold a personal attribute's value. It keeps no
slots, no texts, and no features or attributes that are personal: conditions cannot read these.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.compiler.analysis.report import Report
from engine.compiler.model import Expression, RuleSet
from engine.compiler.nodes import Fact, Node, Op, Ref, Span
from engine.compiler.source import ERROR


def report_personal(ruleset: RuleSet, report: Report) -> None:
    """Errors personal-logged."""
    windows = {
        f"windows.{w.name}" for w in ruleset.windows.values() if w.value and _personal(ruleset, w.event, w.value)
    }
    if not windows:
        return
    for what, expression in _logged(ruleset):
        if windows.isdisjoint(report.cases.reads(expression.node)):
            continue
        for path, span in inputs(expression.node):
            if path in windows:
                report.add_at(
                    "personal-logged", expression, span,
                    f"{path} is personal, and what {what} reads is written to the decision log",
                    expected="personal values only in slots and in has()", severity=ERROR,
                )  # fmt: skip


def _personal(ruleset: RuleSet, event: str, value: Expression) -> bool:
    """Whether the value of a window is a personal attribute."""
    attributes = ruleset.events[event].attributes
    name = value.node.path.partition(".")[2] if isinstance(value.node, Ref) else ""
    return name in attributes and attributes[name].personal


def _logged(ruleset: RuleSet) -> Iterator[tuple[str, Expression]]:
    """Expressions, in words, whose windows are logged: all but slots and `about`, which is kept as a hash."""
    for product in ruleset.products.values():
        for condition in product.eligible:
            yield "`eligible`", condition.expression
    for message in ruleset.messages.values():
        for what, expression in (
            ("`when`", message.when),
            ("`unless`", message.unless),
            ("`value`", message.value),
            *((f"the condition of '{c.channel}'", c.when) for c in message.channels),
        ):
            if expression is not None:
                yield what, expression
    for policy in ruleset.policies.values():
        for segment in policy.by:
            yield "`by`", segment
        for expression in policy.context:
            yield "`context`", expression
        for expression in policy.report_by:
            yield "`report_by`", expression


def inputs(node: Node, at: Span | None = None) -> Iterator[tuple[str, Span]]:
    """The inputs that an expression reads and where; of a fact, where it is used. has() reads nothing."""
    if isinstance(node, Ref):
        yield node.path, at or node.span
    elif isinstance(node, Fact):
        yield from inputs(node.node, at or node.span)
    elif isinstance(node, Op) and node.op != "has":
        for arg in node.args:
            yield from inputs(arg, at)
