"""The kernel of suppression against its twin, over tables built from a rule set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.columns.limits import limit_tables
from engine.compiler.model import Period, Position, Suppression
from engine.contact.caps import Proposal, limits_of
from engine.contact.suppression import OUTCOME_BITS, stopped_by_outcomes, suppressions_of
from engine.decision import OutcomeKind, Reason
from engine.identity import name_hash
from engine.kernels import suppression as kernel
from engine.state.model import Touch, TouchFlag
from tests.kernels.test_limits import PURPOSES, Step, counted, hashed, in_arena

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_796_040_000_000
CODES = {
    Reason.ALREADY_CONVERTED: kernel.CONVERTED,
    Reason.ALREADY_DECLINED: kernel.DECLINED,
    Reason.REPEATEDLY_IGNORED: kernel.IGNORED,
}
PER = ("topic", "message", "product", "stage", "purpose")
pers = st.lists(st.sampled_from(PER), max_size=2, unique=True).map(lambda p: ("customer", *p))
spans = st.builds(Period, st.integers(1, 9), st.sampled_from(("hour", "day", "week")))


@st.composite
def rules(draw: st.DrawFn) -> tuple[Suppression, ...]:
    found = []
    for k in range(draw(st.integers(1, 3))):
        after = draw(st.sampled_from(("converted", "declined", "ignored", "ignored")))
        times, within = (draw(st.integers(1, 4)), draw(spans)) if after == "ignored" else (1, None)
        position = Position("x.yaml", k + 1, 1)
        found.append(Suppression(f"s{k}", after, times, within, draw(spans), draw(pers), draw(counted), position))
    return tuple(found)


def flags() -> st.SearchStrategy[int]:
    bits = [TouchFlag.RELEASED, TouchFlag.WITHHELD, TouchFlag.DEFERRED, *map(TouchFlag.outcome, OutcomeKind)]
    return st.one_of(st.just(0), st.just(0), st.lists(st.sampled_from(bits), max_size=3).map(lambda b: sum(set(b))))


def touches() -> st.SearchStrategy[list[Touch]]:
    """Touches around spans' edges, some at the same moment, whose reports are due about now."""
    edges = [-s * d for d in (HOUR, DAY, 7 * DAY) for s in range(10)]
    at = st.builds(lambda a, b: NOW + a + b, st.sampled_from(edges), st.sampled_from((-1, 0, 1)))
    due = st.sampled_from((NOW - 1, NOW, NOW + 1, 0, NOW - DAY))
    messages = st.sampled_from([name_hash(n) for n in ("m0", "m1", "old")])
    event = st.sampled_from((1, 2, 2**64 - 1))
    return st.lists(
        st.builds(
            Touch, at, event, st.integers(0, 1), messages, st.just(0), st.just(3), hashed(*PURPOSES),
            hashed("loans", "cards"), hashed("gold"), hashed("start"), st.just(0), st.just(0), st.just(0), st.just(0),
            due, flags(),
        ),
        max_size=9,
        unique_by=lambda t: (t.at_ms, t.event, t.slot),
    )  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(rules(), st.lists(touches(), min_size=1, max_size=2), st.sampled_from(sorted(PURPOSES)), st.data())
def test_suppression_is_the_twins(
    declared: tuple[Suppression, ...], customers: list[list[Touch]], purpose: str, data: st.DataObject
) -> None:
    message: Any = SimpleNamespace(name="m0", purpose=purpose)
    keys = frozenset(map(name_hash, data.draw(st.sampled_from((("m0",), ("m0", "old"))))))
    topic, product, stage = data.draw(hashed("loans")), data.draw(hashed("gold")), data.draw(hashed("start"))
    steps: Any = SimpleNamespace(
        messages=(Step(message, limits_of(message, dict(PURPOSES), (), ()), keys, topic, product, stage),)
    )
    ruleset: Any = SimpleNamespace(purposes=PURPOSES, caps=(), gaps=(), suppressions=declared)
    tables = limit_tables(ruleset, steps)
    held = suppressions_of(message, dict(PURPOSES), declared)
    new = Proposal(NOW, keys, name_hash(purpose), topic, 0, product, stage, 0)
    records = in_arena(*customers)
    for i, those in enumerate(customers):
        code, index, count, frees_at_ms = kernel.stopped_by_outcomes(i, records, tables, 0, np.int64(NOW))
        expected = stopped_by_outcomes(held, those, new, NOW)
        if expected is None:
            assert code == kernel.FREE
            continue
        reason, details, position = expected
        assert (code, count, frees_at_ms) == (CODES[reason], details.count, details.frees_at_ms)
        assert (declared[index].position, declared[index].times) == (position, details.limit)


def test_bits_are_the_touches_own() -> None:
    assert OUTCOME_BITS == {"converted": kernel.CONVERTED_BIT, "declined": kernel.DECLINED_BIT}
    told = {OutcomeKind.DELIVERED, OutcomeKind.NOT_DELIVERED}
    assert sum(TouchFlag.outcome(kind) for kind in OutcomeKind if kind not in told) == kernel.REACTIONS
