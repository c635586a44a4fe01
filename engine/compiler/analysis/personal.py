"""Personal values where they would end in the decision log.

The log keeps the windows that conditions read, the rank of every candidate (so its `value`) and the
segment that a policy learns by. It keeps no slots, no texts, and no personal features or attributes.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.compiler.analysis.report import Placed, Report, of_message
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Fact, Node, Op, Ref, Span
from engine.compiler.scopes import On
from engine.compiler.source import ERROR


def report_personal(ruleset: RuleSet, report: Report) -> None:
    """Errors personal-logged."""
    attributes = {
        (event.name, f"event.{a.name}")
        for event in ruleset.events.values()
        for a in event.attributes.values()
        if a.personal
    }
    if not attributes:
        return
    windows = {
        f"windows.{w.name}"
        for w in ruleset.windows.values()
        if w.value is not None and isinstance(w.value.node, Ref) and (w.event, w.value.node.path) in attributes
    }
    for placed, kept in _logged(ruleset):
        for path, span in inputs(placed.expression.node):
            if path in windows or (kept and any(p == path and _meant(e, placed.on) for e, p in attributes)):
                report.add_at(
                    "personal-logged", placed.expression, span,
                    f"{path} is personal, and what {placed.what} reads is written to the decision log",
                    expected="personal values only in slots and in has()", severity=ERROR,
                )  # fmt: skip


def _meant(event: str, on: On) -> bool:
    return on is None or event in on


def _logged(ruleset: RuleSet) -> Iterator[tuple[Placed, bool]]:
    """Expressions of which something is logged, and whether that tells of any value that they read."""
    for product in ruleset.products.values():
        for condition in product.eligible:
            yield Placed("`eligible`", condition.expression, None), False
    for message in ruleset.messages.values():
        for placed in of_message(message):
            if placed.what != "`about`":  # kept as a hash, in the customer's record alone
                yield placed, placed.what == "`value`"
    for name, policy in ruleset.policies.items():
        ons = [m.on for m in ruleset.messages.values() if m.policy == name]
        on = None if any(on is None for on in ons) else tuple(e for types in ons for e in types or ())
        for segment in policy.by:
            yield Placed("`by`", segment, on), True


def inputs(node: Node, at: Span | None = None) -> Iterator[tuple[str, Span]]:
    """The inputs that an expression reads and where; of a fact, where it is used. has() reads nothing."""
    if isinstance(node, Ref):
        yield node.path, at or node.span
    elif isinstance(node, Fact):
        yield from inputs(node.node, at or node.span)
    elif isinstance(node, Op) and node.op != "has":
        for arg in node.args:
            yield from inputs(arg, at)
