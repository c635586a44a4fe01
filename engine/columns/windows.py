"""The windows of a rule set as columns for kernels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.compiler.nodes import Type
from engine.kernels.windows import (
    COUNT,
    DAY,
    LAST,
    MONTHS_WITH,
    NUMBER,
    ODD,
    PAIR,
    SUM,
    TRUTH,
    WHOLE,
    WindowPlans,
)
from engine.windows import WindowPlan

_KINDS = {"count": COUNT, "sum": SUM, "months_with": MONTHS_WITH, "last": LAST}
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


def _kind(plan: WindowPlan) -> int:
    counts = plan.kind in ("count", "months_with")
    if plan.type not in _TYPES or (counts and plan.type is not Type.INTEGER):
        return ODD
    if plan.kind == "sum" and plan.type not in _ADDED:
        return ODD
    return _KINDS.get(plan.kind, ODD)


def window_plans(plans: Mapping[str, WindowPlan]) -> WindowPlans:
    """The windows in their order, by which kernels number them; of a kind that no kernel knows: ODD."""
    found = list(plans.values())
    return WindowPlans(
        key=np.array([p.key for p in found], np.uint64).view(np.int64),
        kind=np.array([_kind(p) for p in found], np.int64),
        type=np.array([_TYPES.get(p.type, WHOLE) for p in found], np.int64),
        width_s=np.array([p.width_s for p in found], np.int64),
        buckets=np.array([p.buckets for p in found], np.int64),
        since_zero=np.array([p.since_start_zero for p in found], np.int64),
    )
