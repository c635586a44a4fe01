"""Which logs are asked how long they are, and when: none may fill unseen, however it grows within what is relied on."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.identity import BUCKETS
from engine.state.lengths import EVERY_S, LogLengths

MOST = 1000
GROWTH = MOST * 0.05  # entries a second


def test_all_are_asked_at_first_and_an_eighth_afterwards() -> None:
    lengths = LogLengths()
    first = lengths.due(100.0)
    assert first == list(range(BUCKETS))
    lengths.note(first, [MOST * 0.5 if b == 7 else 0 for b in first], MOST)  # type: ignore[arg-type]
    asked = [lengths.due(100.0 + k * EVERY_S) for k in range(1, 9)]
    assert all(BUCKETS // 8 <= len(due) <= BUCKETS // 8 + 1 for due in asked)
    assert sorted({b for due in asked for b in due}) == list(range(BUCKETS))


def test_a_log_that_is_long_is_asked_each_time_until_it_is_short() -> None:
    lengths = LogLengths()
    due = lengths.due(0.0)
    lengths.note(due, [100 if b == 9 else 900 if b == 10 else b"?" if b == 11 else 99 for b in due], MOST)
    assert lengths.full == {10, 11}
    for k in range(1, 20):
        due = lengths.due(k * EVERY_S)
        assert {9, 10, 11} <= set(due)
        lengths.note(due, [100 if b == 9 else 900 if b == 10 else b"?" if b == 11 else 99 for b in due], MOST)
    lengths.note([9, 10, 11], [99, 99, 99], MOST)
    assert lengths.full == frozenset()
    assert len(lengths.due(20 * EVERY_S)) == BUCKETS // 8


def test_after_a_pause_or_a_failure_all_are_asked() -> None:
    lengths = LogLengths()
    lengths.note(lengths.due(0.0), [0] * BUCKETS, MOST)
    assert len(lengths.due(60.0)) == BUCKETS
    assert len(lengths.due(62.0)) == BUCKETS // 8
    lengths.forget()
    assert len(lengths.due(64.0)) == BUCKETS


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.lists(st.sampled_from((2.0, 2.0, 2.1, 3.0, 5.0, 9.0, 40.0)), min_size=5, max_size=60))
def test_none_fills_unseen(seed: int, pauses: list[float]) -> None:
    """Logs grow by what is relied on at most; one that may be appended to uncounted always has room."""
    chance, lengths = random.Random(seed), LogLengths()
    logs = {chance.randrange(BUCKETS): chance.uniform(0, MOST * 0.95) for _ in range(8)}
    now_s = 0.0
    for pause_s in pauses:
        due = lengths.due(now_s)
        lengths.note(due, [int(logs.get(b, 0)) for b in due], MOST)
        for bucket in logs:
            if bucket not in lengths.full:  # for as long as this counts, it is appended to
                logs[bucket] += GROWTH * EVERY_S * chance.choice((0.0, 0.3, 1.0, 1.0))
                assert logs[bucket] <= MOST
            elif chance.random() < 0.3:
                logs[bucket] = 0.0  # archived
            if pause_s > EVERY_S and bucket not in lengths.full:  # others go on, and count
                logs[bucket] = min(MOST, logs[bucket] + GROWTH * (pause_s - EVERY_S))
        now_s += pause_s
