"""The windows of a rule set as columns for kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.compiler.model import Having
from engine.compiler.nodes import Const, Node, Op, Ref, Type
from engine.compiler.pool import number_bits
from engine.kernels import blake2b, derived
from engine.kernels.windows import (
    COUNT,
    DAY,
    DISTINCT,
    LAST,
    MAXIMUM,
    MINIMUM,
    NUMBER,
    ODD,
    PAIR,
    SUM,
    TRUTH,
    WHOLE,
    WITH,
    WindowPlans,
)
from engine.windows import HISTORY, TEXT_PERSON, WindowPlan, value_code

I64 = npt.NDArray[np.int64]

_KINDS = {
    "count": COUNT, "sum": SUM, "minimum": MINIMUM, "maximum": MAXIMUM, "months_with": WITH, "days_with": WITH,
    "last": LAST, "distinct": DISTINCT,
}  # fmt: skip
_TYPES = {
    Type.INTEGER: WHOLE,
    Type.DURATION: WHOLE,
    Type.NUMBER: NUMBER,
    Type.BOOL: TRUTH,
    Type.DATE: DAY,
    Type.MONEY: PAIR,
    Type.TIME: PAIR,
}
_ADDED = (Type.INTEGER, Type.NUMBER, Type.MONEY)
_COUNTING = ("count", "months_with", "days_with", "distinct")
_COMPARED = {
    "lt": derived.LT, "le": derived.LE, "gt": derived.GT, "ge": derived.GE, "eq": derived.EQ, "ne": derived.NE,
}  # fmt: skip
_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def _kind(plan: WindowPlan) -> int:
    if plan.type not in _TYPES or (plan.kind in _COUNTING and plan.type is not Type.INTEGER):
        return ODD
    if plan.kind == "sum" and plan.type not in _ADDED:
        return ODD
    if plan.kind in ("minimum", "maximum") and plan.type is Type.BOOL:
        return ODD
    return _KINDS.get(plan.kind, ODD)


def window_plans(stored: Iterable[WindowPlan]) -> WindowPlans:
    """Windows that are stored, in their order, by which kernels number them; of a kind no kernel knows: ODD."""
    found = list(stored)
    return WindowPlans(
        key=np.array([p.key for p in found], np.uint64).view(np.int64),
        kind=np.array([_kind(p) for p in found], np.int64),
        type=np.array([_TYPES.get(p.type, WHOLE) for p in found], np.int64),
        width_s=np.array([p.width_s for p in found], np.int64),
        buckets=np.array([p.buckets for p in found], np.int64),
        begins=np.array([p.begins for p in found], np.int64),
        since_zero=np.array([p.since_start_zero for p in found], np.int64),
        history=int(np.uint64(HISTORY).view(np.int64)),
    )


def plans_of(windows: Iterable[WindowPlan], stored: Iterable[WindowPlan]) -> list[WindowPlan]:
    """What kernels number: what is stored, each once, and behind it the same where it is complete at another time."""
    found = {(plan.key, plan.since_start_zero): plan for plan in stored}
    for plan in (part for window in windows for part in window.parts or (window,)):
        found.setdefault((plan.key, plan.since_start_zero), plan)
    return list(found.values())


def shown_windows(windows: Mapping[str, WindowPlan], plans: Sequence[WindowPlan]) -> derived.Shown:
    """The windows that rules name, in their order, over the plans that kernels number."""
    numbers = {(plan.key, plan.since_start_zero): n for n, plan in enumerate(plans)}
    rows: list[tuple[int, ...]] = []
    steps: list[tuple[int, ...]] = []
    for plan in windows.values():
        places = [numbers[part.key, part.since_start_zero] for part in plan.parts]
        if not plan.parts:
            rows.append((derived.PLAIN, numbers[plan.key, plan.since_start_zero], 0, 0, 0))
        elif plan.having is None:
            rows.append((derived.MEAN, places[0], places[1], 0, 0))
        else:
            begin = len(steps)
            written = _condition(plan, plan.having, places)
            steps += written or ()
            how = derived.UNREAD if written is None else derived.CHOSEN
            rows.append((how, places[0], 0, begin, len(steps)))
    return derived.Shown(np.array(rows, np.int64).reshape(-1, 5), np.array(steps, np.int64).reshape(-1, 6))


def _condition(plan: WindowPlan, having: Having, places: Sequence[int]) -> list[tuple[int, ...]] | None:
    """The steps of a condition; None where it asks more than kernels know."""
    of = {one.path: one for one in having.aggregates}
    steps: list[tuple[int, ...]] = []

    def write(node: Node, depth: int) -> bool:
        if not isinstance(node, Op) or depth > derived.DEPTH_MAX:
            return False
        if node.op == "not":
            done = write(node.args[0], depth)
            steps.append((derived.NOT, 0, 0, 0, 0, 0))
            return done
        if node.op in ("and", "or"):
            for place, arg in enumerate(node.args):
                if not write(arg, depth + min(place, 1)):
                    return False
                if place:
                    steps.append((derived.AND if node.op == "and" else derived.OR, 0, 0, 0, 0, 0))
            return True
        return node.op in _COMPARED and compare(node.op, *node.args)

    def compare(op: str, left: Node, right: Node) -> bool:
        if isinstance(left, Const):
            left, right, op = right, left, _TURNED.get(op, op)
        if not (isinstance(left, Ref) and isinstance(right, Const)):
            return False
        one = of[left.path]
        first, last = one.parts[0], one.parts[-1]
        kind = derived.OF_MEAN if one.kind == "mean" else _KINDS[one.kind]
        constant = number_bits(right.value) if isinstance(right.value, float) else int(right.value)  # type: ignore[call-overload]
        if not -(2**63) <= constant < 2**63:
            return False
        row = (_COMPARED[op], kind, places[first], places[last], _TYPES[plan.parts[first].type], constant)
        steps.append(row)
        return True

    return steps if write(having.expression.node, 0) else None


def text_codes(constants: Sequence[object]) -> tuple[npt.NDArray[np.uint64], I64]:
    """What texts are hashed from, and the hashes of those among a plan's constants, by their code."""
    known = [value_code(value) if isinstance(value, str) else 0 for value in constants]
    return blake2b.start(8, b"", TEXT_PERSON), np.array(known, np.int64)
