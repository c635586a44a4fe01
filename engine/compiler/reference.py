"""The slow, obvious twin: one expression on one set of inputs, as the CEL specification says.

Kernels are tested against it, and reasons and explanations come from it. Errors are values
(`Failure`) that travel by CEL's rules: `true || error` is true.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.compiler import moments
from engine.compiler.functions import LIST_MAX, TABLE
from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Type, Var
from engine.compiler.overloads import NS
from engine.compiler.summary import MACROS
from engine.compiler.written import BILLION

_CAUSES = {
    "DATA_MISSING": "is missing",
    "DATA_STALE": "is older than its maximum age",
    "WINDOW_INCOMPLETE": "is not complete yet",
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
PARTS = frozenset(("full_year", "month", "date", "day_of_month", "day_of_week", "day_of_year"))
CLOCK_PARTS = frozenset(("hours", "minutes", "seconds", "milliseconds"))


@dataclass(frozen=True, slots=True)
class Failure:
    """CEL's error value.

    `reason` is DATA_MISSING, DATA_STALE or WINDOW_INCOMPLETE; `path` the input that caused it, "" for
    arithmetic (then `reason` is DATA_MISSING); `cause` says it in words.
    """

    reason: str
    path: str
    cause: str


@dataclass(frozen=True, slots=True)
class Absent:
    """An input without a value. `has` is what has() says of it."""

    reason: str
    has: bool = False


@dataclass(frozen=True, slots=True)
class Defaulted:
    """A value that was not written: the expression sees it, has() does not."""

    value: object


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an expression reads: path to value, `Absent` or `Defaulted`. A path not in it is missing.

    `zone` is the IANA name of the customer's time zone, None where it is not known.
    """

    values: Mapping[str, object]
    now_ns: int
    zone: str | None

    def get(self, path: str) -> object:
        """The value at `path`, or `Absent`, or `Defaulted`."""
        return self.now_ns if path == "now" else self.values.get(path, _MISSING)


@dataclass(frozen=True, slots=True)
class Step:
    """The value (or `Failure`) of one sub-expression.

    `fact` is the path of the fact in whose text `node.span` lies, None for the expression's own text.
    """

    node: Node
    value: object
    fact: str | None


_MISSING = Absent("DATA_MISSING")


def evaluate(
    node: Node, inputs: Inputs, elements: Sequence[object] = (), facts: dict[int, object] | None = None
) -> object:
    """The value of the expression, or a `Failure`. `elements` are those of the macros around it, outermost first.

    `facts` holds the values of facts by the identity of their trees, from one call to the next on the same inputs.
    """
    run = _Run(inputs, None)
    run.elements += elements
    run.facts = run.facts if facts is None else facts
    return run.value(node)


def trace(node: Node, inputs: Inputs, facts: dict[int, object] | None = None) -> list[Step]:
    """Every sub-expression, operands before what uses them; a fact's own parts once, before the fact.

    Every operand is there, also where the result does not depend on it. The input inside has() and what
    a macro does with each element are not. `facts` is that of `evaluate`: the parts of a fact in it are not
    there again.
    """
    steps: list[Step] = []
    run = _Run(inputs, steps)
    run.facts = run.facts if facts is None else facts
    run.value(node)
    return steps


def reads(node: Node) -> list[str]:
    """Paths of the inputs, in order of first appearance; `now` only where it is written."""
    return list(inputs_of([node]))


def inputs_of(nodes: Sequence[Node]) -> dict[str, Type]:
    """Paths of the inputs with their types, in order of first appearance."""
    paths: dict[str, Type] = {}
    seen: set[int] = set()
    for node in nodes:
        _collect(node, paths, seen)
    return paths


def _collect(node: Node, paths: dict[str, Type], seen: set[int]) -> None:
    if type(node) is Ref:
        paths[node.path] = node.type
    elif type(node) is Op:
        for arg in node.args:
            _collect(arg, paths, seen)
    elif type(node) is Fact and id(node.node) not in seen:
        seen.add(id(node.node))
        _collect(node.node, paths, seen)


