"""The highest rate that a server holds: up by steps until the objective breaks, then halving the distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.load.drive import Result

_STEP = 1.5
_TRIES = 2
_ERRORS_MAX = 0.001
LATE_MS = 1.0  # later than this at p99 the client, not the server, may be what was measured


@dataclass(frozen=True, slots=True)
class Objective:
    """What a probe must hold: p99 in ms, and at most 1 call in 1,000 refused or failed.

    A backlog shows in the p99, as latencies count from when calls were due.
    """

    p99_ms: float

    def broken_by(self, result: Result) -> str:
        """What does not hold, "" where all does."""
        p99 = result.latencies.quantile(0.99) / 1e6
        if result.refused + result.failed > _ERRORS_MAX * result.sent:
            return f"{result.refused} calls refused, {result.failed} failed of {result.sent}"
        if p99 > self.p99_ms:
            late = result.late.quantile(0.99) / 1e6
            return f"p99 {p99:.3g} ms" + (f", the client itself {late:.2g} ms late" if late > LATE_MS else "")
        return ""


def find_capacity(
    probe: Callable[[float], Result],
    objective: Objective,
    start: float,
    precision: float = 0.05,
    told: Callable[[float, Result, str], None] = lambda *_: None,
) -> tuple[float, Result | None]:
    """The rate (calls a second) and the run that held it; 0 and None where even the first did not.

    `probe` runs one rate. One that breaks the objective is run once more: a hiccup of a shared machine is not the
    server's limit. Rates differ by `precision` at the end.
    """
    good, best, bad = 0.0, None, 0.0
    rate = start
    while True:
        for _ in range(_TRIES):
            result = probe(rate)
            why = objective.broken_by(result)
            told(rate, result, why)
            if not why:
                break
        if why:
            bad = rate
        else:
            good, best = rate, result
        if bad and good >= bad * (1 - precision):
            return good, best
        if bad and not good and bad < start / 16:
            return 0.0, None
        rate = rate * _STEP if not bad else (good + bad) / 2 if good else bad / 2
