"""Who is in a trial: hashes that spread, that do not know of each other, and that stay."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.model import Enrolment, FixedSlice, Holdout, Policy, Slice
from engine.contact.holdout import held_out
from engine.decision import SHARE_UNIT
from engine.identity import CustomerKey
from engine.learning.enrolment import Assignment, assigned_shares, assignment, inside, place, why_not
from engine.learning.posteriors import Posteriors

WHOLE = 1 << 64
HALF = 1 << 63
CUSTOMERS = [i.to_bytes(16, "little") for i in range(20_000)]
digests = st.binary(min_size=16, max_size=16)


def policy(enrolment: Enrolment | None = None, beside: FixedSlice | None = None, kind: str = "fixed") -> Policy:
    return Policy(
        "words", kind, {"replied": 1.0}, 3600, 0.02, "a", (), {}, False, False, "drop", None,  # type: ignore[arg-type]
        enrolment=enrolment, fixed_slice=beside,
    )  # fmt: skip


def test_slices_are_as_large_as_they_say_and_know_nothing_of_each_other() -> None:
    """Also not of the holdout: in every one of the 2^4 combinations there are as many as chance has it."""
    holdout = Holdout(0.5, "s", None)  # type: ignore[arg-type]
    slices = [Slice("front", "s", 0, HALF), Slice("front", "t", 0, HALF), Slice("back", "s", HALF, WHOLE)]
    flags = np.array([
        [held_out(CustomerKey(d, 0), holdout), *(inside(d, part) for part in slices)] for d in CUSTOMERS
    ])  # fmt: skip
    expected = len(CUSTOMERS) / 16
    for combination in itertools.product([False, True], repeat=4):
        count = int((flags == combination).all(axis=1).sum())
        assert abs(count - expected) < 4.5 * expected**0.5


@given(digests, st.lists(st.integers(0, WHOLE), min_size=1, max_size=6))
def test_a_customer_is_in_one_slice_of_a_layer(digest: bytes, edges: list[int]) -> None:
    cuts = [0, *sorted(edges), WHOLE]
    parts = [Slice("front", "s", low, high) for low, high in itertools.pairwise(cuts)]
    assert sum(inside(digest, part) for part in parts) == 1
    assert len({place(digest, part) for part in parts}) == 1


def test_where_customers_stand_never_changes() -> None:
    """A release that moved them would move running trials: these are for ever."""
    assert place(bytes(16), Slice("front", "2026-H2", 0, 0)) == PINNED[0]
    assert place(bytes(range(16)), Slice("trial:words", "", 0, 0)) == PINNED[1]


PINNED = (13_534_614_613_242_006_985, 4_682_082_647_870_721_270)


@given(digests, st.integers(-(10**15), 10**15))
def test_time_comes_before_the_slice(digest: bytes, now_ms: int) -> None:
    enrolment = Enrolment(1000, 2000, Slice("front", "s", 0, HALF), "a", "")
    found = assignment(policy(enrolment), digest, now_ms)
    if now_ms >= 2000:
        assert found is Assignment.OVER
    elif now_ms < 1000:
        assert found is Assignment.EARLY
    else:
        assert found is (Assignment.POLICY if place(digest, enrolment.part) < HALF else Assignment.OUTSIDE)  # type: ignore[arg-type]
    assert found.in_trial == (found is Assignment.POLICY)


@pytest.mark.parametrize(
    ("how", "expected"),
    [(Assignment.OUTSIDE, [SHARE_UNIT, 0]), (Assignment.EARLY, [SHARE_UNIT, 0]), (Assignment.OVER, [0, SHARE_UNIT])],
)
def test_outside_of_the_trial_one_variant_has_it_all(how: Assignment, expected: list[int]) -> None:
    enrolment = Enrolment(1000, 2000, Slice("front", "s", 0, HALF), "a", "b")
    found = assigned_shares(policy(enrolment), how, "m", "", ["a", "b"], Posteriors())
    assert (list(found.shares), found.version) == (expected, 0)
    assert not any(assigned_shares(policy(enrolment), how, "m", "", ["c"], Posteriors()).shares)
    assert "words" in why_not(policy(enrolment), how)


def test_a_fixed_slice_has_its_weights_to_the_unit() -> None:
    """No floor of the bandit's bends them."""
    beside = FixedSlice(Slice("words", "", 0, WHOLE), {"a": 1.0, "b": 255.0})
    bandit = policy(None, beside, "thompson")
    assert assignment(bandit, bytes(16), 0) is Assignment.FIXED_SLICE
    found = assigned_shares(bandit, Assignment.FIXED_SLICE, "m", "", ["a", "b"], Posteriors(7))
    assert (found.shares, found.version) == ((SHARE_UNIT // 256, SHARE_UNIT - SHARE_UNIT // 256), 0)
    even = policy(None, FixedSlice(beside.part, {}), "thompson")
    found = assigned_shares(even, Assignment.FIXED_SLICE, "m", "", ["a", "b"], Posteriors(7))
    assert found.shares == (SHARE_UNIT // 2, SHARE_UNIT // 2)
