"""The conditions of a message with the value of every sub-expression, where each is written.

Asked of the reference twin, for Explain only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.compiler.model import Expression, Position, RuleSet, TableSource
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Type, Var
from engine.compiler.reference import Defaulted, Failure, Inputs, evaluate, trace
from engine.compiler.summary import MACROS
from engine.compiler.tables.compiling import rows_of
from engine.compiler.written import plain
from engine.plan import MessageStep, unit_of

STEPS_MAX = 400  # of one condition
BYTES_MAX = 2 << 20  # of one explanation's traces: all of it must fit a gRPC message of 4 MiB
TEXT_MAX = 1_000  # characters of a step's text or value
ELEMENTS_MAX = 8  # of a list, of which a macro's body is told
ROWS_MAX = 20  # of a table that collects
_STEP_BYTES = 40  # of a step beside its texts
PERSONAL = "personal"  # in place of a value that is


@dataclass(slots=True)
class TraceStep:
    """One sub-expression: as written, its value, its place. `depth` counts from 0, the whole condition.

    `value` of a part of a macro's body is that for each element of the list, the first ones.
    """

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


@dataclass(frozen=True, slots=True)
class _Source:
    """The text in which spans lie: a message's expression, or the fact `name`."""

    expression: Expression
    name: str = ""

    def text(self, node: Node) -> str:
        """A sub-expression as written, on one line."""
        if isinstance(node, Ref | Fact):
            return node.path
        return _cut(" ".join(self.expression.text[node.span.start : node.span.end].split()))

    def place(self, node: Node) -> Position:
        """Where it begins in its file."""
        e, start = self.expression, node.span.start
        if e.scalar is not None:
            return e.scalar.place(e.offset + start)
        for span, at in e.table.inputs if e.table is not None else ():
            if span.start <= start < span.end:
                return Position(at.path, at.line, at.column + start - span.start)
        return e.position


class Tracer:
    """Traces the messages of one event; what it has said in all is bounded."""

    def __init__(self, ruleset: RuleSet, inputs: Inputs, event_type: str) -> None:
        self._ruleset = ruleset
        self._inputs = inputs
        self._on = (event_type,)
        self._left = BYTES_MAX
        self._values: dict[int, object] = {}  # of the nodes evaluated, by identity: the rule set keeps them alive
        self._facts: dict[int, object] = {}  # whose parts are among them
        self._whole: dict[int, object] = {}  # as macros' bodies use them
        self._personal: dict[int, bool] = {}
        self._tables: dict[int, Sequence[Node]] = {}  # the inputs of tables' trees
        self._told: set[int] = set()  # facts whose parts this condition has already

    def message(self, step: MessageStep) -> list[ConditionTrace]:
        """Every expression of a message, in the order in which they are asked."""
        return [self._condition(*one) for one in _expressions(step)]

    def _condition(self, role: str, name: str, expression: Expression) -> ConditionTrace:
        node = expression.node
        for step in trace(node, self._inputs, self._facts):
            self._values[id(step.node)] = step.value
        value, failed = self._written(node)
        text = " ".join(expression.text.split())
        text = text if len(text) <= self._left else _cut(text, 200)
        made = ConditionTrace(role, name, text, expression.position, value, failed)
        self._left -= len(text)
        self._told.clear()
        self._add(made, node, 0, _Source(expression))
        return made

    def _step(
        self, made: ConditionTrace, text: str, value: tuple[str, bool], at: Position, depth: int, fact: str
    ) -> bool:
        """Adds a step; False where there is no room for it."""
        size = len(text) + len(value[0]) + len(at.path) + len(fact) + _STEP_BYTES
        if made.truncated or len(made.steps) >= STEPS_MAX or self._left < size:
            made.truncated = True
            return False
        self._left -= size
        made.steps.append(TraceStep(text, *value, at, depth, fact))
        return True

    def _add(self, made: ConditionTrace, node: Node, depth: int, source: _Source) -> None:
        """The node and below it its operands; a fact's parts below its first use."""
        while depth and isinstance(node, Op) and len(node.args) == 1 and node.args[0].span == node.span:
            node = node.args[0]  # below a conversion that nobody wrote
        if isinstance(node, Const) or id(node) not in self._values:
            return
        at = source.place(node)
        if not self._step(made, source.text(node), self._written(node), at, depth, source.name):
            return
        if isinstance(node, Op):
            for arg in node.args[:1] if node.op in MACROS else node.args:
                self._add(made, arg, depth + 1, source)
            if node.op in MACROS:
                self._bodies(made, node, depth + 1, source)
        elif isinstance(node, Fact) and id(node.node) not in self._told:
            self._told.add(id(node.node))
            expression = self._ruleset.facts[node.path.removeprefix("facts.")]
            inner = _Source(expression, node.path)
            if expression.table is not None:
                self._table(made, node.node, expression.table, depth + 1, inner)
            else:
                self._add(made, node.node, depth + 1, inner)

    def _bodies(self, made: ConditionTrace, macro: Op, depth: int, source: _Source) -> None:
        """What a macro asks of each element, with the value for each of the first ones."""
        items = self._values[id(macro.args[0])]
        if not isinstance(items, tuple) or not items:
            return
        hidden = self._is_personal(macro.args[0])
        waiting = [(body, depth) for body in reversed(macro.args[1:])]
        while waiting:
            node, at = waiting.pop()
            if isinstance(node, Const | Var):
                continue
            results = [evaluate(node, self._inputs, (item,), self._whole) for item in items[:ELEMENTS_MAX]]
            value = (PERSONAL, False) if hidden else self._each(node, results, len(items) > ELEMENTS_MAX)
            if not self._step(made, source.text(node), value, source.place(node), at, source.name):
                return
            if isinstance(node, Op):
                below = node.args[:1] if node.op in MACROS else node.args
                waiting += [(arg, at + 1) for arg in reversed(below)]

    def _each(self, node: Node, results: list[object], more: bool) -> tuple[str, bool]:
        told = [self._shown(node, result) for result in results]
        if len(set(told)) == 1:
            return told[0]
        words = ["error" if failed else value for value, failed in told]
        return _cut(", ".join(words + [".."] * more)), False

    def _table(self, made: ConditionTrace, tree: Node, table: TableSource, depth: int, source: _Source) -> None:
        """Of a decision table: the inputs that were read, and the rows that gave the result."""
        if id(tree) not in self._tables:
            self._tables[id(tree)] = _inputs(tree, table)
        for node in self._tables[id(tree)]:
            self._add(made, node, depth, source)
        several = isinstance(tree, Op) and tree.op in ("collect", "add", "cond")
        found = 0
        for row, (condition, result) in zip(table.rows, rows_of(tree), strict=True):
            verdict = self._values[id(condition)]
            if verdict is False:
                continue
            value = self._written(condition if isinstance(verdict, Failure) else result)
            found += 1
            text = f"row {row.number}: {_cut(row.text)}"
            if not self._step(made, text, value, row.position, depth, source.name) or not several:
                return
            if found == ROWS_MAX:
                made.truncated = True
                return
        last = tree.args[-1] if isinstance(tree, Op) else tree
        if not found and not several and isinstance(last, Const):
            self._step(made, "no row: default", self._written(last), source.expression.position, depth, source.name)

    def _written(self, node: Node) -> tuple[str, bool]:
        """The value in words, and whether it is an error."""
        text, failed = self._shown(node, node.value if isinstance(node, Const) else self._values.get(id(node)))
        given = self._inputs.get(node.path) if isinstance(node, Ref) else None
        return text + " (default)" * (isinstance(given, Defaulted) and text != PERSONAL), failed

    def _shown(self, node: Node, value: object) -> tuple[str, bool]:
        hidden = self._is_personal(node)
        if isinstance(value, Failure):  # a cause that names no input may cite a value
            return f"error: {PERSONAL if hidden and not value.path else _cut(value.cause)}", True
        return PERSONAL if hidden else _cut(written(value, node.type, self._currency(node))), False

    def _is_personal(self, node: Node) -> bool:
        """Whether the value tells of a personal input more than that it is there."""
        if id(node) not in self._personal:
            hidden = False
            if isinstance(node, Ref):
                root, _, name = node.path.partition(".")
                declared = [e.attributes.get(name) for e in self._ruleset.events.values()]
                hidden = root == "event" and any(a is not None and a.personal for a in declared)
                hidden = hidden or (root == "features" and self._ruleset.features[name].personal)
            elif isinstance(node, Fact):
                hidden = self._is_personal(node.node)
            elif isinstance(node, Op):
                hidden = node.op != "has" and any(self._is_personal(arg) for arg in node.args)
            self._personal[id(node)] = hidden
        return self._personal[id(node)]

    def _currency(self, node: Node) -> str | None:
        """Of money: all that an expression adds up or chooses from is in the same one."""
        while isinstance(node, Fact):
            node = node.node
        if node.type is Type.MONEY and isinstance(node, Op):
            found = (self._currency(arg) for arg in node.args if arg.type is Type.MONEY)
            return next((currency for currency in found if currency is not None), None)
        return unit_of(node.path, self._on, self._ruleset) if isinstance(node, Ref) else None


