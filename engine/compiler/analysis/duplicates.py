"""What is said twice: messages, facts and conditions with the same meaning."""

from __future__ import annotations

from collections.abc import Iterable

from engine.compiler.analysis.report import Report
from engine.compiler.model import Expression, Message, Position, RuleSet
from engine.compiler.nodes import Const, Fact, Node


def report_duplicates(ruleset: RuleSet, report: Report) -> None:
    """Warnings duplicate-message, duplicate-fact and duplicate-condition."""
    facts: dict[Node, tuple[str, Position]] = {}
    for name, fact in ruleset.facts.items():
        if isinstance(fact.node, Const):
            continue  # two names for one number may part ways
        first, position = facts.setdefault(_meaning(fact.node), (name, fact.position))
        if first != name:
            report.add("duplicate-fact", fact.position, f"'{name}' means the same as '{first}'", also=position)
    for product in ruleset.products.values():
        conditions: dict[Node, Position] = {}
        for condition in product.eligible:
            at = condition.expression.position
            known = conditions.setdefault(_meaning(condition.expression.node), at)
            if known is not at:
                text = f"'{condition.name}' asks the same as a condition before it"
                report.add("duplicate-condition", at, text, also=known)
    _messages(ruleset, report)


def _messages(ruleset: RuleSet, report: Report) -> None:
    asking: dict[tuple[object, ...], list[Message]] = {}  # a cheap first look: what they are for, and read
    for message in ruleset.messages.values():
        reads = None if message.when is None else report.cases.reads(message.when.node)
        asking.setdefault((message.product, message.purpose, reads), []).append(message)
    for several in asking.values():
        if len(several) > 1:
            _alike(several, report)


def _alike(messages: Iterable[Message], report: Report) -> None:
    alike: dict[tuple[object, ...], list[Message]] = {}
    for message in messages:
        same = alike.setdefault(_outline(message), [])
        first = next((m for m in same if _same(m, message)), None)
        if first is None:
            same.append(message)
        else:
            text = f"'{message.name}' is for the same customers as '{first.name}', with the same texts"
            report.add("duplicate-message", message.position, text, also=first.position)


def _meaning(node: Node) -> Node:
    while isinstance(node, Fact):
        node = node.node
    return node


def _outline(message: Message) -> tuple[object, ...]:
    """Equal for messages that are the same: a cheap first look."""
    texts = tuple(
        (language, text.text, tuple(text.channels.items()), text.replies)
        for variant in message.variants.values()
        for language, text in variant.texts.items()
    )
    return (
        message.product, message.purpose, message.on and frozenset(message.on),
        _squeezed(message.when), _squeezed(message.unless), texts,
    )  # fmt: skip


def _squeezed(expression: Expression | None) -> str | None:
    return None if expression is None else "".join(expression.text.split())


def _same(a: Message, b: Message) -> bool:
    slots = ({name: (s.expression.node, s.shape) for name, s in m.slots.items()} for m in (a, b))
    conditions = ([c.when and c.when.node for c in m.channels] for m in (a, b))
    return (
        (a.when and a.when.node) == (b.when and b.when.node)
        and (a.unless and a.unless.node) == (b.unless and b.unless.node)
        and [c.channel for c in a.channels] == [c.channel for c in b.channels]
        and next(slots) == next(slots)
        and next(conditions) == next(conditions)
    )
