"""The program that measures linear policies: every event of its batches is taken in columns."""

from __future__ import annotations

import pytest

from bench import linear


@pytest.mark.parametrize("kind", linear.KINDS)
def test_a_batch_is_taken_whole(kind: str) -> None:
    bundle = linear.rules(kind)
    assert linear.in_columns(bundle, linear.learnt(bundle), 64) > 0.0
