"""The conditions of a message with the value of every sub-expression, where each is written.

Asked of the reference twin, for Explain only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.compiler.model import Expression, Message, Position, Product, RuleSet
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Var
from engine.compiler.reference import Defaulted, Failure, Inputs, reads, trace
from engine.compiler.written import plain

STEPS_MAX = 400  # of one condition
ALL_STEPS_MAX = 20_000  # of one explanation: it must fit a gRPC message of 4 MiB
PERSONAL = "personal"  # in place of a value that is


@dataclass(slots=True)
class TraceStep:
    """One sub-expression: as written, its value, its place. `depth` counts from 0, the whole condition."""

    text: str
    value: str
    failed: bool
    position: Position
    depth: int
    fact: str  # whose text it is part of, "" for the condition's own


@dataclass(slots=True)
class ConditionTrace:
    """One expression of a message: `role` is eligible, when, unless, value, about, channel or slot."""

    role: str
    name: str
    expression: str
    position: Position
    value: str
    failed: bool
    steps: list[TraceStep] = field(default_factory=list)
    truncated: bool = False


class Tracer:
    """Traces the messages of one event; what it has said in all is bounded."""

    def __init__(self, ruleset: RuleSet, inputs: Inputs, event_type: str) -> None:
        self._ruleset = ruleset
        self._inputs = inputs
        self._left = ALL_STEPS_MAX
        event = ruleset.events.get(event_type)
        attributes = event.attributes if event is not None else {}
        self._units = {f"event.{a.name}": a.unit for a in attributes.values()}
        self._units |= {f"features.{f.name}": f.unit for f in ruleset.features.values()}
        self._units |= {f"windows.{w.name}": w.unit for w in ruleset.windows.values()}
        self._personal = {f"event.{a.name}" for a in attributes.values() if a.personal}
        self._personal |= {f"features.{f.name}" for f in ruleset.features.values() if f.personal}

    def message(self, message: Message) -> list[ConditionTrace]:
        """Every expression of a message, in the order in which they are asked."""
        product = self._ruleset.products.get(message.product or "")
        return [self._condition(*one) for one in _expressions(message, product)]

    def _condition(self, role: str, name: str, expression: Expression) -> ConditionTrace:
        values = {step.node: step.value for step in trace(expression.node, self._inputs)}
        value, failed = self._written(expression.node, values)
        made = ConditionTrace(role, name, expression.text, expression.position, value, failed)
        self._add(made, expression.node, values, 0, expression, "")
        return made

    def _add(
        self,
        made: ConditionTrace,
        node: Node,
        values: dict[Node, object],
        depth: int,
        source: Expression | None,
        fact: str,
    ) -> None:
        """The node and below it its operands, each sub-expression once."""
        if isinstance(node, Const) or node not in values:
            return
        if len(made.steps) >= STEPS_MAX or self._left <= 0:
            made.truncated = True
            return
        self._left -= 1
        value, failed = self._written(node, values)
        made.steps.append(TraceStep(_text(node, source), value, failed, _place(node, source), depth, fact))
        if isinstance(node, Fact):
            expression = self._ruleset.facts.get(node.path.removeprefix("facts."))
            for inner in _shown(node.node):
                self._add(made, inner, values, depth + 1, expression, node.path)
        elif isinstance(node, Op):
            for arg in node.args:
                self._add(made, arg, values, depth + 1, source, fact)

    def _written(self, node: Node, values: dict[Node, object]) -> tuple[str, bool]:
        """The value in words, and whether it is an error."""
        value = values.get(node)
        if isinstance(value, Failure):
            return f"error: {value.cause}", True
        whole = isinstance(node, Op) and node.op == "has"
        if not whole and any(path in self._personal for path in reads(node)):
            return PERSONAL, False
        paths = reads(node)
        unit = next((self._units[path] for path in paths if self._units.get(path)), None)
        given = self._inputs.get(node.path) if isinstance(node, Ref) else None
        return written(value, node, unit) + (" (default)" if isinstance(given, Defaulted) else ""), False


def written(value: object, node: Node, unit: str | None) -> str:
    """A value of the node's type, for people."""
    shown = plain(value, node.type, unit)
    if isinstance(shown, bool):
        return "true" if shown else "false"
    if isinstance(shown, str) and node.type.value == "text":
        return f'"{shown}"'
    if isinstance(shown, list | tuple):
        return "[" + ", ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in shown) + "]"
    return f"{shown:g}" if isinstance(shown, float) and abs(shown) < 1e15 else str(shown)


def _expressions(message: Message, product: Product | None) -> Iterator[tuple[str, str, Expression]]:
    for condition in product.eligible if product is not None else ():
        yield "eligible", condition.name, condition.expression
    if message.when is not None:
        yield "when", "", message.when
    if message.unless is not None:
        yield "unless", "", message.unless
    for choice in message.channels:
        if choice.when is not None:
            yield "channel", choice.channel, choice.when
    if not isinstance(message.value.node, Const):
        yield "value", "", message.value
    if message.about is not None:
        yield "about", "", message.about
    for slot in message.slots.values():
        yield "slot", slot.name, slot.expression


def _shown(node: Node) -> Sequence[Node]:
    """What stands below a fact: its tree; of a decision table, which nobody wrote as one, the inputs it read."""
    if isinstance(node, Op) and node.op in ("switch", "collect"):
        inputs: dict[Node, None] = {}
        waiting: list[Node] = [node]
        while waiting:
            at = waiting.pop()
            if isinstance(at, Ref | Fact):
                inputs[at] = None
            elif isinstance(at, Op):
                waiting += reversed(at.args)
        return list(inputs)
    return [node]


def _text(node: Node, source: Expression | None) -> str:
    if isinstance(node, Ref | Fact):
        return node.path
    if isinstance(node, Var):
        return node.name
    if source is not None:
        return " ".join(source.text[node.span.start : node.span.end].split())
    return node.op if isinstance(node, Op) else ""


def _place(node: Node, source: Expression | None) -> Position:
    if source is None:
        return Position("", 0, 0)
    if source.scalar is None:
        return source.position
    return source.scalar.place(source.offset + node.span.start)
