"""The contact kernels against their plain twins."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.kernels.contact import rolling_load


def plain_rolling_load(times: list[int], at: int, span: int) -> int:
    """Every window [s, s + span) that contains `at`, at every start that matters."""
    starts = {at, at - span + 1, *(t for t in times), *(t - span + 1 for t in times)}
    return max(
        (sum(s <= t < s + span for t in times) for s in starts if s <= at < s + span),
        default=0,
    )


@given(
    times=st.lists(st.integers(0, 60), max_size=14).map(sorted),
    at=st.integers(-5, 65),
    span=st.integers(1, 30),
)
def test_rolling_load_is_the_fullest_window_around_the_touch(times: list[int], at: int, span: int) -> None:
    assert rolling_load(np.array(times, np.int64), at, span) == plain_rolling_load(times, at, span)


def test_two_touches_exactly_a_span_apart_share_no_window() -> None:
    assert rolling_load(np.array([0], np.int64), 7, 7) == 0
    assert rolling_load(np.array([0], np.int64), 6, 7) == 1


def test_a_later_booking_counts_too() -> None:
    assert rolling_load(np.array([10], np.int64), 5, 7) == 1
