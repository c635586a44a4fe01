"""How long logs are: for those who append to many in one transaction, which counts nothing.

A log that is nearly full is left to the commit script, which counts exactly. What is relied on: no log grows by more
than `_GROWTH` of the most it may hold in a second (5,000 entries of one bucket, where 100,000 are). So one that is not
nearly full cannot be full `EVERY_S` later, and one that is short is not even nearly full for 16 seconds: of the short
ones an eighth is asked at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from engine.identity import BUCKETS
from engine.state.connection import Reply

EVERY_S = 2.0
_NEARLY_FULL, _SHORT = 0.9, 0.1  # of the most entries
_PARTS = 8
_GROWTH = (1 - _NEARLY_FULL) / EVERY_S
_GOOD_FOR_S = (_NEARLY_FULL - _SHORT) / _GROWTH  # of a length that was short


class LogLengths:
    """Lengths of all buckets' logs as they were measured last. Seconds are of any clock that goes on."""

    def __init__(self) -> None:
        self.full: frozenset[int] = frozenset()  # buckets whose logs are nearly full, or did not say
        self._long: frozenset[int] = frozenset()
        self._measured_at = [-math.inf] * _PARTS

    def due(self, now_s: float) -> list[int]:
        """The buckets to measure now, so that all lengths can be relied on for `EVERY_S`."""
        oldest = min(range(_PARTS), key=self._measured_at.__getitem__)
        parts = {p for p, at in enumerate(self._measured_at) if now_s + EVERY_S > at + _GOOD_FOR_S} | {oldest}
        for part in parts:
            self._measured_at[part] = now_s
        return sorted(self._long.union(*(range(part, BUCKETS, _PARTS) for part in parts)))

    def note(self, buckets: Sequence[int], lengths: Iterable[Reply], most: int) -> None:
        """What XLEN said of these buckets; a log holds `most` entries."""
        known = {b: n if isinstance(n, int) else most for b, n in zip(buckets, lengths, strict=True)}
        self.full = self.full.difference(known).union(b for b, n in known.items() if n >= most * _NEARLY_FULL)
        self._long = self._long.difference(known).union(b for b, n in known.items() if n >= most * _SHORT)

    def forget(self) -> None:
        """They were not told: all are due."""
        self._measured_at = [-math.inf] * _PARTS
