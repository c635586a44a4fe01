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
ROUNDS_LONG = 50
_LINES, _IN_FLIGHT, _FIRST = 4, 32, 400


async def run(long: bool = False) -> Report:
    """One stop with two workers; or fifty, with one and two by turns."""
    report = Report(15)
    statuses: Counter[int] = Counter()
    slowest_s = 0.0
    rounds = ROUNDS_LONG if long else 1
    for turn in range(rounds):
        workers = 1 if turn % 2 else 2
        with serving("--workers", str(workers), "--grace-s", str(GRACE_S)) as (server, address):
            lines = [await connect(address) for _ in range(_LINES)]
            numbers, enough, silent = itertools.count(), asyncio.Event(), set(lines)

            async def call(
                line: Line,
                numbers: itertools.count[int] = numbers,
                enough: asyncio.Event = enough,
                silent: set[Line] = silent,
            ) -> None:
                while not line.going and not line.closed.done():
                    number = next(numbers)
                    statuses[(await line.call(event(number))).status] += 1
                    silent.discard(line)
                    if number >= _FIRST and not silent:  # each was accepted: what waits in the system's queue is not
                        enough.set()

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
        "failed": {status: count for status, count in statuses.items() if status not in (OK, NOT_TAKEN)},
        "slowest_end_s": round(slowest_s, 2),
    }
    return report
