"""Good clients, measured while others misbehave."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.faults.line import DECIDE, OK, Line, event
from tests.faults.report import quantile


@dataclass(slots=True)
class Measured:
    """What good clients saw."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return self.statuses[OK] / self.seconds

    @property
    def p50_ms(self) -> float:
        """Of good answers."""
        return quantile(self.latencies_s, 0.5) * 1000

    @property
    def p99_ms(self) -> float:
        """Of good answers."""
        return quantile(self.latencies_s, 0.99) * 1000


_numbers = itertools.count(1_000_000)


async def measure(
    lines: Sequence[Line],
    in_flight: int,
    seconds: float,
    path: str = DECIDE,
    make: Callable[[int], bytes] = event,
) -> Measured:
    """As many calls at once on each line, one after the other. `make`: a number's request."""
    began = time.monotonic()
    measured = Measured(seconds)

    async def call(line: Line) -> None:
        while time.monotonic() - began < seconds:
            answer = await line.call(make(next(_numbers)), path)
            measured.statuses[answer.status] += 1
            if answer.status == OK:
                measured.latencies_s.append(answer.took_s)
            elif answer.status < 0:  # nobody is there
                return

    await asyncio.gather(*(call(line) for line in lines for _ in range(in_flight)))
    measured.seconds = time.monotonic() - began
    return measured
