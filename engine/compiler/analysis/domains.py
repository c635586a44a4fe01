"""Which values the inputs of a rule set may have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from engine.compiler.analysis.cases import Cases
from engine.compiler.analysis.values import INT_END, Values, among, between, compared, everything
from engine.compiler.analysis.ways import Way
from engine.compiler.model import COUNTING, DISTINCT_MAX, Feature, RuleSet, Window
from engine.compiler.nodes import Ref, Type
from engine.compiler.scopes import On


def cases_of(ruleset: RuleSet) -> Cases:
    """What works out when conditions of this rule set can hold."""
    features, windows = ruleset.features, ruleset.windows
    known: dict[tuple[str, Type], Values] = {}  # an attribute's type may differ from event type to event type

    def domain(ref: Ref) -> Values:
        values = known.get((ref.path, ref.type))
        if values is None:
            root, _, name = ref.path.partition(".")
            values = everything(ref.type)
            if root == "features" and name in features:
                values = of_feature(features[name])
            elif root == "windows" and name in windows:
                values = _of_window(windows[name])
            known[ref.path, ref.type] = values
        return values

    def guarded(path: str) -> bool:
        """A default is a value that has() does not see."""
        root, _, name = path.partition(".")
        feature = features.get(name) if root == "features" else None
        return path != "now" and (feature is None or feature.default is None)

    return Cases(domain, guarded)


def of_feature(feature: Feature) -> Values:
    """The values within a feature's bounds, and its default."""
    values = everything(feature.type)
    for bound, below, op in (
        (feature.above, math.floor, "gt"),
        (feature.at_least, math.ceil, "ge"),
        (feature.at_most, math.floor, "le"),
    ):
        if bound is not None:
            values = values.meet(compared(feature.type, op, _fitting(feature.type, bound, below)))
    if feature.default is None or feature.type.element is not None:  # lists have no order, and no bounds
        return values
    return values.join(among(feature.type, [feature.default]))


def _fitting(kind: Type, bound: float, rounded: Callable[[float], int]) -> Any:
    """A bound as a value of the type: integers may be bounded by numbers."""
    if kind is Type.INTEGER and isinstance(bound, float):
        return rounded(max(-2.0 * INT_END, min(2.0 * INT_END, bound)))
    return bound


def _of_window(window: Window) -> Values:
    if window.kind == "distinct":
        return between(0, DISTINCT_MAX)
    if window.kind not in COUNTING:
        return everything(window.type)
    if window.kind == "count":
        return between(0, INT_END - 1)
    if window.over is None:
        return between(0, {"week": 7, "month": 31}.get(window.calendar or "", 1))
    return between(0, window.over.amount if window.kind == "months_with" else window.over.span_s // 86_400)


def event_types(on: On) -> Way:
    """What the event types of a rule say of `event.type`."""
    return {} if on is None else {"event.type": among(Type.TEXT, on)}