def written(value: object, kind: Type, unit: str | None) -> str:
    """A value of the type, for people; also one that is plain already, as the log has it."""
    return said(plain(value, kind, unit), kind)


def said(shown: object, kind: Type | None) -> str:
    """The same of a plain value. `kind` None: it is not known."""
    if isinstance(shown, bool):
        return "true" if shown else "false"
    if isinstance(shown, str):
        return f'"{shown}"' if kind in (Type.TEXT, None) else shown
    if isinstance(shown, list):
        return f"[{', '.join(said(item, kind.element if kind is not None else None) for item in shown)}]"
    return f"{shown:.12g}" if isinstance(shown, float) else str(shown)


def _expressions(step: MessageStep) -> Iterator[tuple[str, str, Expression]]:
    message = step.message
    for condition in step.eligible:
        yield "eligible", condition.name, condition.expression
    if message.when is not None:
        yield "when", "", message.when
    if message.unless is not None:
        yield "unless", "", message.unless
    for channel in step.channels:
        for _, expression in channel.conditions:
            yield "channel", channel.name, expression
    if not isinstance(message.value.node, Const):
        yield "value", "", message.value
    if message.about is not None:
        yield "about", "", message.about
    for slot in message.slots.values():
        yield "slot", slot.name, slot.expression


def _inputs(tree: Node, table: TableSource) -> Sequence[Node]:
    """The inputs of a table's tree, those that a row asks, by column.

    What is made of an input has its span, so the deepest node with the span is the input itself.
    """
    starts = [span.start for span, _ in table.inputs]
    found: dict[int, Node] = {}
    seen: set[int] = set()
    waiting = [tree]
    while waiting and len(found) < len(table.inputs):
        node = waiting.pop()
        if isinstance(node, Const) or id(node) in seen:
            continue
        seen.add(id(node))
        below = [arg for arg in node.args if not isinstance(arg, Const)] if isinstance(node, Op) else []
        if node.span.start < node.span.end and not any(arg.span == node.span for arg in below):
            found.setdefault(bisect_right(starts, node.span.start) - 1, node)
        waiting += reversed(below)
    return [found[column] for column in sorted(found)]


def _cut(text: str, most: int = TEXT_MAX) -> str:
    return text if len(text) <= most else text[: most - 2] + ".."
