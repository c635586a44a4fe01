"""Fault 16: a fifth of the calls is cancelled at random. No answer is another's, no event has two, memory stays."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter

from tests.faults.line import OK, RESOURCE_EXHAUSTED, Line, belongs, connect, event
from tests.faults.report import Report, memory_mib, serving

SECONDS, SECONDS_LONG = 1.5, 600
_LINES, _IN_FLIGHT = 4, 32
_WITHIN_S = 0.1  # of its beginning a call is cancelled
_GROWTH_MIB = 20.0  # after warm-up


async def run(long: bool = False, seed: int = 1) -> Report:
    """Some seconds, or ten minutes."""
    report, chance = Report(16), random.Random(seed)
    seconds = SECONDS_LONG if long else SECONDS
    statuses: Counter[int] = Counter()
    cancelled: list[int] = []
    numbers = itertools.count()
    wrong = 0
    with serving() as (server, address):
        lines = [await connect(address) for _ in range(_LINES)]
        loop = asyncio.get_running_loop()
        end = time.monotonic() + seconds

        async def call(line: Line) -> None:
            nonlocal wrong
            while time.monotonic() < end:
                number = next(numbers)
                future = line.call(event(number))
                if chance.random() < 0.2:
                    loop.call_later(chance.random() * _WITHIN_S, future.cancel)
                try:
                    answer = await future
                except asyncio.CancelledError:
                    cancelled.append(number)
                    continue
                statuses[answer.status] += 1
                wrong += answer.status == OK and not belongs(answer.body, number)

        callers = [asyncio.ensure_future(call(line)) for line in lines for _ in range(_IN_FLIGHT)]
        await asyncio.wait(callers, timeout=seconds / 3)
        warm_mib = memory_mib(server)
        await asyncio.gather(*callers)
        grown_mib = memory_mib(server) - warm_mib
        again = cancelled[-200:]
        for number in again:  # whether it was done or not: one answer from now on, and from before
            one, other = [await lines[0].call(event(number)) for _ in range(2)]
            report.must(one.status == OK and one.body == other.body, f"event {number} has two answers")
            report.must(belongs(one.body, number), f"event {number} got another's answer")
        report.must("Traceback" not in server.said(), "a traceback")
    report.must({OK} <= set(statuses) <= {OK, RESOURCE_EXHAUSTED}, f"statuses {dict(statuses)}")
    report.must(wrong == 0, f"{wrong} answers were another's")
    report.in_time(grown_mib < _GROWTH_MIB or not long, f"memory grew by {grown_mib:.0f} MiB after warm-up")
    report.figures = {
        "seconds": seconds,
        "answered": statuses[OK],
        "cancelled": len(cancelled),
        "asked_again": len(again),
        "memory_mib": round(warm_mib + grown_mib),
        "grown_mib": round(grown_mib, 1),
    }
    return report
