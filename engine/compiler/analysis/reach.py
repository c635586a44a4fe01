"""Messages that nobody can receive: what they ask for contradicts itself, their product or their channels."""

from __future__ import annotations

from itertools import combinations

from engine.compiler.analysis.cases import NEVER, Ways
from engine.compiler.analysis.domains import event_types
from engine.compiler.analysis.report import Report
from engine.compiler.model import ChannelChoice, Message, Position, Product, RuleSet
from engine.compiler.nodes import Node

_TYPES = "its event types"


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
        self.by_type = report.by_type
        self._eligible: dict[str, Ways] = {}

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
        if self.by_type and message.on is not None:
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
        if not self.by_type and self.cases.apart(self._conditions(message)):
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

    def _conditions(self, message: Message) -> list[Node]:
        product = self.ruleset.products.get(message.product or "")
        found = [] if product is None else [c.expression.node for c in product.eligible]
        found += [e.node for e in (message.when, message.unless) if e is not None]
        for choice in message.channels:
            declared = self.ruleset.channels.get(choice.channel)
            found += [w.node for w in (choice.when, declared.when if declared else None) if w is not None]
        return found

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
