"""Exams of what learns, with published figures, known truths and other libraries beside ours.

`published`: regrets; `contextual`: who likes what; `judged`: what the readout says of trials; `speed`: beside Vowpal
Wabbit, MABWiser and contextualbandits. All are seeded: the same numbers come again. `--quick` is shorter, without the
bounds that need the length; its rows say so.
"""

from __future__ import annotations

from bench.learning import contextual, judged, published, speed
from bench.rows import Effort, Row


def run(effort: Effort) -> list[Row]:
    """One after another."""
    return [*published.run(effort), *contextual.run(effort), *judged.run(effort), *speed.run(effort)]
