"""One run: calls sent at their times whatever the server does, latencies counted from the time each was due."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.load.client import OK, RESOURCE_EXHAUSTED, UNAVAILABLE, Channel, Target, connect, now_ns
from bench.load.histogram import Histogram

DECIDE = "/tact.v1.DecisionService/Decide"
DRAIN_S = 10.0  # how long answers are waited for after the last call
_SPIN_NS = 1_000_000  # closer to the next call than this the client does not sleep
_NAP_NS = 50_000  # it looks again so often
_KEPT = 2000  # answers kept to say what was decided
_RECONNECT_S = 0.1


@dataclass(slots=True)
class Result:
    """What came of a run.

    `latencies` are those of good answers, `refusals` those of calls that the server shed (RESOURCE_EXHAUSTED);
    `late`: how long after its time a call was really sent; `lost` had no answer in time.
    """

    rate: float
    seconds: float
    sent: int
    latencies: Histogram
    late: Histogram
    statuses: Counter[int]
    lost: int
    answered_per_s: float
    answers: list[bytes] = field(default_factory=list)
    refusals: Histogram = field(default_factory=Histogram)

    @property
    def refused(self) -> int:
        """Calls that the server shed: it said so at once, and did nothing for them."""
        return self.statuses[RESOURCE_EXHAUSTED]

    @property
    def failed(self) -> int:
        """Calls that ended in any other way but well, or had no answer."""
        good = (OK, RESOURCE_EXHAUSTED)
        return self.lost + sum(count for status, count in self.statuses.items() if status not in good)


class _Pool:
    """So many connections, by turns. One that the server closes is opened again; the others carry on meanwhile."""

    def __init__(self, target: Target, done: Callable[[int, int, bytes], None]) -> None:
        self._target = target
        self._done = done
        self._channels: list[Channel] = []
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self, count: int) -> None:
        """Raises OSError where the target cannot be reached."""
        self._channels = [await connect(self._target, DECIDE, self._done) for _ in range(count)]

    def pick(self, number: int) -> Channel | None:
        """The connection for a call; None where all are away."""
        channels = self._channels
        count = len(channels)
        for place in range(number % count, number % count + count):
            channel = channels[place % count]
            if channel.usable:
                return channel
            if not channel.replaced:
                channel.replaced = True
                task = asyncio.ensure_future(self._reopen(place % count))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
        return None

    async def _reopen(self, place: int) -> None:
        while True:
            try:
                self._channels[place] = await connect(self._target, DECIDE, self._done)
                return
            except (OSError, TimeoutError):
                await asyncio.sleep(_RECONNECT_S)

    async def close(self) -> None:
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for channel in self._channels:
            await channel.close()


class _Run:
    """The state of one run on one event loop."""

    def __init__(self, body: Callable[[], bytes], times: npt.NDArray[np.int64]) -> None:
        self.body = body
        self.times = times
        self.sent_ns = np.zeros(len(times), np.int64)
        self.done_ns = np.full(len(times), -1, np.int64)
        self.status = np.full(len(times), -1, np.int64)
        self.answers: list[bytes] = []
        self.keep_every = max(1, len(times) // _KEPT)
        self.start = 0
        self.open = 0
        self.idle = asyncio.Event()

    def done(self, number: int, status: int, answer: bytes) -> None:
        self.done_ns[number] = now_ns() - self.start
        self.status[number] = status
        if number % self.keep_every == 0:
            self.answers.append(answer)
        self.open -= 1
        if not self.open:
            self.idle.set()

    async def send_all(self, pool: _Pool) -> None:
        """Sends every call when it is due."""
        count, at = len(self.times), 0
        times = self.times.tolist()
        self.start = now_ns()
        while at < count:
            now = now_ns() - self.start
            touched: set[Channel] = set()
            while at < count and times[at] <= now:
                self.sent_ns[at] = now
                self.open += 1
                channel = pool.pick(at)
                if channel is None:
                    self.done(at, UNAVAILABLE, b"")
                else:
                    channel.send(at, self.body())
                    touched.add(channel)
                at += 1
            for channel in touched:
                channel.flush()
            ahead = times[at] - (now_ns() - self.start) if at < count else 0
            if 2 * _NAP_NS < ahead <= 2 * _SPIN_NS:
                time.sleep(_NAP_NS / 1e9)  # noqa: ASYNC251 - who waits for this core, such as the store, gets it
            await asyncio.sleep((ahead - _SPIN_NS) / 1e9 if ahead > 2 * _SPIN_NS else 0)

    async def drain(self) -> None:
        """Waits for the answers that are still to come."""
        if self.open:
            self.idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), DRAIN_S)

    def result(self, rate: float) -> Result:
        latencies, late, refusals = Histogram(), Histogram(), Histogram()
        taken = self.done_ns - self.times
        good = self.status == OK
        latencies.record(taken[good])
        refusals.record(taken[self.status == RESOURCE_EXHAUSTED])
        late.record(self.sent_ns - self.times)
        span_s = max(float(self.times[-1]), float(self.done_ns.max())) / 1e9
        statuses, counts = np.unique(self.status[self.status >= 0], return_counts=True)
        return Result(
            rate=rate,
            seconds=float(self.times[-1]) / 1e9,
            sent=len(self.times),
            latencies=latencies,
            late=late,
            statuses=Counter(dict(zip(statuses.tolist(), counts.tolist(), strict=True))),
            lost=int((self.status < 0).sum()),
            answered_per_s=float(good.sum()) / span_s,
            answers=self.answers,
            refusals=refusals,
        )


async def drive(
    target: Target, body: Callable[[], bytes], times: npt.NDArray[np.int64], rate: float, connections: int
) -> Result:
    """Runs the load; `body` gives the bytes of one request after another. Raises OSError without a connection."""
    run = _Run(body, times)
    pool = _Pool(target, run.done)
    await pool.open(connections)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection of ours would be counted as the server's
    try:
        await run.send_all(pool)
        await run.drain()
    finally:
        if collecting:
            gc.enable()
        await pool.close()
    return run.result(rate)