class _Run:
    """One evaluation: the inputs, the steps taken down, and what facts and macros around have."""

    __slots__ = ("elements", "fact", "facts", "inputs", "steps")

    def __init__(self, inputs: Inputs, steps: list[Step] | None) -> None:
        self.inputs = inputs
        self.steps = steps
        self.fact: str | None = None
        self.facts: dict[int, object] = {}
        self.elements: list[object] = []

    def value(self, node: Node) -> object:
        result: object
        if isinstance(node, Const):
            result = node.value
        elif isinstance(node, Ref):
            result = _input(node.path, self.inputs)
        elif isinstance(node, Var):
            result = self.elements[node.level]
        elif isinstance(node, Fact):
            result = self._fact_value(node)
        elif node.op == "has":
            result = _has(node.args[0], self.inputs)
        elif node.op in MACROS:
            result = self._macro(node)
        else:
            values = []  # one frame per level: no comprehension
            for arg in node.args:
                values.append(self.value(arg))
            result = _apply(node, values, self.inputs)
        if self.steps is not None:
            self.steps.append(Step(node, result, self.fact))
        return result

    def _fact_value(self, node: Fact) -> object:
        """A fact reads nothing of the macros around it, so one value serves all its uses."""
        key = id(node.node)
        if key not in self.facts:
            outer, self.fact, elements, self.elements = self.fact, node.path, self.elements, []
            self.facts[key] = self.value(node.node)
            self.fact, self.elements = outer, elements
        return self.facts[key]

    def _macro(self, node: Op) -> object:
        items = self.value(node.args[0])
        if isinstance(items, Failure):
            return items
        assert isinstance(items, tuple)
        steps, facts, self.steps = self.steps, self.facts, None
        self.facts = facts if steps is None else dict(facts)  # a fact evaluated here has no steps yet
        outcomes: list[list[object]] = []
        for item in items:
            self.elements.append(item)
            outcomes.append([self.value(body) for body in node.args[1:]])
            self.elements.pop()
        self.steps, self.facts = steps, facts
        return _combined(node.op, items, outcomes)


def _combined(op: str, items: tuple[object, ...], outcomes: list[list[object]]) -> object:
    """What a macro makes of the values of its body for each element."""
    if op in ("all", "exists"):
        return _logic([outcome[0] for outcome in outcomes], op == "exists")
    kept: list[object] = []
    for item, outcome in zip(items, outcomes, strict=True):
        condition = outcome[0] if op != "map" or len(outcome) == 2 else True
        if isinstance(condition, Failure):
            return condition
        result = outcome[-1] if op == "map" else item
        if condition and isinstance(result, Failure):
            return result
        if condition:
            kept.append(result)
    return len(kept) == 1 if op == "exists_one" else tuple(kept)


def _input(path: str, inputs: Inputs) -> object:
    value = inputs.get(path)
    if isinstance(value, Absent):
        return Failure(value.reason, path, f"{path} {_CAUSES.get(value.reason, 'has no value')}")
    value = value.value if isinstance(value, Defaulted) else value
    if isinstance(value, tuple) and len(value) > LIST_MAX:
        return Failure("DATA_MISSING", path, f"{path} has more than {LIST_MAX} elements")
    return value


def _has(ref: Node, inputs: Inputs) -> bool:
    assert isinstance(ref, Ref)
    value = inputs.get(ref.path)
    return value.has if isinstance(value, Absent) else not isinstance(value, Defaulted)


def _apply(node: Op, values: list[object], inputs: Inputs) -> object:
    op = node.op
    if op in ("and", "or"):
        return _logic(values, op == "or")
    if op in ("cond", "switch"):
        return _choice(values)
    if op == "fails":
        return isinstance(values[0], Failure)
    if op == "fail":
        return _failed(str(values[0]))
    if op == "collect":
        values = _chosen(values)
    for value in values:
        if isinstance(value, Failure):
            return value
    try:
        return _strict(node, values, inputs)
    except ValueError as cause:
        return _failed(str(cause))


def _logic(values: list[object], absorbing: bool) -> object:
    """`||` (absorbing: true) and `&&` (absorbing: false): the absorbing value wins over errors."""
    if any(value is absorbing for value in values):
        return absorbing
    for value in values:
        if isinstance(value, Failure):
            return value
    return not absorbing


def _choice(values: list[object]) -> object:
    """The value after the first condition that is true, else the last; an erring condition before it wins."""
    for condition, value in zip(values[:-1:2], values[1::2], strict=True):
        if condition is not False:
            return condition if isinstance(condition, Failure) else value
    return values[-1]


def _chosen(values: list[object]) -> list[object]:
    """The arguments of `collect` without the errors of values that are not taken."""
    pairs = zip(values[::2], values[1::2], strict=True)
    return [part for condition, value in pairs for part in (condition, None if condition is False else value)]


