"""Closed loops: so many callers, each with one call at a time. What a server can do at most, or one call alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.load.client import OK, Target, call, connect

_CONNECTIONS = 4
_WAKE_S = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One stretch of calls: how many ended per second, and each one's latency in seconds."""

    per_second: float
    latencies_s: list[float]
    busy: float  # part of the time that the client's own process was on its core


async def closed_loop(
    target: Target, method: str, body: Callable[[], bytes], in_flight: int, seconds: float
) -> Measured:
    """Calls `method` for so long. Raises RuntimeError where a call fails, OSError without a connection."""
    started = [0.0] * in_flight
    latencies: list[float] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    open_calls = in_flight

    def done(caller: int, status: int, answer: bytes) -> None:
        nonlocal open_calls
        now = time.perf_counter()
        latencies.append(now - started[caller])
        if status == OK and now < end:
            started[caller] = now
            channels[caller % count].send(caller, body())
            return
        open_calls -= 1
        if not ended.done() and (status != OK or not open_calls):
            failed = RuntimeError(f"{method} ended with status {status}")
            ended.set_result(None) if status == OK else ended.set_exception(failed)

    count = min(_CONNECTIONS, in_flight)
    channels = [await connect(target, method, done) for _ in range(count)]
    begin, cpu = time.perf_counter(), time.process_time()
    end = begin + seconds
    for caller in range(in_flight):
        started[caller] = time.perf_counter()
        channels[caller % count].send(caller, body())
    for channel in channels:
        channel.flush()
    try:
        await ended
    finally:
        for channel in channels:
            await channel.close()
    elapsed = time.perf_counter() - begin
    return Measured(len(latencies) / elapsed, latencies, (time.process_time() - cpu) / elapsed)


async def wake(target: Target, method: str, body: Callable[[], bytes]) -> None:
    """After a pause: calls until one is answered, so that a measurement begins with a server awake."""
    end = time.monotonic() + _WAKE_S
    while True:
        try:
            await call(target, method, body())
            return
        except OSError:
            if time.monotonic() > end:
                raise
