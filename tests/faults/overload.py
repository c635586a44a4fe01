"""Fault 25: ten times the capacity. What is above is refused at once, what is taken is answered in time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

from tests.faults.good import Measured, measure
from tests.faults.line import DEADLINE_EXCEEDED, OK, RESOURCE_EXHAUSTED, Answer, Line, connect, event
from tests.faults.report import Report, memory_mib, quantile, serving

SECONDS, SECONDS_LONG = 1, 60
TIMES = 10
_LINES, _TIMEOUT_MS = 8, 2000
_TICK_S = 0.005
_RECOVERY_S = 5.0
# Work enough per event that one core of clients can send ten times what the server does.
_MESSAGES = 300
_RULES = """\
events: {deposit: {amount: number}}
purposes: {service: {consent: not_required, if_state_unknown: send}}
channels: {push: {}}
messages:
"""
_MESSAGE = "  m%d: {purpose: service, on: [deposit], value: %d.5, channels: [push], variants: {plain: {en: Hello.}}}\n"
_RULES += "".join(_MESSAGE % (n, n) for n in range(_MESSAGES))


async def run(long: bool = False) -> Report:
    """Two seconds of it, or a minute."""
    report, seconds = Report(25), SECONDS_LONG if long else SECONDS
    with serving(rules=_RULES) as (server, address):
        lines = [await connect(address) for _ in range(_LINES)]
        await measure(lines, 16, 1)  # warm
        single = await measure(lines[:1], 1, 0.5)
        peak, held = await measure(lines, 32, min(seconds, 10)), memory_mib(server)
        flood, took_s = await _flood(lines, TIMES * peak.per_s, seconds)
        grown = memory_mib(server) - held
        began = time.monotonic()
        after = await measure(lines[:1], 1, 0.5)
        while after.p50_ms > 2 * single.p50_ms and time.monotonic() - began < _RECOVERY_S:
            after = await measure(lines[:1], 1, 0.5)
        report.must("Traceback" not in server.said(), "a traceback")
    statuses = Counter(answer.status for answer in flood)
    refused = [a for a in flood if a.status == RESOURCE_EXHAUSTED]
    good = [a for a in flood if a.status == OK and a.took_s * 1000 <= _TIMEOUT_MS]
    report.must(set(statuses) <= {OK, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED}, f"statuses {dict(statuses)}")
    report.must(all(a.retry_delay_ms() for a in refused[:200]), "refused without a delay")
    report.must(set(after.statuses) == {OK}, f"statuses afterwards: {dict(after.statuses)}")
    _judge(report, peak, good, refused, took_s)
    report.in_time(after.p50_ms <= 2 * single.p50_ms, f"not recovered within {_RECOVERY_S:g} s")
    report.figures |= {
        "offered_per_s": round(len(flood) / seconds),
        "late": len(flood) - len(good) - len(refused),
        "grown_mib": round(grown, 1),
        "single_p50_ms": [round(single.p50_ms, 1), round(after.p50_ms, 1)],
    }
    return report


def _judge(report: Report, peak: Measured, good: list[Answer], refused: list[Answer], seconds: float) -> None:
    goodput = len(good) / seconds
    refusal_ms = quantile([a.took_s for a in refused], 0.5) * 1000
    report.in_time(goodput >= 0.8 * peak.per_s, "goodput fell below 80 % of the peak")
    report.in_time(refusal_ms < 5, "refusals took 5 ms or more")
    report.figures = {
        "peak_per_s": round(peak.per_s),
        "goodput_per_s": round(goodput),
        "kept": round(goodput / peak.per_s, 2),
        "accepted_p99_ms": round(quantile([a.took_s for a in good], 0.99) * 1000),
        "refused": len(refused),
        "refusal_ms_p50_p99": [round(refusal_ms, 1), round(quantile([a.took_s for a in refused], 0.99) * 1000, 1)],
    }


async def _flood(lines: list[Line], per_s: float, seconds: float) -> tuple[list[Answer], float]:
    """Calls at their times whatever comes back; all answers, and how long it was until the last."""
    pending: list[asyncio.Future[Answer]] = []
    numbers, turns = itertools.count(10_000_000), itertools.cycle(lines)
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        for _ in range(int(elapsed * per_s) - len(pending)):
            pending.append(next(turns).call(event(next(numbers)), timeout_ms=_TIMEOUT_MS))
        await asyncio.sleep(_TICK_S)
    return list(await asyncio.gather(*pending)), time.monotonic() - began
