"""One run: calls sent at their times whatever the server does, latencies counted from the time each was due."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.load.client import OK, Channel, connect, now_ns
from bench.load.histogram import Histogram

DECIDE = "/tact.v1.DecisionService/Decide"
DRAIN_S = 10.0  # how long answers are waited for after the last call
_SPIN_NS = 1_000_000  # closer to the next call than this the client does not sleep
_KEPT = 2000  # answers kept to say what was decided


@dataclass(slots=True)
class Result:
    """What came of a run. `late`: how long after its time a call was really sent; `lost` had no answer in time."""

    rate: float
    seconds: float
    sent: int
    latencies: Histogram
    late: Histogram
    statuses: Counter[int]
    lost: int
    answered_per_s: float
    answers: list[bytes] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Calls that failed or had no answer."""
        return self.lost + sum(count for status, count in self.statuses.items() if status != OK)


class _Run:
    """The state of one run on one event loop."""

    def __init__(self, bodies: Sequence[bytes], times: npt.NDArray[np.int64]) -> None:
        self.bodies = bodies
        self.times = times
        self.sent_ns = np.zeros(len(times), np.int64)
        self.done_ns = np.full(len(times), -1, np.int64)
        self.ok = np.zeros(len(times), bool)
        self.statuses: Counter[int] = Counter()
        self.answers: list[bytes] = []
        self.keep_every = max(1, len(times) // _KEPT)
        self.start = 0
        self.open = 0
        self.idle = asyncio.Event()

    def done(self, number: int, status: int, answer: bytes) -> None:
        self.done_ns[number] = now_ns() - self.start
        self.ok[number] = status == OK
        self.statuses[status] += 1
        if number % self.keep_every == 0:
            self.answers.append(answer)
        self.open -= 1
        if not self.open:
            self.idle.set()

    async def send_all(self, channels: Sequence[Channel]) -> None:
        """Sends every call when it is due, on the channels by turns."""
        count, at = len(self.times), 0
        self.start = now_ns()
        times = self.times.tolist()
        while at < count:
            now = now_ns() - self.start
            touched: set[Channel] = set()
            while at < count and times[at] <= now:
                channel = channels[at % len(channels)]
                if channel.closed.done():
                    raise ConnectionError("the server closed a connection during the run")
                channel.send(at, self.bodies[at % len(self.bodies)])
                self.sent_ns[at] = now
                self.open += 1
                touched.add(channel)
                at += 1
            for channel in touched:
                channel.flush()
            ahead = times[at] - (now_ns() - self.start) if at < count else 0
            await asyncio.sleep((ahead - _SPIN_NS) / 1e9 if ahead > 2 * _SPIN_NS else 0)

    async def drain(self) -> None:
        """Waits for the answers that are still to come."""
        if self.open:
            self.idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), DRAIN_S)


async def drive(
    target: str,
    bodies: Sequence[bytes],
    times: npt.NDArray[np.int64],
    rate: float,
    connections: int,
    tls: ssl.SSLContext | None,
) -> Result:
    """Runs the load. Raises OSError where the target cannot be reached or goes away."""
    run = _Run(bodies, times)
    channels = [await connect(target, DECIDE, run.done, tls) for _ in range(connections)]
    await asyncio.sleep(0)
    await run.send_all(channels)
    await run.drain()
    for channel in channels:
        channel.close()
    latencies, late = Histogram(), Histogram()
    answered = run.done_ns >= 0
    latencies.record((run.done_ns - run.times)[answered & run.ok])
    late.record(run.sent_ns - run.times)
    span_s = max(float(run.times[-1]), float(run.done_ns.max())) / 1e9
    return Result(
        rate=rate,
        seconds=float(run.times[-1]) / 1e9,
        sent=len(times),
        latencies=latencies,
        late=late,
        statuses=run.statuses,
        lost=int((~answered).sum()),
        answered_per_s=float(run.ok.sum()) / span_s,
        answers=run.answers,
    )
