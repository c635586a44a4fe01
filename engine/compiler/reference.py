"""The slow, obvious twin: one expression on one set of inputs, as the CEL specification says.

Kernels are tested against it, and reasons and explanations come from it. Errors are values
(`Failure`) that travel by CEL's rules: `true || error` is true.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.compiler.lexer import INT_MAX, INT_MIN
from engine.compiler.nodes import Const, Node, Op, Ref, Span, Type
from engine.compiler.overloads import NS, TIME_MAX_NS, TIME_MIN_NS

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


_MISSING = Absent("DATA_MISSING")


def evaluate(node: Node, inputs: Inputs) -> object:
    """The value of the expression, or a `Failure`."""
    return _evaluate(node, inputs, None)


def trace(node: Node, inputs: Inputs) -> list[tuple[Span, Node, object]]:
    """The value (or `Failure`) of every sub-expression, operands before what uses them.

    Every operand is there, also where the result does not depend on it. The input inside has() is not.
    """
    steps: list[tuple[Span, Node, object]] = []
    _evaluate(node, inputs, steps)
    return steps


def reads(node: Node) -> list[str]:
    """Paths of the inputs, in order of first appearance; `now` only where it is written."""
    paths: dict[str, None] = {}
    _collect(node, paths)
    return list(paths)


def _collect(node: Node, paths: dict[str, None]) -> None:
    if isinstance(node, Ref):
        paths[node.path] = None
    elif isinstance(node, Op):
        for arg in node.args:
            _collect(arg, paths)


def _evaluate(node: Node, inputs: Inputs, steps: list[tuple[Span, Node, object]] | None) -> object:
    result: object
    if isinstance(node, Const):
        result = node.value
    elif isinstance(node, Ref):
        result = _input(node.path, inputs)
    elif node.op == "has":
        result = _has(node.args[0], inputs)
    else:
        values = []  # one frame per level: no comprehension
        for arg in node.args:
            values.append(_evaluate(arg, inputs, steps))
        result = _apply(node, values, inputs)
    if steps is not None:
        steps.append((node.span, node, result))
    return result


def _input(path: str, inputs: Inputs) -> object:
    value = inputs.get(path)
    if isinstance(value, Absent):
        return Failure(value.reason, path, f"{path} {_CAUSES.get(value.reason, 'has no value')}")
    return value.value if isinstance(value, Defaulted) else value


def _has(ref: Node, inputs: Inputs) -> bool:
    assert isinstance(ref, Ref)
    value = inputs.get(ref.path)
    return value.has if isinstance(value, Absent) else not isinstance(value, Defaulted)


def _apply(node: Op, values: list[object], inputs: Inputs) -> object:
    op = node.op
    if op in ("and", "or"):
        return _logic(values, op == "or")
    if op == "cond":
        condition, then, otherwise = values
        return condition if isinstance(condition, Failure) else then if condition else otherwise
    for value in values:
        if isinstance(value, Failure):
            return value
    if op in ("days_since", "days_until"):
        return _days(op, values[0], inputs)
    return _strict(node, *values)


def _logic(values: list[object], absorbing: bool) -> object:
    """`||` (absorbing: true) and `&&` (absorbing: false): the absorbing value wins over errors."""
    if any(value is absorbing for value in values):
        return absorbing
    for value in values:
        if isinstance(value, Failure):
            return value
    return not absorbing


def _strict(node: Op, a: object, b: object = None) -> object:
    """Operations that fail where an operand fails; the operands here have values."""
    match node.op, a, b:
        case "not", _, _:
            return not a
        case "eq", _, _:
            return a == b
        case "ne", _, _:
            return a != b
        case (("lt" | "le" | "gt" | "ge"), (int() | float() | str()), (int() | float() | str())):
            return _COMPARE[node.op](a, b)
        case "in", _, tuple():
            return any(a == constant for constant in b)
        case "to_number", int(), _:
            return float(a)
        case "to_integer", float(), _:
            return _to_integer(a)
        case "ratio", float(), float():
            return _failed("ratio: the divisor is 0") if b == 0 else a / b
        case "neg", float(), _:
            return -a
        case "neg", int(), _:
            return _whole(node.type, -a)
        case _, float(), float():
            return _float_arithmetic(node.op, a, b)
        case _, int(), int():
            return _int_arithmetic(node, a, b)
    raise TypeError(f"{node.op} of {type(a).__name__} and {type(b).__name__}")


def _failed(cause: str) -> Failure:
    return Failure("DATA_MISSING", "", cause)


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


def _int_arithmetic(node: Op, a: int, b: int) -> int | Failure:
    """Integers, durations and times: exact in Python, then checked against the range of the result."""
    op = node.op
    if op in ("div", "mod"):
        if b == 0:
            return _failed("division by zero" if op == "div" else "modulus by zero")
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        whole = _whole(node.type, quotient)  # INT64_MIN / -1 overflows, and so does the % of it
        return whole if op == "div" or isinstance(whole, Failure) else a - b * quotient
    return _whole(node.type, {"add": a + b, "sub": a - b, "mul": a * b}[op])


def _whole(kind: Type, value: int) -> int | Failure:
    if kind is Type.TIME:
        return value if TIME_MIN_NS <= value <= TIME_MAX_NS else _failed("time outside the years 1 to 9999")
    return value if INT_MIN <= value <= INT_MAX else _failed(f"{kind} overflow")


def _to_integer(value: float) -> int | Failure:
    # the conformance cases of CEL count -2^63 itself as out of range
    if not -(2.0**63) < value < 2.0**63:
        return _failed("int: the number is out of range")
    return int(value)


def _days(op: str, time_ns: object, inputs: Inputs) -> int | Failure:
    """Calendar days between a time and now in the customer's zone."""
    assert isinstance(time_ns, int)
    if inputs.zone is None:
        return _failed("the customer's time zone is not known")
    try:
        zone = ZoneInfo(inputs.zone)
    except (KeyError, ValueError, OSError):
        return _failed(f"there is no time zone '{inputs.zone}'")
    try:
        then, today = _date(time_ns, zone), _date(inputs.now_ns, zone)
    except OverflowError:
        return _failed("time outside the years 1 to 9999")
    return today - then if op == "days_since" else then - today


def _date(time_ns: int, zone: ZoneInfo) -> int:
    """The ordinal of the local calendar day."""
    return (_EPOCH + timedelta(seconds=time_ns // NS)).astimezone(zone).toordinal()
