"""Fault 15: SIGTERM at full load. Every call that was taken is answered; the server is gone within its grace."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter

from tests.faults.line import NOT_TAKEN, OK, Line, connect, event
from tests.faults.report import Report, serving
from tests.server.process import WAIT_S

GRACE_S = 10
_LINES, _IN_FLIGHT, _FIRST = 4, 32, 400


async def run(long: bool = False) -> Report:
    """One stop with two workers; or fifty, with one and two by turns."""
    report = Report(15)
    statuses: Counter[int] = Counter()
    slowest_s = 0.0
    rounds = 50 if long else 1
    for turn in range(rounds):
        workers = 1 if turn % 2 else 2
        with serving("--workers", str(workers), "--grace-s", str(GRACE_S)) as (server, address):
            lines = [await connect(address) for _ in range(_LINES)]
            numbers, enough = itertools.count(), asyncio.Event()

            async def call(line: Line, numbers: itertools.count[int] = numbers, e: asyncio.Event = enough) -> None:
                while not line.going and not line.closed.done():
                    number = next(numbers)
                    statuses[(await line.call(event(number))).status] += 1
                    if number == _FIRST:
                        e.set()

            callers = [asyncio.ensure_future(call(line)) for line in lines for _ in range(_IN_FLIGHT)]
            await enough.wait()
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            status = await asyncio.to_thread(server.process.wait, WAIT_S)
            slowest_s = max(slowest_s, time.monotonic() - began)
            await asyncio.gather(*callers)
            report.must(status == 0, f"round {turn}: exit status {status}")
            report.must("Traceback" not in server.said(), f"round {turn}: a traceback")
    report.must(not set(statuses) - {OK, NOT_TAKEN}, "calls that were taken failed")
    report.in_time(slowest_s <= GRACE_S + 1, "the end took longer than the grace and a second")
    report.figures = {
        "rounds": rounds,
        "answered": statuses[OK],
        "not_taken": statuses[NOT_TAKEN],
        "failed": statuses.total() - statuses[OK] - statuses[NOT_TAKEN],
        "slowest_end_s": round(slowest_s, 2),
    }
    return report
