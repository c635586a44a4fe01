"""Messages that nobody can receive: what they ask for contradicts itself, their product or their channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from engine.compiler.analysis.cases import NOTHING, Simple
from engine.compiler.analysis.domains import event_types
from engine.compiler.analysis.report import Report
from engine.compiler.analysis.ways import NEVER, Ways
from engine.compiler.model import ChannelChoice, Message, Position, Product, RuleSet
from engine.compiler.nodes import Node

_TYPES = "its event types"
_TYPE = frozenset(("event.type",))


def report_unreachable(ruleset: RuleSet, report: Report) -> None:
    """Warnings never-eligible and unreachable-message. What one condition alone forbids is told there."""
    audiences = Audiences(ruleset, report)
    for product in ruleset.products.values():
        if not audiences.eligible(product) and all(
            audiences.cases.holds(c.expression.node, True) for c in product.eligible
        ):
            report.add(
                "never-eligible",
                product.position,
                f"nobody can be eligible for '{product.name}'",
                found="its conditions contradict each other",
                hint=audiences.clash,
            )
    for message in ruleset.messages.values():
        told = audiences.contradiction(message)
        if told is not None:
            why, also, clash = told
            report.add(
                "unreachable-message",
                message.position,
                f"nobody can receive '{message.name}': {why}",
                found=clash,
                also=also,
            )
        elif _weightless(ruleset, message):
            report.add(
                "unreachable-message",
                message.position,
                f"nobody can receive '{message.name}': all its variants have the weight 0",
            )


def _weightless(ruleset: RuleSet, message: Message) -> bool:
    policy = ruleset.policies.get(message.policy or "")
    weights = policy.weights if policy is not None else {}
    return bool(weights) and not any(weights.get(name, 1.0) for name in message.variants)


class Audiences:
    """Who messages are for, as ways in which inputs may be."""

    def __init__(self, ruleset: RuleSet, report: Report) -> None:
        self.ruleset = ruleset
        self.cases = report.cases
        self._eligible: dict[str, Ways] = {}
        self._asked = {p.name: [c.expression.node for c in p.eligible] for p in ruleset.products.values()}

    @property
    def clash(self) -> str:
        """The input that the last contradiction was about."""
        clash = self.cases.clash
        return f"no value of {clash} will do" if isinstance(clash, str) else ""

    def eligible(self, product: Product) -> Ways:
        known = self._eligible.get(product.name)
        if known is None:
            known = self.cases.both([self.cases.holds(c.expression.node, True) for c in product.eligible])
            self._eligible[product.name] = known
        return known

    def parts(self, message: Message) -> list[tuple[str, Ways]]:
        """What must hold for the message to be considered, each in words and as ways."""
        parts: list[tuple[str, Ways]] = []
        if message.on is not None:
            parts.append((_TYPES, [event_types(message.on)]))
        product = self.ruleset.products.get(message.product or "")
        if product is not None:
            parts.append((f"the eligibility of '{product.name}'", self.eligible(product)))
        if message.when is not None:
            parts.append(("its `when`", self.cases.holds(message.when.node, True)))
        if message.unless is not None:
            parts.append(("its `unless`", self.cases.holds(message.unless.node, False)))
        return parts

    def audience(self, message: Message) -> Ways:
        """The ways in which the message is considered, its channels aside."""
        return self.cases.both([ways for _, ways in self.parts(message)])

    def contradiction(self, message: Message) -> tuple[str, Position | None, str] | None:
        """(why nobody can receive it, the other place, the input it is about), or None."""
        if self._agree(message):
            return None  # what one of them alone forbids is told there
        parts = self.parts(message)
        if not all(ways for _, ways in parts):
            return None
        audience = self.cases.both([ways for _, ways in parts])
        if not audience:
            return self._between(message, parts)
        channels = [self._channel(choice) for choice in message.channels]
        if any(self.cases.both((audience, *conditions)) for conditions in channels):
            return None
        if all(NEVER in conditions for conditions in channels):
            return None
        return "whoever it is for cannot be reached by its channels", None, self.clash

    def _agree(self, message: Message) -> bool:
        """Whether its conditions, and each channel's with them, can hold at once if each can: soon seen for most."""
        nodes = self._asked.get(message.product or "", [])
        reads = _TYPE.union(*map(self.cases.reads, nodes))
        if message.when is not None:
            more = self.cases.reads(message.when.node)
            nodes = [*nodes, message.when.node]
            if not reads.isdisjoint(more) and not self._fit(reads & more, nodes):
                return False
            reads |= more
        if message.unless is not None:
            more = self.cases.reads(message.unless.node)
            if not reads.isdisjoint(more):
                return False
            reads |= more
        for choice in message.channels:
            declared = self.ruleset.channels.get(choice.channel)
            asked: frozenset[str] = NOTHING
            for when in (choice.when, declared.when if declared is not None else None):
                if when is None:
                    continue
                more = self.cases.reads(when.node)
                if not asked.isdisjoint(more) or not (
                    reads.isdisjoint(more) or self._fit(reads & more, [*nodes, when.node])
                ):
                    return False
                asked |= more
        return True

    def _fit(self, paths: frozenset[str], nodes: Sequence[Node]) -> bool:
        """Whether all that the conditions ask of each of these inputs is plain, and some value will do."""
        for path in paths:
            parts: list[Simple] = []
            for node in nodes:
                if path in self.cases.reads(node):
                    more = self.cases.parts_on(node, path)
                    if more is None:
                        return False
                    parts += more
            if self.cases.implied(parts, True) is None:
                return False
        return True

    def _channel(self, choice: ChannelChoice) -> list[Ways]:
        """What a channel asks for: the message's condition and its own."""
        declared = self.ruleset.channels.get(choice.channel)
        whens = (choice.when, declared.when if declared is not None else None)
        return [self.cases.holds(when.node, True) for when in whens if when is not None]

    def _between(self, message: Message, parts: list[tuple[str, Ways]]) -> tuple[str, Position | None, str] | None:
        product = self.ruleset.products.get(message.product or "")
        also = product.position if product is not None else None
        for (a, ways), (b, others) in combinations(parts, 2):
            if not self.cases.both((ways, others)):
                if a == _TYPES and b.startswith("its"):
                    return None  # always-false, and told there
                return f"{b} contradicts {a}", also if "eligibility" in a + b else None, self.clash
        return "its conditions contradict each other", also, self.clash
