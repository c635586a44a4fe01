"""Sets of values against plain membership."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.analysis.values import Values, among, compared, everything
from engine.compiler.nodes import Type

POINTS: dict[Type, list[object]] = {
    Type.INTEGER: [-(2**63), -(2**63) + 1, -1, 0, 1, 2, 3, 2**63 - 1],
    Type.NUMBER: [-math.inf, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, 2.0, math.inf, math.nan],
    Type.TEXT: ["", "\0", "a", "a\0", "a\0\0", "aa", "b", "\U0001f600"],
    Type.BOOL: [False, True],
    Type.TIME: [-(10**18), -1, 0, 1, 10**18],
}
PYTHON = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


@st.composite
def sets(draw: st.DrawFn, kind: Type) -> tuple[Values, frozenset[int]]:
    """A set made by comparisons and by meeting, joining and negating, and the indexes of its points."""
    points, everywhere = POINTS[kind], everything(kind)
    values, members = everywhere, set(range(len(points)))
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            op, constant = draw(st.sampled_from(sorted(PYTHON))), draw(st.sampled_from(points))
            other = compared(kind, op, constant)
            held = {i for i, p in enumerate(points) if PYTHON[op](p, constant)}
        else:
            chosen = draw(st.lists(st.sampled_from(points), max_size=4))
            other = among(kind, chosen)
            held = {i for i, p in enumerate(points) if any(p == c for c in chosen)}
        if draw(st.booleans()):
            other, held = other.outside().meet(everywhere), set(range(len(points))) - held
        if draw(st.booleans()):
            values, members = values.meet(other), members & held
        else:
            values, members = values.join(other).meet(everywhere), members | held
    return values, frozenset(members)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(sorted(POINTS)))
def test_sets_hold_what_their_comparisons_say(data: st.DataObject, kind: Type) -> None:
    values, members = data.draw(sets(kind))
    points = POINTS[kind]
    assert {i for i, p in enumerate(points) if values.has(p)} == members
    assert list(values.cuts) == sorted(set(values.cuts))
    assert not (values.empty and members)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(POINTS)))
def test_a_set_within_another_has_no_points_outside_it(data: st.DataObject, kind: Type) -> None:
    (a, members), (b, others) = data.draw(sets(kind)), data.draw(sets(kind))
    if a.within(b):
        assert members <= others
    assert a.meet(b).within(a)
    assert a.within(a.join(b))


def test_neighbours_leave_no_room() -> None:
    for kind, low, high in (
        (Type.INTEGER, 4, 5),
        (Type.NUMBER, 1.0, math.nextafter(1.0, 2.0)),
        (Type.TEXT, "a", "a\0"),
        (Type.BOOL, False, True),
        (Type.DATE, 19_000, 19_001),
    ):
        between = compared(kind, "gt", low).meet(compared(kind, "lt", high)).meet(everything(kind))
        assert between.empty, kind
    assert compared(Type.NUMBER, "gt", math.inf).empty
    assert compared(Type.NUMBER, "lt", -math.inf).meet(everything(Type.NUMBER)).empty
    assert compared(Type.TEXT, "lt", "").meet(everything(Type.TEXT)).empty
    assert compared(Type.INTEGER, "gt", 2**63 - 1).meet(everything(Type.INTEGER)).empty