def _strict(node: Op, values: list[Any], inputs: Inputs) -> object:
    """Operations that fail where an operand fails; the operands here have values. ValueError is CEL's error."""
    op, kinds = node.op, [arg.type for arg in node.args]
    a: Any = values[0]
    b: Any = values[1] if len(values) > 1 else None
    if op == "not":
        return not a
    if op in ("eq", "ne"):
        return _equal(a, b) is (op == "eq")
    if op in _COMPARE:
        return _COMPARE[op](a, b)
    if op == "in":
        return any(_equal(a, item) for item in b)
    if op in PARTS or (op in CLOCK_PARTS and kinds[0] is Type.TIME):
        return moments.part(op, a, moments.named_zone("UTC" if b is None else b))
    if op in CLOCK_PARTS:
        return moments.duration_part(op, a)
    if op in ("days_since", "days_until", "add_days", "add_months"):
        return _calendar(op, kinds[0], a, b, inputs)
    if (op, kinds[0]) in TABLE:
        return TABLE[op, kinds[0]](*values)
    if op.startswith("to_"):
        return _converted(op, kinds[0], a, inputs)
    if op == "ratio":
        if b == 0:
            raise ValueError("ratio: the divisor is 0")
        return a / b
    if op == "neg":
        return -a if node.type is Type.NUMBER else _whole(node.type, -a)
    return _float_arithmetic(op, a, b) if node.type is Type.NUMBER else _int_arithmetic(node, a, b)


def _failed(cause: str) -> Failure:
    return Failure("DATA_MISSING", "", cause)


def _equal(a: object, b: object) -> bool:
    """Equality of CEL: a list with a NaN equals none, itself included."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(one == other for one, other in zip(a, b, strict=True))
    return a == b


def _float_arithmetic(op: str, a: float, b: float) -> float:
    if op == "add":
        return a + b
    if op == "sub":
        return a - b
    if op == "mul":
        return a * b
    assert op == "div"
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _int_arithmetic(node: Op, a: int, b: int) -> int:
    """Integers, durations, times and money: exact in Python, then checked against the range of the result."""
    op = node.op
    if op in ("div", "mod"):
        if b == 0:
            raise ValueError("division by zero" if op == "div" else "modulus by zero")
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        whole = _whole(node.type, quotient)  # INT64_MIN / -1 overflows, and so does the % of it
        return whole if op == "div" else a - b * quotient
    return _whole(node.type, {"add": a + b, "sub": a - b, "mul": a * b}[op])


def _whole(kind: Type, value: int) -> int:
    if kind is Type.TIME:
        return moments.in_range(kind, value)
    scale = BILLION if kind is Type.MONEY else 1  # units of int64, and billionths above them
    if not INT_MIN * scale <= value < (INT_MAX + 1) * scale:
        raise ValueError(f"{kind} overflow")
    return value


def _calendar(op: str, kind: Type, a: int, b: Any, inputs: Inputs) -> int:
    """Days and months, on the customer's calendar where it matters."""
    if op == "add_days":
        return moments.in_range(kind, a + b)
    if op == "add_months" and kind is Type.DATE:
        return moments.months_later(a, b)
    zone = moments.customers_zone(inputs.zone)
    if op == "add_months":
        return moments.time_months_later(a, b, zone)
    then = a if kind is Type.DATE else moments.local_date(a, zone)
    today = moments.local_date(inputs.now_ns, zone)
    return today - then if op == "days_since" else then - today


def _converted(op: str, kind: Type, value: Any, inputs: Inputs) -> object:
    """The conversions that are arithmetic; those of texts are in `functions`."""
    if op == "to_number":
        return value / BILLION if kind is Type.MONEY else float(value)
    if op == "to_date":
        return moments.local_date(value, moments.customers_zone(inputs.zone))
    if op == "to_time":
        return moments.in_range(Type.TIME, value * NS)
    assert op == "to_integer"
    if kind is not Type.NUMBER:
        seconds = abs(value) // NS if kind is Type.DURATION else value // NS
        return -seconds if kind is Type.DURATION and value < 0 else seconds
    # the conformance cases of CEL count -2^63 itself as out of range
    if not -(2.0**63) < value < 2.0**63:
        raise ValueError("int: the number is out of range")
    return int(value)
