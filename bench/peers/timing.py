"""Timing of a peer that runs in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

Evaluate = Callable[[Mapping[str, object]], list[str]]


def timed(
    evaluate: Evaluate, contexts: Sequence[Mapping[str, object]], seconds: float, repeats: int
) -> tuple[list[float], list[list[str]]]:
    """Microseconds per event of every repeat, and the answers of a first round that is not timed."""
    answers = [evaluate(context) for context in contexts]
    figures = []
    for _ in range(repeats):
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            for context in contexts:
                evaluate(context)
            done += len(contexts)
        figures.append(elapsed / done * 1e6)
    return figures, answers
